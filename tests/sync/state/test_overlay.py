"""A store on top of another one answers as that would have after the same calls, and leaves it alone."""

from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from onionmx.sync.state.overlay import DryRunStore
from onionmx.sync.state.record import DomainRecord, Established, HistoryLine, LastAnswer
from onionmx.sync.state.sqlite import SqliteStore
from onionmx.sync.state.store import Store
from onionmx.target import Trust
from tests.mapfile.maps import A
from tests.sync.world import START

NAMES = [f"{letter}.example" for letter in "abcdef"]
ROUTE = Established(((A, 25),), Trust.UNSIGNED, START, START, is_routed=True)
names = st.lists(st.sampled_from(NAMES), unique=True)
records = st.builds(
    DomainRecord,
    st.sampled_from(NAMES),
    st.just(START),
    due_at=st.floats(START - 10, START + 10),
    answer=st.sampled_from(LastAnswer),
    established=st.sampled_from([None, ROUTE]),
)
listings = st.tuples(st.just("list"), names)
saves = st.tuples(st.just("save"), st.lists(records))
calls = st.lists(st.one_of(listings, saves), max_size=6)
calls_of_a_run = st.builds(list.__add__, st.lists(listings, max_size=1), st.lists(saves, max_size=3))


def play(store: Store, drawn: list[tuple[str, list[object]]]) -> None:
    for what, values in drawn:
        if what == "list":
            store.set_listed([str(value) for value in values], START)
        else:
            known = store.get(NAMES)
            saved = [value for value in values if isinstance(value, DomainRecord) and value.domain in known]
            latest = {value.domain: replace(value, listed=known[value.domain].listed) for value in saved}
            store.save(latest.values(), [HistoryLine(name, START, "taken", (), None, "") for name in latest])


def view(store: Store) -> object:
    return (
        store.get(NAMES),
        list(store.routed()),
        sorted(store.due(START)),
        sorted(store.due(START, all_listed=True)),
        store.counts(),
        [store.history(name) for name in NAMES],
    )


@given(calls, calls_of_a_run)
def test_as_if_it_was_written(below: list[tuple[str, list[object]]], above: list[tuple[str, list[object]]]) -> None:
    with TemporaryDirectory() as folder:
        store = SqliteStore(Path(folder, "state"))
        try:
            play(store, below)
            before = view(store)
            overlay = DryRunStore(store)
            play(overlay, above)
            seen = view(overlay)
            assert view(store) == before
            play(store, above)
            assert view(store) == seen
        finally:
            store.close()


@pytest.fixture
def overlay(tmp_path: Path) -> Iterator[DryRunStore]:
    store = SqliteStore(tmp_path / "state")
    store.note(one="1")
    yield DryRunStore(store)
    assert store.notes() == {"one": "1"}
    assert store.pins() == {}
    store.close()


def test_notes_and_pins(overlay: DryRunStore) -> None:
    overlay.note(two="2")
    assert overlay.notes() == {"one": "1", "two": "2"}
    overlay.set_pins({"a.example": [(A, 25)]})
    assert overlay.pins() == {"a.example": ((A, 25),)}
    overlay.set_listed(["a.example"], START)
    assert overlay.forget(START) == 0


def test_on_top_of_nothing() -> None:
    overlay = DryRunStore(None)
    assert (list(overlay.due(START)), list(overlay.routed()), overlay.counts().listed) == ([], [], 0)
    overlay.set_listed(["a.example"], START)
    assert list(overlay.due(START)) == ["a.example"]
    assert overlay.counts().listed == 1
    with overlay.run_lock(), overlay.run_lock():
        overlay.close()
