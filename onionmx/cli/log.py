"""The log of a daemon, and what other commands say on standard error."""

import logging
import os
import sys

from onionmx.log.formats import EscapingFormatter
from onionmx.log.handlers import begin_log


def log_to_stderr(*, verbose: bool) -> None:
    """Begin the log of a daemon, as text until `use_log` has seen the configuration.

    Args:
        verbose: log everything, whatever `log.level` says.
    """
    # What no format shows is not found out for each line (logging HOWTO, "Optimization").
    logging._srcfile = None  # noqa: SLF001
    logging.logThreads = logging.logProcesses = logging.logMultiprocessing = False
    begin_log(is_verbose=verbose)


def log_problems() -> None:
    """What other commands log, warnings and errors, goes to standard error by `logging.lastResort`."""
    if logging.lastResort is not None:
        logging.lastResort.setFormatter(EscapingFormatter("onionmx: %(message)s"))


def is_run_by_systemd() -> bool:
    """Whether standard output leads into the journal (systemd.exec(5), JOURNAL_STREAM)."""
    try:
        found = os.fstat(sys.stdout.fileno())
    except (OSError, ValueError, AttributeError):  # closed, or none that has a descriptor
        return False
    return os.environ.get("JOURNAL_STREAM", "") == f"{found.st_dev}:{found.st_ino}"
