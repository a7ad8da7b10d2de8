"""What is known of a relay that does not run, or cannot be asked."""

import asyncio
import os
import time
from pathlib import Path

import pytest

from onionmx.clock import day_of
from onionmx.config import Configuration, MapSection, RelaySection
from onionmx.status.deliveries import write_deliveries
from onionmx.status.model import DayCount, DeliveryCount
from onionmx.status.relay_seen import SHOWN_DAYS, RelaySeen, last_days, look_at_relay
from tests.status.test_deliveries import by_key, failing

DAY = 86400.0


def configuration(folder: Path) -> Configuration:
    return Configuration(
        map=MapSection(path=str(folder / "onionmx" / "map.cdb")), relay=RelaySection(control=str(folder / "relay.sock"))
    )


def look(folder: Path) -> RelaySeen:
    return asyncio.run(look_at_relay(configuration(folder)))


@pytest.mark.parametrize("place", ["onionmx-relay", "onionmx"])
def test_relay_that_does_not_run_is_known_by_its_file(tmp_path: Path, place: str) -> None:
    now = time.time()
    dead = failing(since=now - 3600, last=now - 60)
    day = day_of(now)
    write_deliveries(tmp_path / place / "deliveries", by_key(dead), {day: DayCount(day=day, delivered=2)}, now)
    seen = look(tmp_path)
    assert seen.is_whole
    assert (seen.failing, seen.in_flight) == ((dead,), None)
    assert "is onionmx relay running? This is what it knew when it ran last." in seen.why
    told = seen.deliveries(now)
    assert told.today == told.last_30_days == DeliveryCount(delivered=2)


def test_host_where_no_relay_has_ever_run(tmp_path: Path) -> None:
    seen = look(tmp_path)
    assert seen.is_whole, "it is no fault: Exim can do without"
    assert (seen.failing, seen.days) == (None, None)
    assert "What the MTA delivers by itself is not counted" in seen.deliveries(time.time()).why


@pytest.mark.parametrize("kind", ["damaged", "link", "fifo", "folder"])
def test_file_that_cannot_be_read_is_not_an_empty_one(tmp_path: Path, kind: str) -> None:
    path = tmp_path / "onionmx-relay" / "deliveries"
    path.parent.mkdir()
    match kind:
        case "damaged":
            path.write_text("{}")
        case "link":
            path.symlink_to("/etc/hostname")
        case "fifo":
            os.mkfifo(path)
        case _:
            path.mkdir()
    seen = look(tmp_path)
    assert not seen.is_whole
    assert (seen.failing, seen.days) == (None, None)
    assert str(path) in seen.why


def test_what_answers_and_is_no_relay_is_told(tmp_path: Path) -> None:
    async def run() -> RelaySeen:
        async with await asyncio.start_unix_server(lambda _, writer: writer.close(), tmp_path / "relay.sock"):
            return await look_at_relay(configuration(tmp_path))

    seen = asyncio.run(run())
    assert not seen.is_whole
    assert seen.failing is None


def test_graph_has_all_days() -> None:
    now = time.time()
    old, yesterday = day_of(now - 40 * DAY), day_of(now - DAY)
    days = last_days((DayCount(day=old, delivered=9), DayCount(day=yesterday, refused=1)), now)
    assert len(days) == SHOWN_DAYS
    assert days[-1] == DayCount(day=day_of(now))
    assert days[-2].refused == 1
    assert sum(day.delivered for day in days) == 0
    assert [day.day for day in days] == sorted(day.day for day in days)
