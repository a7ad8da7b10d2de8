"""Arguments of MAIL and RCPT: SIZE, BODY, SMTPUTF8 (RFC 1870, 6152, 6531) and those of DSN (RFC 3461 section 4).

Keywords are taken in any case. Values are checked by `onionmx.smtp.envelope`, by the same rules that send them on. What
another MTA would pass is never refused for good: an address that cannot be sent on is 451, and ENVID and ORCPT, which
serve nothing but reports, are corrected or left out.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, cast

from msgspec.structs import replace

from onionmx.smtp.envelope import Body, Envelope, Recipient, Return, clean_envid, clean_orcpt
from onionmx.smtp.faults import EnvelopeError
from onionmx.smtp.reply import OurReply
from onionmx.smtp.server.refusal import RefusedError

if TYPE_CHECKING:
    from collections.abc import Mapping

# esmtp-keyword of RFC 5321 section 4.1.2. Its esmtp-value has no "=" and no bytes above 127, but clients send them;
# what a value may be is judged with each keyword.
_KEYWORD = re.compile(r"[A-Z0-9][A-Z0-9-]*")
_VALUE = re.compile(r"[^\x00-\x20\x7f]+")
_NUMBER = re.compile("[0-9]{1,20}")
_OF_MAIL = frozenset({"SIZE", "BODY", "SMTPUTF8", "RET", "ENVID"})
_OF_RCPT = frozenset({"NOTIFY", "ORCPT"})
_MAX_SHOWN = 20  # characters of a keyword in a reply


def envelope(sender: str, parameters: str) -> Envelope:
    """Read the parameters of MAIL.

    Args:
        sender: mailbox, empty for the null sender.
        parameters: what follows the path.

    Returns:
        The envelope, without recipients.

    Raises:
        RefusedError: a value is malformed, a parameter is given twice (501) or unknown (555), or the sender cannot be
            sent on (451).
    """
    try:
        bare = Envelope(sender)
    except EnvelopeError as error:
        raise RefusedError(OurReply.SENDER_NOT_CARRIED, str(error)) from error
    values = _split(parameters, _OF_MAIL)
    smtputf8 = "SMTPUTF8" in values
    if values.get("SMTPUTF8"):
        raise RefusedError(OurReply.BAD_ARGUMENTS, "SMTPUTF8 has no value")
    size = values.get("SIZE")
    if size is not None and not _NUMBER.fullmatch(size):
        raise RefusedError(OurReply.BAD_ARGUMENTS, "SIZE is not a number")
    try:
        return replace(
            bare,
            body=cast("Body", values.get("BODY", "7BIT").upper()),
            smtputf8=smtputf8,
            ret=cast("Return", _value(values, "RET").upper()),
            envid=clean_envid(values.get("ENVID", "")),
            size=None if size is None else int(size),
        )
    except EnvelopeError as error:
        raise RefusedError(OurReply.BAD_ARGUMENTS, str(error)) from error


def recipient(address: str, parameters: str, *, smtputf8: bool) -> Recipient:
    """Read the parameters of RCPT.

    Args:
        address: mailbox.
        parameters: what follows the path.
        smtputf8: MAIL of this transaction had SMTPUTF8, so that ORCPT may be UTF-8.

    Raises:
        RefusedError: a value is malformed, a parameter is given twice (501) or unknown (555), or the address cannot be
            sent on (451).
    """
    if not address:
        raise RefusedError(OurReply.BAD_RECIPIENT)
    try:
        bare = Recipient(address)
    except EnvelopeError as error:
        raise RefusedError(OurReply.RECIPIENT_NOT_CARRIED, str(error)) from error
    values = _split(parameters, _OF_RCPT)
    try:
        orcpt = clean_orcpt(values.get("ORCPT", ""), smtputf8=smtputf8)
        return replace(bare, notify=_value(values, "NOTIFY"), orcpt=orcpt)
    except EnvelopeError as error:
        raise RefusedError(OurReply.BAD_ARGUMENTS, str(error)) from error


def _split(parameters: str, known: frozenset[str]) -> Mapping[str, str]:
    values: dict[str, str] = {}
    for parameter in filter(None, parameters.split(" ")):
        name, equals, value = parameter.partition("=")
        keyword = name.upper()
        if not _KEYWORD.fullmatch(keyword) or (equals and not _VALUE.fullmatch(value)):
            raise RefusedError(OurReply.BAD_ARGUMENTS, "malformed parameter")
        if keyword not in known:
            raise RefusedError(OurReply.UNKNOWN_PARAMETER, f"parameter {keyword[:_MAX_SHOWN]} is not implemented")
        if keyword in values:
            raise RefusedError(OurReply.BAD_ARGUMENTS, f"{keyword} is given twice")
        values[keyword] = value
    return values


def _value(values: Mapping[str, str], keyword: str) -> str:
    """The value of an optional parameter, empty where it was not given."""
    if values.get(keyword) == "":
        raise RefusedError(OurReply.BAD_ARGUMENTS, f"{keyword} has no value")
    return values.get(keyword, "")
