"""Header fields that onion mail is sent without (`relay.scrub`); no I/O.

What somebody has signed stays, or his signature would be broken (RFC 6376, RFC 8617). A field is signed if `h=` of a
signature names it: once for the lowest field of that name, once more for each above it (RFC 6376 section 5.4.2). What
is signed, and where a field ends, has to be known for certain; else the message goes as it is.
"""

import re
from collections import Counter
from collections.abc import Collection, Sequence
from typing import NamedTuple

from onionmx.errors import InputError
from onionmx.relay import received
from onionmx.smtp.header import Field, parse_header, split_header

MOST_HEADER = 1 << 20
"""Bytes of a header that are looked at; Exim takes no larger one (header_maxsize)."""

_SIGNATURE = re.compile(rb"(?:.*-)?dkim[0-9]*-signature|arc-message-signature|domainkey-signature")
"""RFC 6376, and what others have made of it; RFC 8617 section 4.1.2, where ARC-Seal signs nothing but fields of ARC;
RFC 4870."""
_KIND = re.compile(rb"(?:dkim[0-9]?|arc-message|domainkey)-signature\Z")
_NAME = re.compile(rb"[!-9;-~]+")
_RECEIVED = b"received"
_OF_A_RELAY = re.compile(rf"by[ \t]+\S+[ \t]+\({received.COMMENT}\)[ \t]".encode())
"""How `onionmx.relay.received` begins, also where others have folded it anew. These stay: a message in a loop gets one
more at each turn, whatever else is removed, and is found by their number."""


class Scrubbed(NamedTuple):
    """A message, or its beginning, as it is sent.

    Attributes:
        content: its bytes.
        removed: number of fields that were taken out.
        trouble: why nothing was; empty where the header was understood.
    """

    content: bytes
    removed: int = 0
    trouble: str = ""


def scrubbed(content: bytes, names: Collection[bytes]) -> Scrubbed:
    """Take fields out of the header of a message; all else stays byte for byte.

    Args:
        content: the message, or as much of it as holds the header; lines end in CRLF.
        names: of the fields, in lower case.
    """
    header, rest = split_header(content)
    if len(header) > MOST_HEADER:
        return Scrubbed(content, trouble=f"its header has more than {MOST_HEADER} bytes")
    try:
        fields = parse_header(header)
        places = removable(fields, names)
    except InputError as error:
        return Scrubbed(content, trouble=str(error))
    if not places:
        return Scrubbed(content)
    kept = b"".join(field.raw for place, field in enumerate(fields) if place not in places)
    return Scrubbed(kept + rest, len(places))


def removable(fields: Sequence[Field], names: Collection[bytes]) -> set[int]:
    """The places of the fields with these names that no signature covers.

    Raises:
        InputError: it cannot be told what a signature covers.
    """
    signed: Counter[bytes] = Counter()
    for field in fields:
        if _SIGNATURE.fullmatch(field.name):
            signed |= signed_names(field)
    seen: Counter[bytes] = Counter()
    places = set()
    for place in range(len(fields) - 1, -1, -1):
        field = fields[place]
        seen[field.name] += 1
        if field.name in names and seen[field.name] > signed[field.name] and not _is_of_a_relay(field):
            places.add(place)
    return places


def signed_names(signature: Field) -> Counter[bytes]:
    """How many fields of each name a signature covers, from the lowest one up (RFC 6376 section 3.5, `h=`).

    Raises:
        InputError: it does not say so in a way that everybody reads alike.
    """
    listed: list[bytes] = []
    tags = signature.value.split(b";")
    for tag in tags[:-1] if not tags[-1].strip() else tags:
        name, equals, value = tag.partition(b"=")
        if not equals:
            raise InputError(f"its {_shown(signature)} is no list of tags")
        if name.strip().lower() == b"h":  # RFC 6376 section 3.2 knows "h" only: a verifier might take "H" for it
            listed.append(value)
    if len(listed) != 1:
        raise InputError(f"its {_shown(signature)} has {len(listed)} tags h=, expected one")
    names = [name.strip() for name in listed[0].split(b":")]
    if not all(map(_NAME.fullmatch, names)):
        raise InputError(f"h= of its {_shown(signature)} is no list of field names")
    return Counter(name.lower() for name in names)


def _is_of_a_relay(field: Field) -> bool:
    return field.name == _RECEIVED and _OF_A_RELAY.match(field.value) is not None


def _shown(field: Field) -> str:
    """Of what kind a signature is; its name is the sender's word, and no log is the place for that."""
    kind = _KIND.search(field.name)
    return kind[0].decode("ascii") if kind else "signature"
