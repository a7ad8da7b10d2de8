"""What a message in the mailbox is to a self-test: the echo's answer, a bounce, or nothing to it; no I/O."""

import email
import re
from email.message import Message
from email.policy import compat32

import msgspec
from msgspec import Struct

from onionmx.echo.answer import FORMAT, EchoReport
from onionmx.echo.message import ANSWER_FIELD, REPORT_NAME, hops_of, one_field
from onionmx.echo.received import Hop

_MAX_REASON = 300
_DIAGNOSTIC = re.compile(rb"^(?:Diagnostic-Code|Status):[ \t]*([^\r\n]+)", re.MULTILINE | re.IGNORECASE)

_ACTION = re.compile(rb"^Action:[ \t]*([a-z]+)", re.MULTILINE | re.IGNORECASE)
_FAILED = b"failed"


class Answered(Struct, frozen=True):
    """The echo has answered.

    Attributes:
        back: hops of the answer, the oldest first.
    """

    report: EchoReport
    back: tuple[Hop, ...]


class Returned(Struct, frozen=True):
    """A mail server could not deliver the message, or the echo did not take it."""

    reason: str


class Unreadable(Struct, frozen=True):
    """It is the answer, and cannot be read: it may be half written."""

    reason: str


def classify(content: bytes, token: str) -> Answered | Returned | Unreadable | None:
    """What a message is to the self-test with a token; `None` for one that has nothing to do with it.

    Args:
        content: from anybody; at most as large as the caller allows.
    """
    if token.encode() not in content:
        return None
    try:
        message = email.message_from_bytes(content, policy=compat32)
        if one_field(message, ANSWER_FIELD) == token:
            return _answer(message, token)
        if message.get_content_type() == "multipart/report" and not one_field(message, ANSWER_FIELD):
            return _returned(content)
    except RecursionError:  # parts within parts within parts
        return Unreadable("it is nested too deeply")
    return None


def _answer(message: Message, token: str) -> Answered | Unreadable:
    for part in message.walk():
        if part.get_content_type() == "application/json" and part.get_filename() == REPORT_NAME:
            payload = part.get_payload(decode=True)
            try:
                report = msgspec.json.decode(payload if isinstance(payload, bytes) else b"", type=EchoReport)
            except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as error:
                return Unreadable(f"its report is damaged: {error}")
            if report.format != FORMAT:
                return Unreadable(f"its report has format {report.format}: this version of onionmx reads {FORMAT}")
            if report.token != token:
                return Unreadable("its report belongs to another message")
            return Answered(report, hops_of(message))
    return Unreadable(f"it has no part {REPORT_NAME}")


def _returned(content: bytes) -> Returned | None:
    """The last of the two fields says most: Diagnostic-Code comes behind Status (RFC 3464 section 2.3).

    A report that a message is delayed is no end of it.
    """
    actions = {action.lower() for action in _ACTION.findall(content)}
    if actions and _FAILED not in actions:
        return None
    found = _DIAGNOSTIC.findall(content)
    words = found[-1][:_MAX_REASON].decode(errors="replace").strip() if found else "the bounce does not say why"
    return Returned(words)
