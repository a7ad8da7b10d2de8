"""The store that the configuration names."""

from collections.abc import Sequence
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.config.store import STORE_USERS, ValkeyAddress, parse_store
from onionmx.errors import ConfigurationError
from onionmx.sync.state.encoding import LONGEST_WAIT
from onionmx.sync.state.keyed import read_seal
from onionmx.sync.state.sqlite import SqliteStore
from onionmx.sync.state.store import Store

if TYPE_CHECKING:
    from onionmx.sync.state.valkey.lists import HostLists


def open_store(  # noqa: PLR0913 -- what the configuration says of it
    store: str,
    *,
    password_file: str = "",
    ca_file: str = "",
    key_file: str = "",
    users: Sequence[str] = STORE_USERS,
    longest_wait: float = LONGEST_WAIT,
) -> Store:
    """Open the store that `sync.store` names. The caller closes it.

    Args:
        store: see `onionmx.config.store.parse_store`.
        password_file: with the password of a server; empty for none.
        ca_file: with the CAs for a server over TLS, in PEM; empty for those of the system.
        key_file: with the key that its hosts have in common; empty for none.
        users: see `onionmx.sync.state.valkey.server.ValkeyConnection`.
        longest_wait: seconds; what is due later than that from now was written by a clock that was ahead, and is due.

    Raises:
        ConfigurationError: the name is impossible, or the password or the key cannot be read.
        StateError: the store cannot be opened, is damaged, or belongs to a newer version.
    """
    place = _parse(store)
    if isinstance(place, Path):
        return SqliteStore(place, longest_wait=longest_wait)
    # Loaded on demand: the client library takes longer to load than a run with nothing to do on one host.
    from onionmx.sync.state.valkey.server import ValkeyConnection  # noqa: PLC0415
    from onionmx.sync.state.valkey.store import ValkeyStore  # noqa: PLC0415

    seal = read_seal(key_file)
    server = ValkeyConnection(place, password_file=password_file, ca_file=ca_file, users=users)
    return ValkeyStore(server, seal, longest_wait=longest_wait)


def open_host_lists(
    store: str, *, password_file: str, ca_file: str, key_file: str = "", users: Sequence[str] = STORE_USERS
) -> "HostLists":
    """Open the lists of the hosts that share a store. The caller closes them.

    Args:
        password_file: see `open_store`.
        ca_file: likewise.
        key_file: likewise.
        users: likewise.

    Raises:
        ConfigurationError: the password cannot be read.
    """
    from onionmx.sync.state.valkey.lists import HostLists  # noqa: PLC0415
    from onionmx.sync.state.valkey.server import ValkeyConnection  # noqa: PLC0415

    place = _parse(store)
    assert not isinstance(place, Path)  # noqa: S101 -- it is shared
    seal = read_seal(key_file)
    return HostLists(ValkeyConnection(place, password_file=password_file, ca_file=ca_file, users=users), seal)


def seal_shared_store(
    store: str, *, password_file: str, ca_file: str, key_file: str, users: Sequence[str] = STORE_USERS
) -> int:
    """Give each entry of a shared store that has no MAC its MAC; see `onionmx.sync.state.valkey.seal`.

    Args:
        password_file: see `open_store`.
        ca_file: likewise.
        key_file: likewise.
        users: likewise.

    Returns:
        How many entries got one.

    Raises:
        ConfigurationError: the password or the key cannot be read, or there is none.
        LockedError: a sync is at work.
        StateError: the server cannot be asked, or what it holds cannot be read.
    """
    from onionmx.sync.state.valkey.seal import seal_store  # noqa: PLC0415
    from onionmx.sync.state.valkey.server import ValkeyConnection  # noqa: PLC0415

    place = _parse(store) if store else Path()
    if isinstance(place, Path) or not key_file:
        raise ConfigurationError("expected a store that hosts share in sync.store, and its key in sync.store_key_file")
    seal = read_seal(key_file)
    with closing(ValkeyConnection(place, password_file=password_file, ca_file=ca_file, users=users)) as server:
        return seal_store(server, seal)


def _parse(store: str) -> Path | ValkeyAddress:
    try:
        return parse_store(store)
    except ValueError as error:
        raise ConfigurationError(str(error)) from error
