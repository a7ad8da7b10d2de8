"""The fields of an event. Their names are the same in every format; `docs/monitoring.md` lists them."""

import logging
import re
from collections.abc import Mapping

_ATTRIBUTE = "onionmx_fields"  # of a record
# Read backwards, from the @ that follows what may be a domain or an address literal: a local part (RFC 5321 section
# 4.1.2), quoted or not. So it begins at few places, and a long text without an address costs nothing.
_LOCAL_PART = re.compile(r"""(?<=[\w\[])@(?:"(?:[^"]|"(?=\\)){0,256}"(?!\\)|[^\s<>(),:;@\[\]]+)""")
_NO_ADDRESS = "@rot"  # tor@default, Debian's unit

Value = str | int | float
"""What a field holds. Times are seconds."""


def fields(event: str, **values: Value) -> dict[str, Mapping[str, Value]]:
    """The argument `extra` of a call of `logging`.

    Args:
        event: what happened, in one word.
        values: the other fields, in the order in which they are shown.
    """
    return {_ATTRIBUTE: {"event": event, **values}}


def fields_of(record: logging.LogRecord) -> Mapping[str, Value]:
    """The fields of an event; none where its module gave none."""
    found: Mapping[str, Value] = getattr(record, _ATTRIBUTE, {})
    return found


def without_addresses(text: str) -> str:
    """The text with what looks like an email address reduced to its domain: onion MXes repeat recipients in replies."""
    return _LOCAL_PART.sub(_left_out, text[::-1])[::-1] if "@" in text else text


def without_addresses_in(value: Value) -> Value:
    """The same for the value of a field."""
    return without_addresses(value) if isinstance(value, str) else value


def _left_out(found: re.Match[str]) -> str:
    return found[0] if found[0] == _NO_ADDRESS else "@..."
