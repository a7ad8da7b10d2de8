"""Whether a message gets an answer, by what is in it alone; no I/O."""

import re
from email.message import Message

from msgspec import Struct

from onionmx.domain import Domain
from onionmx.echo.authentication import AuthenticationResults, parse_authentication_results
from onionmx.echo.message import (
    ANSWER_FIELD,
    MAX_MESSAGE,
    REQUEST_FIELD,
    domain_of,
    fields,
    hops_of,
    is_token,
    one_address,
    one_field,
    parse_header,
)
from onionmx.echo.path import circuit_of
from onionmx.echo.received import Hop

MAX_HOPS = 25
"""Received fields; a message with more is taken for one in a loop (RFC 5321 section 6.3)."""
_MAX_FIELDS = 10
"""Authentication-Results of one message that are read."""
_ROBOTS = re.compile(r"mailer-daemon|owner-.*|.*-owner|.*-request|.*-bounces?", re.IGNORECASE)
"""Local parts that no person and no self-test writes from (RFC 3834 section 2)."""
_BULK = re.compile(r"bulk|junk|list", re.IGNORECASE)
_BY_HAND = re.compile(r"no(?:$|[;(\s])", re.IGNORECASE)
_MESSAGE_ID = re.compile(r"<[A-Za-z0-9.!#$%&'*+/=?^_{|}~-]{1,100}@[A-Za-z0-9.-]{1,100}>")


class Refused(Struct, frozen=True):
    """No answer, and why."""

    reason: str


class Request(Struct, frozen=True):
    """A self-test that may be answered.

    Attributes:
        sender: envelope sender, to whom alone an answer goes.
        domain: his domain, in normal form.
        message_id: empty where it is none that can be repeated.
        hops: the oldest first.
        circuit: number of the circuit by which it came; `None` where the MTA does not know it.
    """

    token: str
    sender: str
    domain: Domain
    message_id: str
    hops: tuple[Hop, ...]
    circuit: int | None
    results: tuple[AuthenticationResults, ...]


def examine(content: bytes, sender: str | None) -> Request | Refused:
    """Decide whether a message may be answered.

    Args:
        content: the message, or its beginning.
        sender: envelope sender, empty for the null one; `None` where the MTA did not give it, and Return-Path has it.
    """
    if len(content) > MAX_MESSAGE:
        return Refused(f"larger than {MAX_MESSAGE} bytes")
    header = parse_header(content)
    sender = _sender(header, sender)
    if sender is None:
        return Refused("the envelope sender is not known, or Return-Path has another one")
    token, domain, hops = one_field(header, REQUEST_FIELD), domain_of(sender), hops_of(header)
    refusal = _robot(header, sender) or _stranger(header, sender) or _loop(hops)
    if refusal or domain is None:
        return Refused(refusal or "the envelope sender is not an address that is answered")
    if not is_token(token):
        return Refused(f"no message of onionmx selftest: there is no {REQUEST_FIELD} field with a token")
    parsed = [parse_authentication_results(field) for field in fields(header, "Authentication-Results")]
    message_id = one_field(header, "Message-ID")
    return Request(
        token,
        sender,
        domain,
        message_id if _MESSAGE_ID.fullmatch(message_id) else "",
        hops,
        next((number for number in map(circuit_of, reversed(hops)) if number is not None), None),
        tuple(each for each in parsed[:_MAX_FIELDS] if each is not None),
    )


def _sender(header: Message, given: str | None) -> str | None:
    """The envelope sender, if MTA and Return-Path agree on it; all Return-Path fields, as a forged one may be there."""
    found = {path.strip("<>") for path in fields(header, "Return-Path")} | ({given} if given is not None else set())
    return found.pop() if len(found) == 1 else None


def _robot(header: Message, sender: str) -> str:
    """Why nobody waits for an answer, if so (RFC 3834 section 2)."""
    automatic = any(not _BY_HAND.match(value) for value in fields(header, "Auto-Submitted"))
    reasons = {
        "the envelope sender is the null one": not sender,
        "the envelope sender is a program's address": _ROBOTS.fullmatch(sender.rpartition("@")[0]),
        "it is an answer of an echo": list(fields(header, ANSWER_FIELD)),
        "it was sent automatically (Auto-Submitted)": automatic,
        "it is bulk mail (Precedence)": any(_BULK.fullmatch(value) for value in fields(header, "Precedence")),
        "it comes from a mailing list (List-*)": any(name.lower().startswith("list-") for name in header.keys()),  # noqa: SIM118 -- a Message is not iterable
    }
    return next((reason for reason, holds in reasons.items() if holds), "")


def _loop(hops: tuple[Hop, ...]) -> str:
    return f"{len(hops)} hops: mail loop detected" if len(hops) > MAX_HOPS else ""


def _stranger(header: Message, sender: str) -> str:
    """Why an answer could reach somebody who has not asked, as far as the header shows it."""
    if one_address(one_field(header, "From")).lower() != sender.lower():
        return "From is not the envelope sender"
    if any(one_address(value).lower() != sender.lower() for value in fields(header, "Reply-To")):
        return "Reply-To is not the envelope sender"
    return ""
