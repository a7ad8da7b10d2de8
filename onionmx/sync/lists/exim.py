"""Exim's main log (Exim specification, chapter "Log files"), as a file or through syslog."""

import re

from onionmx.smtp.reply import FROM_PEER
from onionmx.sync.lists.recipient import LoggedRecipient, is_on_this_host, remote_domain

# 1s2Abc-0001Xy-2z, and since 4.97 1s2Abc-00000001XyZ-2zAb
_MESSAGE_ID = re.compile(rb"(?<![\w-])[0-9A-Za-z]{6}-(?:[0-9A-Za-z]{6}-[0-9A-Za-z]{2}|[0-9A-Za-z]{11}-[0-9A-Za-z]{4}) ")
_USUAL_PREFIX = len("2024-05-01 12:34:56 ")
_LONGEST_PREFIX = 300  # bytes before the id: syslog's, and the timestamp
# A local delivery has a bare local part, a path or a pipe in this place.
_RECIPIENT = re.compile(rb'(=>|->|>>|==|\*\*) (?:"(?:[^"\\]|\\.)*"|[^\s"<>@|/][^\s"<>@]*)@([^\s<>@,:;"]+)')
_SIGN = re.compile(rb" (?:=>|->) ")
_TRANSPORT = re.compile(rb" T=([^\s:]+)")
_HOST = re.compile(rb" H=(\S+)(?: \(\S*\))? \[([0-9A-Fa-f.:]+)\]")
_LOCAL = re.compile(rb"(?i)local|spool|maildir|mbox|mailbox|pipe|file|reply|procmail|dovecot|cyrus|mailman|vacation")
_ESCAPE = re.compile(rb"\\([0-3][0-7]{2})")
_OWN_TRANSPORT = b"onion"
_FROM_ONION_MX = FROM_PEER.encode()
_DELIVERED = frozenset({b"=>", b"->", b">>"})
_DEFERRED = b"=="


def exim_recipient(line: bytes) -> LoggedRecipient | None:
    """The remote recipient that a line is about; `None` for all other lines.

    Args:
        line: of the main log, with or without its end.
    """
    if b" T=" not in line:
        return None
    message_id = _id_of(line)
    found = message_id and _RECIPIENT.match(line, message_id.end())
    if found is None or not _is_remote(found[1], line, found.end()):
        return None
    domain = remote_domain(_ESCAPE.sub(_unescaped, found[2]).lower())
    return LoggedRecipient(domain, found[1] != _DEFERRED) if domain else None


def is_unread_by_exim(line: bytes) -> bool:
    """Whether a line looks like a delivery by Exim, in a form that cannot be read: no message id, or no address."""
    sign = _SIGN.search(line)
    if sign is None or b" T=" not in line[sign.end() :]:
        return False
    message_id = _id_of(line)
    if message_id is None:
        return True
    sign = _SIGN.match(line, message_id.end() - 1)  # else it tells of something else, and quotes a delivery
    if sign is None or _RECIPIENT.match(line, message_id.end()):
        return False
    return any(not is_on_this_host(host[1], host[2]) for host in _HOST.finditer(line, sign.end()))


def _id_of(line: bytes) -> re.Match[bytes] | None:
    return _MESSAGE_ID.match(line, _USUAL_PREFIX) or _MESSAGE_ID.search(line, 0, _LONGEST_PREFIX)


def _is_remote(arrow: bytes, line: bytes, start: int) -> bool:
    transport = _TRANSPORT.search(line, start)
    if transport is None:
        return False
    if transport[1].startswith(_OWN_TRANSPORT) or _FROM_ONION_MX in line[transport.end() :]:
        return True  # by onion service, or through the relay of this host, which is no filter
    if b"lmtp" in transport[1].lower():
        return False
    if host := _HOST.search(line, transport.end()):
        return not is_on_this_host(host[1], host[2])
    # Without a host, a delivery was local; what failed or waits may not have come as far as to a host.
    return arrow not in _DELIVERED and not _LOCAL.search(transport[1])


def _unescaped(match: re.Match[bytes]) -> bytes:
    """Exim writes bytes beyond ASCII in octal, unless print_topbitchars is set."""
    return bytes((int(match[1], 8),))
