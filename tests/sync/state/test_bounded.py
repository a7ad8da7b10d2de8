"""A store that does not grow beyond its bounds: who fills it with his own domains drives out nobody else."""

from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from onionmx.errors import StateError
from onionmx.sync.state.bounded import SHARE, UNUSED, BoundedStore, zone_of
from onionmx.sync.state.record import DomainRecord, Established, How, Removal
from onionmx.target import Trust
from tests.mapfile.maps import A, B

MOST = 300
NOW = 1_800_000_000.0
MINUTE = 60.0


@pytest.fixture
def store(tmp_path: Path) -> Iterator[BoundedStore]:
    store = BoundedStore(tmp_path / "live.sqlite", MOST)
    yield store
    store.close()


def routed(domain: str, trust: Trust = Trust.UNSIGNED, due_at: float = NOW) -> DomainRecord:
    return DomainRecord(domain, NOW, due_at=due_at, established=Established(((A, 25),), trust, NOW, NOW))


def fill(store: BoundedStore, records: Iterable[DomainRecord], now: float = NOW) -> list[bool]:
    """Save records as live lookups do: those for which there is room."""
    rooms = []
    for record in records:
        rooms.append(store.room(now))
        if rooms[-1]:
            store.save([record])
    return rooms


def names(store: BoundedStore) -> set[str]:
    return {record.domain for record in store.routed()}


def test_a_zone_that_fills_the_store_gives_way_to_others(store: BoundedStore) -> None:
    fill(store, [routed(f"victim{number}.example", due_at=NOW - 100) for number in range(50)])
    attack = fill(store, (routed(f"x{number}.evil.example") for number in range(2 * MOST)))
    assert all(attack), "there is always room, made by his own domains"
    assert store.counts().listed <= MOST
    assert {f"victim{number}.example" for number in range(50)} <= names(store)
    assert fill(store, [routed("new.example")]) == [True]
    assert sum(zone_of(name) == "evil.example" for name in names(store)) >= MOST // SHARE


def test_many_zones_drive_out_nobody_and_new_domains_find_no_room(store: BoundedStore) -> None:
    fill(store, [routed("victim.example", due_at=NOW - 100)])
    attack = fill(store, (routed(f"evil{number}.example") for number in range(MOST + 100)))
    assert attack.count(True) == MOST - 1
    assert "victim.example" in names(store)
    assert fill(store, [routed("new.example")]) == [False]
    later = NOW + UNUSED + MINUTE
    assert fill(store, [routed("new.example", due_at=later)], later) == [True], "what nobody asks for gives way at last"


def test_denials_give_way_before_routes(store: BoundedStore) -> None:
    fill(store, [routed(f"victim{number}.example") for number in range(MOST // 2)])
    fill(store, [DomainRecord(f"none{number}.example", NOW, due_at=NOW + number) for number in range(MOST // 2)])
    assert all(fill(store, [routed(f"new{number}.example") for number in range(MOST // 4)]))
    assert {f"victim{number}.example" for number in range(MOST // 2)} <= names(store)


def test_the_word_of_the_operator_stays(store: BoundedStore) -> None:
    due_at = NOW - 2 * UNUSED
    words = [
        routed("accepted.evil.example", Trust.PINNED, due_at),
        DomainRecord("refused.evil.example", NOW, due_at=due_at, refused=(((B, 25),),)),
        DomainRecord("removed.evil.example", NOW, due_at=due_at, removal=Removal(How.OPERATOR, NOW)),
    ]
    fill(store, words)
    fill(store, (routed(f"x{number}.evil.example") for number in range(2 * MOST)))
    assert len(store.get(record.domain for record in words)) == len(words)


def test_bytes_are_bounded(tmp_path: Path) -> None:
    store = BoundedStore(tmp_path / "live.sqlite", 10)
    long = "x" * 100_000
    with pytest.raises(StateError, match="no space left"):
        store.save([DomainRecord("a.example", NOW, reason=long)])
    store.close()
    assert (tmp_path / "live.sqlite").stat().st_size <= 10 * 4096


def test_long_records_are_too_many_sooner(store: BoundedStore) -> None:
    long = (replace(routed(f"evil{number}.example"), reason="x" * 20_000) for number in range(MOST))
    assert not all(fill(store, long))
    store.save([routed("evil0.example")])  # what is known may still change


def test_zones() -> None:
    assert zone_of("a.b.example.org") == zone_of("example.org") == "example.org"
    assert zone_of("a.example.co.uk") == "example.co.uk"
    assert zone_of("co.uk") == "co.uk"
    assert zone_of("org") == "org"


@given(st.text("ab.", max_size=20))
def test_any_name_is_in_a_zone(name: str) -> None:
    assert name.endswith(zone_of(name))
