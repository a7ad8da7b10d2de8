"""A fault stays with what has brought it up: one domain, one onion MX, one check."""

import logging
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager

from onionmx.errors import ConfigurationError, StateError, TemporaryError

_ENDS = (MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit, CancelledError)
_logger = logging.getLogger(__name__)


class UnforeseenError(TemporaryError):
    """Something came up that is a fault of onionmx or of a library; the log has the traceback."""


class OneFailedError(TemporaryError):
    """It could not be told of one thing of many, for the reason that the text gives; the others are not touched."""


@contextmanager
def isolated(what: str) -> Iterator[None]:
    """Let nothing but foreseen errors out of the body, so that the code that looks at many things goes on to the next.

    Args:
        what: is looked at; for the log.

    Raises:
        UnforeseenError: in place of every other exception, which is then in the log. An `InputError` is one of them:
            nobody has said what it means here. A lack of memory is no fault of what is looked at: `MemoryError` goes
            on as it is, and so does what ends the program.
    """
    try:
        yield
    except (TemporaryError, ConfigurationError, *_ENDS):
        raise
    except BaseException as error:  # `cryptography` has one that is no Exception
        if isinstance(error, BaseExceptionGroup) and error.subgroup(_ENDS):
            raise
        _logger.exception("%s: internal error", what)
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise UnforeseenError(f"internal error, which the log describes: {words}") from error


@contextmanager
def one_of_many(what: str) -> Iterator[None]:
    """As `isolated`; and what is foreseen ends a run only where it is of the run: its configuration or its state.

    Args:
        what: is looked at; for the log.

    Raises:
        OneFailedError: for everything else.
        ConfigurationError: as it is.
        StateError: as it is.
    """
    try:
        with isolated(what):
            yield
    except StateError:
        raise
    except TemporaryError as error:
        raise OneFailedError(str(error)) from error
