"""Both stores, each test with both: the file, and a real server."""

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import TypeVar

import pytest

from onionmx.sync.state.sqlite import SqliteStore
from onionmx.sync.state.valkey.store import ValkeyStore
from tests.e2e.valkey import ValkeyServer

AnyStore = SqliteStore | ValkeyStore
Open = Callable[[], AnyStore]
"""Opens the same store each time."""
_Store = TypeVar("_Store", SqliteStore, ValkeyStore)


@pytest.fixture(scope="session")
def running_server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


@pytest.fixture
def valkey_server(running_server: ValkeyServer) -> ValkeyServer:
    """A server with nothing in it."""
    running_server.flush()
    return running_server


@pytest.fixture(params=["sqlite", "valkey"])
def open_it(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Open]:
    with ExitStack() as opened:

        def kept(store: _Store) -> _Store:
            return opened.enter_context(closing(store))

        if request.param == "sqlite":
            path = tmp_path / "state" / "state.sqlite"
            yield lambda: kept(SqliteStore(path))
        else:
            server: ValkeyServer = request.getfixturevalue("valkey_server")
            yield lambda: kept(server.store())


@pytest.fixture
def store(open_it: Open) -> AnyStore:
    return open_it()
