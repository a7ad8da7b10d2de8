"""Messages as the echo and the self-test read and write them: their own fields, addresses, header; no I/O."""

import re
import secrets
from base64 import b32encode
from collections.abc import Iterator
from email.message import Message
from email.parser import BytesHeaderParser
from email.policy import compat32
from email.utils import getaddresses

from onionmx.domain import Domain, normalize
from onionmx.echo.received import Hop, parse_received
from onionmx.errors import DomainError

REQUEST_FIELD = "Onionmx-Selftest"
"""The field of a self-test, with its token."""
ANSWER_FIELD = "Onionmx-Echo"
"""The field of an answer, with the token of the self-test."""
REPORT_NAME = "onionmx-echo.json"
"""The part of an answer that is for programs."""
MAX_MESSAGE = 256 * 1024
"""Bytes of a message, whose header alone matters; one of `onionmx selftest` has about a thousand."""
MAX_ADDRESS = 254
"""Characters (RFC 5321 section 4.5.3.1.3)."""

_TOKEN = re.compile(r"[a-z2-7]{26}")
# Without % and !: of victim%third.example@HERE and third.example!victim@HERE Postfix makes victim@third.example, if
# HERE is a domain of its own (postconf(5), allow_percent_hack and swap_bangpath, both on by default).
_ADDRESS = re.compile(r"([A-Za-z0-9.#$&'*+/=?^_{|}~-]{1,64})@([A-Za-z0-9.-]+)")
_FOLD = re.compile(r"\r?\n[ \t]?")
_HEADER = BytesHeaderParser(policy=compat32)


def new_token() -> str:
    """What tells the answer to one self-test from everything else; nobody can guess it."""
    return b32encode(secrets.token_bytes(16)).decode().rstrip("=").lower()


def is_token(text: str) -> bool:
    """Whether it can be one."""
    return _TOKEN.fullmatch(text) is not None


def domain_of(address: str) -> Domain | None:
    """The domain of an ASCII address with a dot-atom before the @; `None` where it is another one, or none.

    One by which an MTA may write to somebody at another domain is another one.
    """
    match = _ADDRESS.fullmatch(address)
    if match is None or len(address) > MAX_ADDRESS:
        return None
    try:
        return normalize(match[2])
    except DomainError:
        return None


def parse_header(content: bytes) -> Message:
    """The header of a message, whatever its bytes are."""
    return _HEADER.parsebytes(content)


def fields(header: Message, field: str) -> Iterator[str]:
    """The values of a field, in order, on one line each and without blanks around."""
    for name, value in header.raw_items():
        if name.lower() == field.lower():
            yield _FOLD.sub(" ", str(value)).strip()


def one_field(header: Message, field: str) -> str:
    """The value of a field that is there once; empty where it is not, or is there more often."""
    found = list(fields(header, field))
    return found[0] if len(found) == 1 else ""


def one_address(field: str) -> str:
    """The address in a field such as From; empty where there are none or several."""
    found = getaddresses([field])
    return found[0][1] if len(found) == 1 else ""


def hops_of(header: Message) -> tuple[Hop, ...]:
    """What the Received fields say, the oldest first."""
    return tuple(map(parse_received, fields(header, "Received")))[::-1]
