"""What is gathered: from the relay, the files, and what sync has written for node_exporter."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec.structs import replace

from onionmx.config import Configuration, MapSection, RelaySection, SyncSection
from onionmx.serve.http.health import HealthPart
from onionmx.serve.page.gather import StatusSource
from onionmx.status.model import CouldHaveGone, DeliveryCount, RelayStatus, Status
from onionmx.status.watched import UNKNOWN_FROM_OUTSIDE
from onionmx.sync.lists.outgoing import Outgoing
from onionmx.sync.metrics_file import write_metrics
from onionmx.sync.report import Summary
from onionmx.watch.judge import Reach, Watched
from onionmx.watch.state import FORMAT, WatchState, watch_file, write_state
from tests.mapfile.maps import A, make_map
from tests.serve.page.relays import TOLD, relay
from tests.serve.page.statuses import AT, DAYS, FAILING

HEALTHY = {"tor": HealthPart(ok=True, seen="its SOCKS port answers")}


def configured(folder: Path) -> Configuration:
    return Configuration(
        map=MapSection(path=str(folder / "map.cdb")),
        sync=SyncSection(metrics_file=str(folder / "onionmx.prom")),
        relay=RelaySection(control=str(folder / "relay.sock")),
    )


def seen(
    folder: Path,
    told: RelayStatus | None = None,
    *,
    tor: HealthPart = HEALTHY["tor"],
    configuration: Configuration | None = None,
) -> Status:
    """What is gathered with, or without, a relay."""
    used = configuration or configured(folder)

    async def look() -> dict[str, HealthPart]:
        return {"tor": tor}

    async def run() -> Status:
        source = StatusSource(used, look, lambda: AT)
        try:
            async with asyncio.timeout(120):
                if told is None:
                    return await source.status()
                async with relay(used.relay, told):
                    return await source.status()
        finally:
            await source.close()

    return asyncio.run(run())


def test_all_of_it(tmp_path: Path) -> None:
    make_map(tmp_path / "map.cdb", {"example.org": ((A, 25),)})
    summary = Summary("map.cdb", waiting=3, outgoing=Outgoing(recipients=8, with_route=2))
    write_metrics(tmp_path / "onionmx.prom", now=AT - 60, seconds=1.0, exit_code=0, summary=summary)
    write_state(watch_file(configured(tmp_path)), WatchState(FORMAT, [Watched(A, Reach.REACHABLE, AT - 900, AT - 60)]))
    status = seen(tmp_path, TOLD)
    (own,) = status.onions.services or ()
    assert (own.onion, own.reachable, own.reachable_since) == (A, True, AT - 900)
    assert (status.tor.answers, status.queue.in_flight, status.failing.destinations) == (True, 2, FAILING)
    assert (status.map.entries, status.map.last_run, status.map.more_waiting) == (1, AT - 60, 3)
    assert status.map.why == ""
    assert status.deliveries.days == DAYS
    assert status.deliveries.today == DeliveryCount(delivered=21, deferred=1, refused=1)
    assert status.deliveries.last_30_days is not None
    assert status.deliveries.last_30_days.delivered == sum(day.delivered for day in DAYS)
    assert status.deliveries.could_have_gone == CouldHaveGone(recipients=8, with_route=2, share=0.25)


def test_nothing_is_there(tmp_path: Path) -> None:
    status = seen(tmp_path, tor=HealthPart(ok=False, seen="refused"))
    assert (status.tor.answers, status.tor.why) == (False, "refused")
    assert (status.failing.destinations, status.queue.in_flight, status.deliveries.today) == (None, None, None)
    assert "no relay answers" in status.failing.why
    assert (status.onions.services, status.onions.why) == (None, UNKNOWN_FROM_OUTSIDE)
    assert (status.map.entries, status.map.waiting, status.map.last_run) == (None, None, None)
    assert "map.cdb" in status.map.why
    assert "onionmx.prom cannot be read: No such file" in status.map.why


def test_damaged_files_are_not_known(tmp_path: Path) -> None:
    (tmp_path / "map.cdb").write_bytes(b"x" * 5000)
    (tmp_path / "onionmx.prom").write_bytes(b"onionmx_sync_waiting_changes many\n")
    status = seen(tmp_path)
    assert (status.map.entries, status.map.waiting) == (None, None)
    assert "is damaged" in status.map.why


def test_without_a_file_of_metrics(tmp_path: Path) -> None:
    status = seen(tmp_path, configuration=replace(configured(tmp_path), sync=SyncSection()))
    assert status.map.waiting is None
    assert "sync.metrics_file is not set" in status.map.why


def test_many_visits_make_one_look_and_a_reload_another(tmp_path: Path) -> None:
    looks = 0

    async def look() -> dict[str, HealthPart]:
        nonlocal looks
        looks += 1
        await asyncio.sleep(0)
        return HEALTHY

    async def run(test: Callable[[StatusSource], Awaitable[None]]) -> None:
        source = StatusSource(configured(tmp_path), look)
        async with asyncio.timeout(120):
            await test(source)
        await source.close()

    async def visit(source: StatusSource) -> None:
        await asyncio.gather(*(source.status() for _ in range(50)))
        assert looks == 1
        source.use(configured(tmp_path))
        await source.status()
        assert looks == 2

    asyncio.run(run(visit))
