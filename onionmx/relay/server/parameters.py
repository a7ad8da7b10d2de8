"""Arguments of MAIL and RCPT: SIZE, BODY, SMTPUTF8 (RFC 1870, 6152, 6531) and those of DSN (RFC 3461 section 4).

Keywords are taken in any case. Values are checked by `onionmx.smtp.envelope`, by the same rules that send them on.
"""

from __future__ import annotations

import re
from dataclasses import replace
from typing import TYPE_CHECKING, cast

from onionmx.relay.server.refusal import RefusedError
from onionmx.reply import Own
from onionmx.smtp.envelope import Body, Envelope, Recipient, Return
from onionmx.smtp.faults import EnvelopeError

if TYPE_CHECKING:
    from collections.abc import Mapping

# esmtp-keyword and esmtp-value of RFC 5321 section 4.1.2; RFC 6531 section 3.3 adds UTF-8 to the value
_KEYWORD = re.compile(r"[A-Z0-9][A-Z0-9-]*")
_VALUE = re.compile("[!-<>-~\u00a1-\U0010ffff]+")
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
        RefusedError: the sender or a value is malformed, a parameter is given twice (501) or unknown (555), or the
            sender needs an SMTPUTF8 that is not there (553).
    """
    try:
        bare = Envelope(sender)
    except EnvelopeError as error:
        raise RefusedError(Own.BAD_SENDER, str(error)) from error
    values = _split(parameters, _OF_MAIL)
    smtputf8 = "SMTPUTF8" in values
    if values.get("SMTPUTF8"):
        raise RefusedError(Own.BAD_ARGUMENTS, "SMTPUTF8 has no value")
    _check_ascii(sender, smtputf8=smtputf8)
    size = values.get("SIZE")
    if size is not None and not _NUMBER.fullmatch(size):
        raise RefusedError(Own.BAD_ARGUMENTS, "SIZE is not a number")
    try:
        return replace(
            bare,
            body=cast("Body", values.get("BODY", "7BIT").upper()),
            smtputf8=smtputf8,
            ret=cast("Return", _value(values, "RET").upper()),
            envid=_value(values, "ENVID"),
            size=None if size is None else int(size),
        )
    except EnvelopeError as error:
        raise RefusedError(Own.BAD_ARGUMENTS, str(error)) from error


def recipient(address: str, parameters: str, *, smtputf8: bool) -> Recipient:
    """Read the parameters of RCPT.

    Args:
        address: mailbox.
        parameters: what follows the path.
        smtputf8: MAIL of this transaction had SMTPUTF8.

    Raises:
        RefusedError: the address or a value is malformed, a parameter is given twice (501) or unknown (555), or the
            address needs an SMTPUTF8 that MAIL did not give (553).
    """
    try:
        bare = Recipient(address)
    except EnvelopeError as error:
        raise RefusedError(Own.BAD_RECIPIENT, str(error)) from error
    values = _split(parameters, _OF_RCPT)
    _check_ascii(address, smtputf8=smtputf8)
    if not smtputf8 and not values.get("ORCPT", "").isascii():
        raise RefusedError(Own.BAD_ARGUMENTS, "ORCPT is not ASCII, and MAIL had no SMTPUTF8")
    try:
        return replace(bare, notify=_value(values, "NOTIFY"), orcpt=_value(values, "ORCPT"))
    except EnvelopeError as error:
        raise RefusedError(Own.BAD_ARGUMENTS, str(error)) from error


def _split(parameters: str, known: frozenset[str]) -> Mapping[str, str]:
    values: dict[str, str] = {}
    for parameter in filter(None, parameters.split(" ")):
        name, equals, value = parameter.partition("=")
        keyword = name.upper()
        if not _KEYWORD.fullmatch(keyword) or (equals and not _VALUE.fullmatch(value)):
            raise RefusedError(Own.BAD_ARGUMENTS, "malformed parameter")
        if keyword not in known:
            raise RefusedError(Own.UNKNOWN_PARAMETER, f"parameter {keyword[:_MAX_SHOWN]} is not implemented")
        if keyword in values:
            raise RefusedError(Own.BAD_ARGUMENTS, f"{keyword} is given twice")
        values[keyword] = value
    return values


def _value(values: Mapping[str, str], keyword: str) -> str:
    """The value of an optional parameter, empty where it was not given."""
    if values.get(keyword) == "":
        raise RefusedError(Own.BAD_ARGUMENTS, f"{keyword} has no value")
    return values.get(keyword, "")


def _check_ascii(address: str, *, smtputf8: bool) -> None:
    if not smtputf8 and not address.isascii():
        raise RefusedError(Own.NEEDS_SMTPUTF8)
