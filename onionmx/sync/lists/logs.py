"""The logs that the configuration names, as one more list of domains."""

from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path
from socket import gethostname

from onionmx.clock import Timestamp
from onionmx.config import Configuration
from onionmx.defaults import DAY
from onionmx.domain import shown
from onionmx.mapfile.domains import read_local_domains
from onionmx.sync.lists.files import Lists
from onionmx.sync.lists.log_file import MOST_READ, Budget, find_logs
from onionmx.sync.lists.recipients import FILE_NAME, Recipients, opened_recipients
from onionmx.sync.stores import open_host_lists


@contextmanager
def read_logs(
    configuration: Configuration, now: Timestamp, warn: Callable[[str], None], *, to_write: bool
) -> Iterator[Recipients]:
    """Count what is new in the logs.

    Args:
        configuration: which they are, and the map, beside which the counts are kept.
        warn: called with what could not be read of a log, once for each.
        to_write: else nothing is remembered.

    Raises:
        ConfigurationError: a log cannot be opened, or there is none of a name.
        StateError: the counts cannot be read or written.
    """
    logs = find_logs(configuration.sync.logs)
    local = read_local_domains(configuration.local)
    path = Path(configuration.map.path).with_name(FILE_NAME)
    with opened_recipients(path, local, now, to_write=to_write) as recipients:
        left = MOST_READ
        for number, log in enumerate(logs):
            budget = Budget(left // (len(logs) - number))  # no log takes the share of another
            left -= budget.left
            if words := recipients.read_log(log, budget):
                warn(words)
            left += max(0, budget.left)
        if to_write:
            recipients.keep(configuration.sync.logs_keep * DAY)
        yield recipients


def as_list(recipients: Recipients, top: int) -> tuple[str, bytes]:
    """The domains as a list that is the same for the same domains, however often mail went there."""
    domains = sorted(count.domain for count in recipients.counts(top))
    return "sync.logs", "\n".join(domains).encode("ascii")


def lists_of_hosts(configuration: Configuration, own: Recipients | None, now: Timestamp, *, to_write: bool) -> Lists:
    """The domains in the logs of all hosts that share a store, as lists; those of this host among them.

    Args:
        configuration: where the store is.
        own: of this host; `None` where it has no logs.
        to_write: else the other hosts are told nothing.

    Raises:
        StateError: the store cannot be asked.
    """
    settings = configuration.sync
    content = None if own is None else as_list(own, settings.top)[1]
    name = f"{gethostname()} {configuration.map.path}"
    with closing(open_host_lists(settings)) as shared:
        lists = shared.exchange(name, content, now, forget_after=settings.logs_keep * DAY, to_write=to_write)
    return [(f"sync.logs of {shown(host)}", domains) for host, domains in lists.items()]
