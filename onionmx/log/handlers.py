"""Where the log goes, and how much of it: begun before the configuration is read, then as that says."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from onionmx.log.formats import JsonFormatter, TextFormatter

if TYPE_CHECKING:
    from pathlib import Path

    from onionmx.config import Configuration

_logger = logging.getLogger(__name__)


class _Log:
    """What this process has: nothing, until the log begins."""

    handler: logging.Handler | None = None
    is_verbose = False


def begin_log(*, is_verbose: bool) -> None:
    """Log to standard error as text.

    Args:
        is_verbose: log everything, now and whatever the configuration says.
    """
    handler = logging.StreamHandler()
    handler.setFormatter(TextFormatter(with_addresses=False))
    _Log.is_verbose = is_verbose
    _use(handler, logging.INFO)


def is_structured() -> bool:
    """Whether this process has a log of another format than text: what it says goes there, and nowhere else."""
    return _Log.handler is not None and not isinstance(_Log.handler.formatter, TextFormatter)


def use_log(configuration: Configuration, journal: Path | None = None) -> None:
    """Log as the configuration says from now on, where the log has begun. Nothing is raised.

    Args:
        journal: socket of the journal; `None` for that of systemd.
    """
    if _Log.handler is None:
        return
    section, with_addresses = configuration.log, configuration.relay.log_addresses
    handler, trouble = _handler(section.format, journal, with_addresses=with_addresses)
    _use(handler, logging.getLevelNamesMapping()[section.level.upper()])
    if trouble:
        _logger.warning("log.format is journald, but %s: the log goes to standard error as text", trouble)


def _use(handler: logging.Handler, level: int) -> None:
    root = logging.getLogger()
    root.addHandler(handler)
    former, _Log.handler = _Log.handler, handler
    if former is not None:
        root.removeHandler(former)
        former.close()
    logging.getLogger("onionmx").setLevel(logging.DEBUG if _Log.is_verbose else level)
    root.setLevel(max(level, logging.INFO))  # libraries, which at level debug show what they carry


def _handler(name: str, journal: Path | None, *, with_addresses: bool) -> tuple[logging.Handler, str]:
    """What writes the log in a format, and why it does so in another one; empty where it does not."""
    trouble = ""
    if name == "journald":
        # Loaded here: most commands load this module, and only daemons have a log.
        from onionmx.log.journal import SOCKET, JournalHandler  # noqa: PLC0415

        journal = journal or SOCKET
        try:
            return JournalHandler(journal, with_addresses=with_addresses), ""
        except OSError as error:
            trouble = f"{journal} cannot be reached ({error.strerror})"
    handler = logging.StreamHandler()
    chosen = JsonFormatter if name == "json" else TextFormatter
    handler.setFormatter(chosen(with_addresses=with_addresses))
    return handler, trouble
