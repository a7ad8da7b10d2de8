"""A record of `logging` as one line of text, or of JSON. Nobody but onionmx begins a line of the log."""

import json
import logging
from datetime import UTC, datetime
from types import TracebackType
from typing import TypeAlias

from onionmx.log.fields import Value, fields_of, without_addresses, without_addresses_in
from onionmx.text import escaped

_INDENT = "    "
_ExcInfo: TypeAlias = (  # what `logging` calls a traceback with its exception
    tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
)


class EscapingFormatter(logging.Formatter):
    """One line for a message. What follows it, such as a traceback, is indented; both have texts of peers."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- the name that logging gives it
        """The line, and those that a message of several lines has after it."""
        return _lines(super().formatMessage(record)).removeprefix(_INDENT)

    def formatException(self, ei: _ExcInfo) -> str:  # noqa: N802
        """The traceback."""
        return _lines(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """The stack."""
        return _lines(super().formatStack(stack_info))


class TextFormatter(EscapingFormatter):
    """The log as text: one line for an event, and below it, indented, the traceback of an internal error.

    Args:
        with_addresses: leave email addresses in it.
    """

    def __init__(self, *, with_addresses: bool) -> None:
        super().__init__("%(levelname)s %(name)s: %(message)s")
        self._with_addresses = with_addresses

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802
        """The line: a message of several lines is joined."""
        record.message = "; ".join(record.message.splitlines())
        return super().formatMessage(record)

    def format(self, record: logging.LogRecord) -> str:
        """The line, and the traceback."""
        # Not kept on the record: other handlers may show another form of it.
        record.exc_text = None
        text = super().format(record)
        record.exc_text = None
        return text if self._with_addresses else without_addresses(text)


class JsonFormatter(logging.Formatter):
    """The log as JSON Lines: an object for each event, whatever it holds.

    Args:
        with_addresses: leave email addresses in it.
    """

    def __init__(self, *, with_addresses: bool) -> None:
        super().__init__()
        self._with_addresses = with_addresses

    def format(self, record: logging.LogRecord) -> str:
        """The object, without a line end, in ASCII: no character of a peer turns the direction of the line."""
        described: dict[str, Value] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
            **fields_of(record),
        }
        if record.exc_info:
            described["traceback"] = self.formatException(record.exc_info)
        if not self._with_addresses:
            described = {name: without_addresses_in(value) for name, value in described.items()}
        return json.dumps(described).replace("\x7f", r"\u007f")


def _lines(text: str) -> str:
    return "\n".join(_INDENT + escaped(line.expandtabs()) for line in text.split("\n"))
