"""Postfix's mail log: by syslog in its old form or that of RFC 5424, by journald, or by postlogd."""

import re

from onionmx.smtp.reply import FROM_PEER
from onionmx.sync.lists.recipient import LoggedRecipient, is_on_this_host, remote_domain

# The first word is syslog_name, which may be any (postconf(5)).
_NAME = rb"([\w.-]+(?:/[\w.-]+)*)/(\w+)"
_PROGRAM = re.compile(_NAME + rb"\[\d+\]: ")
_RFC_5424 = re.compile(rb" " + _NAME + rb" \d+ \S+ (?:-|\[[^\]\n]*\]) (?:\xef\xbb\xbf)?")
_FROM_ONION_MX = FROM_PEER.encode()
_LONGEST_PREFIX = 300  # bytes: timestamp, host and name of the program
_DELIVERY = re.compile(
    rb"\w{5,}: to=<([^\n]{0,700}?)>, (?:orig_to=<[^\n]{0,700}?>, )?relay=([^\[,\s]*)(?:\[([^\]]*)\])?"
)
_STATUS = re.compile(rb", status=(\w+)")
_TO_RELAY = frozenset({b"smtp", b"lmtp"})
_DONE = frozenset({b"sent", b"bounced", b"expired"})
"""Not `deferred`, which comes again; nor `deliverable` and `undeliverable`, answers to a question without mail."""


def postfix_recipient(line: bytes) -> LoggedRecipient | None:
    """The remote recipient that a line is about; `None` for all other lines.

    Args:
        line: of the log, with or without its end.
    """
    if b" to=<" not in line:
        return None
    program, found = _read(line)
    if program is None or found is None:
        return None
    # The relay of this host is no filter but the way out, whichever port it has: what it says is what it was told.
    is_relayed = program[2] in _TO_RELAY and _FROM_ONION_MX in line[found.end() :]
    if not is_relayed and not _is_remote(program[1], program[2], found[2], found[3] or b""):
        return None
    status = _STATUS.search(line, found.end())
    domain = remote_domain(found[1].rpartition(b"@")[2].lower())
    return LoggedRecipient(domain, status[1] in _DONE) if status and domain else None


def is_unread_by_postfix(line: bytes) -> bool:
    """Whether a line looks like a delivery by Postfix, in a form that cannot be read."""
    return b"to=<" in line and b"status=sent" in line and None in _read(line)


def _read(line: bytes) -> tuple[re.Match[bytes] | None, re.Match[bytes] | None]:
    """Who wrote it, and what it says of a recipient."""
    program = _PROGRAM.match(line, line.rfind(b" ", 0, line.find(b"]: ", 0, _LONGEST_PREFIX)) + 1)
    program = program or _RFC_5424.search(line, 0, _LONGEST_PREFIX)
    return program, program and _DELIVERY.match(line, program.end())


def _is_remote(name: bytes, agent: bytes, relay: bytes, address: bytes) -> bool:
    if name.endswith(b"/onion"):  # the transport to the relay, as docs/postfix.md has it
        return True
    # lmtp, local, virtual and pipe deliver here; error repeats what smtp has said.
    return agent == b"smtp" and not is_on_this_host(relay, address)
