"""The file in which the relay keeps what fails and what it has delivered."""

import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.clock import day_of
from onionmx.defaults import DAY
from onionmx.errors import InputError
from onionmx.saved import SavedError
from onionmx.status.deliveries import (
    DAYS,
    FORGOTTEN,
    MOST_FAILING,
    Deliveries,
    added,
    kept,
    key_of,
    parse_deliveries,
    read_deliveries,
    write_deliveries,
)
from onionmx.status.model import DayCount, FailingDestination, FailureKind
from tests.mapfile.maps import A, B

NOW = 1_800_000_000.0


def failing(onion: str = A, **fields: Any) -> FailingDestination:  # noqa: ANN401 -- fields of the struct
    values: dict[str, Any] = {
        "onion": onion,
        "port": 25,
        "domains": ("example.org",),
        "kind": FailureKind.NOT_PUBLISHED,
        "reason": "no descriptor found",
        "failures": 3,
        "since": NOW - 3600,
        "last": NOW - 60,
    }
    return FailingDestination(**values | fields)


def by_key(*all_of_them: FailingDestination) -> Mapping[tuple[str, int, str], FailingDestination]:
    return {key_of(each): each for each in all_of_them}


def test_each_worker_adds_its_own_and_keeps_what_others_wrote(tmp_path: Path) -> None:
    path = tmp_path / "deliveries"
    day = day_of(NOW)
    assert read_deliveries(path, NOW) is None
    write_deliveries(path, by_key(failing(A)), {day: DayCount(day=day, delivered=2, deferred=1)}, NOW)
    write_deliveries(path, by_key(failing(B)), {day: DayCount(day=day, delivered=3, refused=1)}, NOW)
    found = write_deliveries(path, {key_of(failing(A)): None}, {}, NOW)
    assert found == read_deliveries(path, NOW)
    assert found.failing == by_key(failing(B))
    assert found.days == {day: DayCount(day=day, delivered=5, deferred=1, refused=1)}
    assert path.stat().st_mode & 0o777 == 0o600


def test_what_is_old_or_from_the_future_is_forgotten(tmp_path: Path) -> None:
    path = tmp_path / "deliveries"
    days = {day: DayCount(day=day, delivered=1) for day in (day_of(NOW - number * DAY) for number in range(DAYS + 5))}
    ahead = day_of(NOW + 900 * DAY)
    write_deliveries(
        path,
        by_key(failing(A, last=NOW - FORGOTTEN - 1), failing(B, last=NOW + 2 * DAY)),
        days | {ahead: DayCount(day=ahead, delivered=9)},
        NOW,
    )
    found = read_deliveries(path, NOW)
    assert found is not None
    assert not found.failing
    assert list(found.days) == sorted(days)[-DAYS:]


def test_no_more_destinations_than_the_limit_and_those_that_failed_last_stay() -> None:
    many = {(A, port, ""): failing(A, port=port, last=NOW - 100_000 + port) for port in range(1, MOST_FAILING + 11)}
    found = kept(many, {}, NOW).failing
    assert len(found) == MOST_FAILING
    assert min(port for _, port, _ in found) == 11


def test_damaged_file_is_told_and_written_anew(tmp_path: Path) -> None:
    path = tmp_path / "deliveries"
    path.write_text('{"format": 1, "failing": [{}], "days": []}')
    with pytest.raises(SavedError, match="it is damaged"):
        read_deliveries(path, NOW)
    write_deliveries(path, by_key(failing()), {}, NOW)
    assert read_deliveries(path, NOW) == Deliveries(by_key(failing()), {})


def test_file_of_a_newer_version_is_told(tmp_path: Path) -> None:
    path = tmp_path / "deliveries"
    path.write_text('{"format": 2}')
    with pytest.raises(SavedError, match="its format is 2"):
        read_deliveries(path, NOW)


@pytest.mark.parametrize(
    "wrong",
    [
        {"onion": "example.org"},
        {"onion": A.upper()},
        {"port": 0},
        {"domains": ["a@example.org"]},
        {"domains": ["a.example", "b.example", "c.example", "d.example"]},
        {"reason": "two\nlines"},
        {"reason": "x" * 301},
        {"failures": -1},
        {"since": 1e300},
        {"last": -1},
        {"next_try": "soon"},
        {"kind": "unknown"},
    ],
    ids=str,
)
def test_what_cannot_be_is_refused(wrong: dict[str, Any]) -> None:
    line = json.loads(msgspec.json.encode(failing())) | wrong
    with pytest.raises(InputError, match="damaged"):
        parse_deliveries(json.dumps({"format": 1, "failing": [line], "days": []}).encode(), NOW)


@pytest.mark.parametrize("day", ["2026-02-30", "yesterday", "2026-1-1", "2026-01-01\n", "٢٠٢٦-01-01"])
def test_days_that_cannot_be_are_refused(day: str) -> None:
    content = {"format": 1, "failing": [], "days": [{"day": day}]}
    with pytest.raises(InputError, match="damaged"):
        parse_deliveries(json.dumps(content).encode(), NOW)


@given(st.binary())
def test_whatever_is_in_the_file(content: bytes) -> None:
    with pytest.raises(InputError):
        parse_deliveries(content, NOW)


_JSON = st.recursive(
    st.none() | st.booleans() | st.floats(allow_nan=False) | st.integers() | st.text(),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=5,
)


@given(st.sampled_from([*FailingDestination.__struct_fields__, "day"]), _JSON)
def test_whatever_a_field_holds(field: str, value: object) -> None:
    """It is read as it would be written, or refused."""
    line = json.loads(msgspec.json.encode(failing()))
    days = [{"day": "2026-01-01", "delivered": 1}]
    if field == "day":
        days[0]["day"] = value
    else:
        line[field] = value
    try:
        found = parse_deliveries(json.dumps({"format": 1, "failing": [line], "days": days}).encode(), NOW)
    except InputError:
        return
    again = {"format": 1, "failing": list(found.failing.values()), "days": list(found.days.values())}
    assert parse_deliveries(msgspec.json.encode(again), NOW) == found


_COUNTS = st.builds(DayCount, day=st.just("2026-01-01"), delivered=st.integers(0, 9), deferred=st.integers(0, 9))


@given(st.lists(_COUNTS))
def test_sums_are_those_of_all(counts: list[DayCount]) -> None:
    found: Mapping[str, DayCount] = {}
    for count in counts:
        found = added(found, {count.day: count})
    delivered = sum(count.delivered for count in counts)
    assert sum(each.delivered for each in found.values()) == delivered
