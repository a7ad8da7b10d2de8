"""What live lookups remember, beside what sync does: for `onionmx explain` and `onionmx sync --pending`."""

from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

from onionmx.cli.options import warn
from onionmx.config import Configuration
from onionmx.config.store import parse_store
from onionmx.errors import ConfigurationError, StateError
from onionmx.routing.memory import memories, open_memory
from onionmx.sync.setup import store_setting
from onionmx.sync.state.store import Store


@contextmanager
def opened_memories(configuration: Configuration) -> Iterator[dict[str, Store]]:
    """The memories of live lookups on this host, closed at the end; one that cannot be opened is a warning.

    One that is shared with sync is left out: what is in it is told already. Root opens them before it becomes the user
    of sync, who may not read them.

    Args:
        configuration: where they may be.
    """
    with ExitStack() as opened:
        found: dict[str, Store] = {}
        for place in memories(configuration):
            if parse_store(place, "lookup.memory") == parse_store(store_setting(configuration)):
                continue
            try:
                _check(place)
                found[place] = opened.enter_context(closing(open_memory(configuration, place)))
            except (ConfigurationError, StateError) as error:
                warn(f"the memory of live lookups is left out: {error}")
        yield found


def _check(place: str) -> None:
    """Refuse a link: services own these folders, and root would follow it.

    Raises:
        StateError: it is one.
    """
    path = parse_store(place, "lookup.memory")
    if isinstance(path, Path) and path.is_symlink():
        raise StateError(f"{path} is a link: expected a file")
