"""The logs that the configuration names, as one more list of domains."""

from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from onionmx.config import Configuration
from onionmx.errors import ConfigurationError
from onionmx.mapfile.domains import read_own_domains
from onionmx.sync.rules import DAY
from onionmx.sync.setup import is_shared
from onionmx.sync.sources.log_file import find_logs
from onionmx.sync.sources.recipients import FILE_NAME, Recipients, opened_recipients


@contextmanager
def read_logs(
    configuration: Configuration, now: float, warn: Callable[[str], None], *, to_write: bool
) -> Iterator[Recipients]:
    """Count what is new in the logs.

    Args:
        configuration: which they are, and the map, beside which the counts are kept.
        now: seconds since 1970.
        warn: called with what is wrong with a log of which only a part could be read.
        to_write: else nothing is remembered.

    Raises:
        ConfigurationError: a log cannot be opened, there is none of a name, or several hosts share the store.
        StateError: the counts cannot be read or written.
    """
    if is_shared(configuration.sync):
        raise ConfigurationError(
            "sync.logs: hosts that share a store need the same lists, and each has other logs: expected "
            "sync.domains with a list of them all, such as `onionmx domains` makes"
        )
    logs = find_logs(configuration.sync.logs)
    own = read_own_domains(configuration.own)
    path = Path(configuration.map.path).with_name(FILE_NAME)
    with opened_recipients(path, own, now, to_write=to_write) as recipients:
        for log in logs:
            if words := recipients.read_log(log):
                warn(words)
        if to_write:
            recipients.keep(configuration.sync.logs_keep * DAY)
        yield recipients


def as_list(recipients: Recipients, top: int) -> tuple[str, bytes]:
    """The domains as a list that is the same for the same domains, however often mail went there."""
    domains = sorted(count.domain for count in recipients.counts(top))
    return "sync.logs", "\n".join(domains).encode("ascii")
