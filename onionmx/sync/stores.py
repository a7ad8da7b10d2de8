"""The store that the configuration names."""

from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.config.store import ValkeyAddress, parse_store
from onionmx.config.sync import SyncSection
from onionmx.errors import ConfigurationError
from onionmx.sync.state.encoding import LONGEST_WAIT
from onionmx.sync.state.keyed import read_seal
from onionmx.sync.state.sqlite import SqliteStore
from onionmx.sync.state.store import Store

if TYPE_CHECKING:
    from onionmx.sync.state.valkey.lists import HostLists
    from onionmx.sync.state.valkey.server import ValkeyConnection


def open_store(place: Path | ValkeyAddress, settings: SyncSection, *, longest_wait: float = LONGEST_WAIT) -> Store:
    """Open a store. The caller closes it.

    Args:
        place: of it.
        settings: password, key and CAs of a server, and who may run it.
        longest_wait: seconds; what is due later than that from now was written by a clock that was ahead, and is due.

    Raises:
        ConfigurationError: the password or the key cannot be read.
        StateError: the store cannot be opened, is damaged, or belongs to a newer version.
    """
    if isinstance(place, Path):
        return SqliteStore(place, longest_wait=longest_wait)
    from onionmx.sync.state.valkey.store import ValkeyStore  # noqa: PLC0415 -- see `_connection`

    seal = read_seal(settings.store_key_file)
    return ValkeyStore(_connection(place, settings), seal, longest_wait=longest_wait)


def open_host_lists(settings: SyncSection) -> "HostLists":
    """Open the lists of the hosts that share a store. The caller closes them.

    Raises:
        ConfigurationError: the password or the key cannot be read.
    """
    from onionmx.sync.state.valkey.lists import HostLists  # noqa: PLC0415 -- see `_connection`

    place = parse_store(settings.store)
    assert not isinstance(place, Path)  # noqa: S101 -- it is shared
    seal = read_seal(settings.store_key_file)
    return HostLists(_connection(place, settings), seal)


def seal_shared_store(settings: SyncSection) -> int:
    """Give each entry of a shared store that has no MAC its MAC; see `onionmx.sync.state.valkey.seal`.

    Returns:
        How many entries got one.

    Raises:
        ConfigurationError: the password or the key cannot be read, or there is none.
        LockedError: a sync is at work.
        StateError: the server cannot be asked, or what it holds cannot be read.
    """
    from onionmx.sync.state.valkey.seal import seal_store  # noqa: PLC0415 -- see `_connection`

    place = parse_store(settings.store) if settings.store else Path()
    if isinstance(place, Path) or not settings.store_key_file:
        raise ConfigurationError("expected a store that hosts share in sync.store, and its key in sync.store_key_file")
    seal = read_seal(settings.store_key_file)
    with closing(_connection(place, settings)) as server:
        return seal_store(server, seal)


def _connection(place: ValkeyAddress, settings: SyncSection) -> "ValkeyConnection":
    # Loaded on demand: the client library takes longer to load than a run with nothing to do on one host.
    from onionmx.sync.state.valkey.server import ValkeyConnection  # noqa: PLC0415

    return ValkeyConnection(
        place,
        password_file=settings.store_password_file,
        ca_file=settings.store_ca_file,
        users=settings.store_users,
    )
