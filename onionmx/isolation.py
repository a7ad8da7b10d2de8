"""A fault that nobody has foreseen stays with what has brought it up: one domain, one onion MX, one check."""

import logging
from asyncio import CancelledError
from collections.abc import Iterator
from contextlib import contextmanager

from onionmx.errors import OnionmxError, TemporaryError

_ENDS = (MemoryError, KeyboardInterrupt, SystemExit, GeneratorExit, CancelledError)
_logger = logging.getLogger(__name__)


class UnforeseenError(TemporaryError):
    """Something came up that is a fault of onionmx or of a library; the log has the traceback."""


@contextmanager
def isolated(what: str) -> Iterator[None]:
    """Let nothing but foreseen errors out of the body, so that whoever looks at many things can go on with the next.

    Args:
        what: is looked at; for the log.

    Raises:
        UnforeseenError: in place of every other exception, which is then in the log. A lack of memory is no fault of
            what is looked at: `MemoryError` goes on as it is, and so does what ends the program.
    """
    try:
        yield
    except (OnionmxError, *_ENDS):
        raise
    except BaseException as error:  # `cryptography` has one that is no Exception
        if isinstance(error, BaseExceptionGroup) and error.subgroup(_ENDS):
            raise
        _logger.exception("%s: internal error", what)
        words = " ".join(f"{type(error).__name__}: {error}".split())
        raise UnforeseenError(f"internal error, which the log describes: {words}") from error
