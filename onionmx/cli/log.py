"""The log on standard error, in which nobody else can write a line of his own."""

import logging
from types import TracebackType

from onionmx.text import escaped

_FORMAT = "%(levelname)s %(name)s: %(message)s"
_INDENT = "    "


class EscapingFormatter(logging.Formatter):
    """One line for a message. What follows it, such as a traceback, is indented; both have texts of peers."""

    def formatMessage(self, record: logging.LogRecord) -> str:  # noqa: N802 -- the name that logging gives it
        """The line, and those that a message of several lines has after it."""
        return _lines(super().formatMessage(record)).removeprefix(_INDENT)

    def formatException(  # noqa: N802
        self,
        ei: tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None],
    ) -> str:
        """The traceback."""
        return _lines(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:  # noqa: N802
        """The stack."""
        return _lines(super().formatStack(stack_info))


def log_to_stderr(*, verbose: bool) -> None:
    """Begin the log of a daemon."""
    # What the format does not show is not found out for each line (logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    handler = logging.StreamHandler()
    handler.setFormatter(EscapingFormatter(_FORMAT))
    logging.basicConfig(level=logging.INFO, handlers=[handler])
    logging.getLogger("onionmx").setLevel(logging.DEBUG if verbose else logging.INFO)


def log_problems() -> None:
    """What other commands log, warnings and errors, goes to standard error by `logging.lastResort`."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(EscapingFormatter("onionmx: %(message)s"))


def _lines(text: str) -> str:
    return "\n".join(_INDENT + escaped(line.expandtabs()) for line in text.split("\n"))
