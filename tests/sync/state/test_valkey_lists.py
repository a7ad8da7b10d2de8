"""The lists of hosts that share a store, on a real server."""

import zlib
from collections.abc import Iterator
from contextlib import closing

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.defaults import DAY
from onionmx.errors import StateError
from onionmx.sync.state.encoding import UnreadableError
from onionmx.sync.state.valkey.lists import HostLists, read_list
from tests.e2e.valkey import ValkeyServer

NOW = 1_700_000_000.0
KEPT = 30 * DAY


@pytest.fixture
def lists(valkey_server: ValkeyServer) -> Iterator[HostLists]:
    with closing(HostLists(valkey_server.server())) as lists:
        yield lists


def test_each_host_gives_its_own_and_gets_all(lists: HostLists) -> None:
    assert lists.exchange("b", b"b.org", NOW, forget_after=KEPT) == {"b": b"b.org"}
    assert lists.exchange("a", b"a.org", NOW, forget_after=KEPT) == {"a": b"a.org", "b": b"b.org"}
    assert lists.exchange("b", b"c.org", NOW, forget_after=KEPT) == {"a": b"a.org", "b": b"c.org"}
    assert lists.exchange("without logs", None, NOW, forget_after=KEPT) == {"a": b"a.org", "b": b"c.org"}
    assert lists.exchange("a", None, NOW, forget_after=KEPT) == {"b": b"c.org"}
    assert lists.exchange("a", None, NOW, forget_after=KEPT) == {"b": b"c.org"}


def test_a_host_that_is_gone_is_forgotten(lists: HostLists) -> None:
    lists.exchange("gone", b"gone.org", NOW, forget_after=KEPT)
    for day in range(31):
        # The same list, over and over.
        found = lists.exchange("there", b"there.org", NOW + day * DAY, forget_after=KEPT)
        assert found == {"gone": b"gone.org", "there": b"there.org"}
    after = NOW + 31 * DAY
    assert lists.exchange("third", None, after, forget_after=KEPT, to_write=False) == {"there": b"there.org"}
    assert "gone" in lists.exchange("third", None, NOW, forget_after=KEPT)
    assert lists.exchange("third", None, after, forget_after=KEPT) == {"there": b"there.org"}
    assert "gone" not in lists.exchange("third", None, NOW, forget_after=KEPT)


def test_only_looking_changes_nothing(lists: HostLists) -> None:
    lists.exchange("a", b"a.org", NOW, forget_after=KEPT)
    assert lists.exchange("a", b"b.org", NOW, forget_after=KEPT, to_write=False) == {"a": b"b.org"}
    assert lists.exchange("c", None, NOW, forget_after=KEPT) == {"a": b"a.org"}


def test_damage(lists: HostLists, valkey_server: ValkeyServer) -> None:
    with closing(valkey_server.server()) as client:
        client.ask("HSET", "onionmx:lists", "a", b"12345678" + zlib.compress(b"a.org")[:-1])
    with pytest.raises(StateError, match=r"the list of 'a' is damaged: restore it .*; the map of this host stays"):
        lists.exchange("b", b"b.org", NOW, forget_after=KEPT)


@given(st.binary() | st.binary().map(lambda content: b"12345678" + zlib.compress(content)[:-1]))
def test_anything_else_is_no_list(value: bytes) -> None:
    with pytest.raises(UnreadableError):
        read_list("a", value)
