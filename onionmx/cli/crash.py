"""What nobody has foreseen: never with an exit code that means an answer, as Python's own 1 does."""

import logging
import os
import sys
import traceback

from onionmx.errors import EXIT_TEMPORARY, OnionmxError, TemporaryError
from onionmx.log.handlers import is_structured
from onionmx.text import escaped

_PIPE_CLOSED = 1  # click ends with this when the reader of the standard output has gone


def report_crash(error: BaseException, *, with_traceback: bool) -> int:
    """Say in one line what came up, and where in the log of a daemon or where it is asked for; returns 75.

    Args:
        error: what came out of the command.
        with_traceback: print where it came up; also with ONIONMX_DEBUG=1.
    """
    if isinstance(error, SystemExit) and error.code == _PIPE_CLOSED:
        return _say("nobody reads the standard output any more")
    try:
        flush_output()
    except TemporaryError as unwritten:
        return _say(str(unwritten))
    cause = error
    while isinstance(cause, BaseExceptionGroup):
        cause = cause.exceptions[0]
    if logging.getLogger().handlers:
        logging.getLogger("onionmx").error("internal error", exc_info=error)
    elif with_traceback or os.environ.get("ONIONMX_DEBUG", "0") not in {"", "0"}:
        for line in "".join(traceback.format_exception(error)).splitlines():
            _write(escaped(line))
    words = f"internal error: {type(cause).__name__}: {cause}; --debug shows where"
    return _say(escaped(" ".join(words.split())))


def report_error(error: OnionmxError) -> None:
    """Say what was foreseen: in the log of a daemon, else on standard error as it is."""
    if is_structured():
        logging.getLogger("onionmx").error("%s", error)
        return
    for line in str(error).splitlines():
        _write(f"onionmx: {escaped(line)}")


def flush_output() -> None:
    """Write what is left of the output while it can be said that this failed.

    Raises:
        TemporaryError: it cannot be written.
    """
    try:
        if sys.stdout is not None:
            sys.stdout.flush()
    except OSError as error:
        raise TemporaryError(f"the standard output cannot be written: {error.strerror}") from error


def drop_output() -> None:
    """Give up what cannot be written: Python tries again at its end, and would end with a code of its own, 120."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except OSError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _say(words: str) -> int:
    _write(f"onionmx: {words}")
    return EXIT_TEMPORARY


def _write(line: str) -> None:
    if sys.stderr is not None:
        sys.stderr.write(f"{line}\n")
