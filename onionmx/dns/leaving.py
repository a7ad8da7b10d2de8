"""The check in front of every question that leaves for the open DNS: none is for a name of Tor; no I/O.

RFC 7686 section 2: names under onion are asked nowhere but in Tor. Names come from configuration, from lists, and from
the answers of strangers, so that the last look is at the labels as they would be sent, whatever they were written like.
"""

import re

import dns.message
import dns.name
import dns.update

from onionmx.errors import DnsError

_TOP = b"onion"
# A label may hold any octet: `x\.onion`, `onion\032` and `onion\000` are no names of Tor, but show one anyway.
_PART = re.compile(rb"[^a-z0-9_-]+")


def is_for_tor(name: dns.name.Name) -> bool:
    """Whether a name ends in onion, in upper or lower case, or shows such a name in its last label.

    Args:
        name: absolute or relative; escapes and international characters are octets here, as they are sent.
    """
    labels = [label for label in name.labels if label]
    return bool(labels) and _TOP in _PART.split(labels[-1].lower())


def check_name(name: dns.name.Name | str) -> None:
    """Refuse a name that only Tor may be asked for.

    Args:
        name: of a question; text is read as dnspython reads it.

    Raises:
        DnsError: it is one.
        dns.exception.DNSException: the text is no name.
    """
    if is_for_tor(dns.name.from_text(name) if isinstance(name, str) else name):
        raise DnsError(f"{name} is a name for Tor, and is asked nowhere else")


def check_message(message: dns.message.Message) -> None:
    """Refuse a question, or an update, with such a name in it.

    Raises:
        DnsError: it has one.
    """
    for question in message.question:
        check_name(question.name)
    if isinstance(message, dns.update.UpdateMessage):
        for section in (message.prerequisite, message.update):
            for rrset in section:
                if rrset.name.is_absolute():  # else below the zone, which is the question
                    check_name(rrset.name)
