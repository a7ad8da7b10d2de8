"""A state of the version before: `format_1.sql` is what it wrote, as SQLite dumps it."""

import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from onionmx.sync.judge.entry import entry_of
from onionmx.sync.judge.policy import judge
from onionmx.sync.judge.rules import Rules
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.sqlite import SqliteStore
from onionmx.target import Trust
from tests.onions import make_onion
from tests.sync.world import DAY, HOUR, START, found

DUMP = Path(__file__).with_name("format_1.sql")
A, B = make_onion("a"), make_onion("b")
ROUTED = {"plain.example", "signed.example", "waiting.example", "refused.example", "proven.example"}


@pytest.fixture
def records(tmp_path: Path) -> dict[str, DomainRecord]:
    path = tmp_path / "state.sqlite"
    with closing(sqlite3.connect(path)) as connection:
        connection.executescript(DUMP.read_text())
    store = SqliteStore(path)
    try:
        names = [*ROUTED, "unproven.example", "removed.example", "none.example"]
        found_records = store.get(names)
        assert set(found_records) == set(names)
        assert store.pins() == {"pinned.example": ((B, 2525),)}
        assert [line.event for line in store.history("refused.example")] == ["taken", "pending", "refused"]
        store.save(found_records.values())
        assert store.get(names) == found_records
        return found_records
    finally:
        store.close()


def test_every_route_stays(records: dict[str, DomainRecord]) -> None:
    for domain, record in records.items():
        entry = entry_of(record, Rules(), START + HOUR)
        assert entry.endpoints == (((A, 25),) if domain in ROUTED else ())
        if record.established:
            assert record.established.is_routed is (domain in ROUTED)


def test_what_waits_goes_on(records: dict[str, DomainRecord]) -> None:
    record = records["waiting.example"]
    assert record.pending
    now = record.pending.last_seen + 6 * HOUR
    record = judge(record, found(record.domain, B), now, Rules()).record
    assert record.established
    assert record.established.endpoints == ((B, 25),)


def test_a_refusal_stays_and_is_remembered_now(records: dict[str, DomainRecord]) -> None:
    record, now = records["refused.example"], START + DAY
    for onion in (A, *[B] * 100):
        now += HOUR
        record = judge(record, found(record.domain, onion), now, Rules()).record
    assert record.established
    assert record.established.endpoints == ((A, 25),)


def test_what_was_removed_comes_with_a_signature_or_waits(records: dict[str, DomainRecord]) -> None:
    record = records["removed.example"]
    assert judge(record, found(record.domain, A), START + DAY, Rules()).record.established is None
    assert judge(record, found(record.domain, B, trust=Trust.DNSSEC), START + DAY, Rules()).record.established


def test_what_never_was_routed_gives_way(records: dict[str, DomainRecord]) -> None:
    record = judge(records["unproven.example"], found("unproven.example", B), START + DAY, Rules()).record
    assert record.established
    assert record.established.endpoints == ((B, 25),)
