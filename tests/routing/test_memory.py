"""What live lookups remember: what protects a domain, written in few writes, over restarts, by several processes."""

import asyncio
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier

import pytest

from onionmx.config import Configuration, LookupSection, MapSection
from onionmx.errors import StateError
from onionmx.routing.memory import Kept, Memory, memories, memory_place
from onionmx.sync.judge.policy import Verdict
from onionmx.sync.state.bounded import BoundedStore
from onionmx.sync.state.record import DomainRecord, Established
from onionmx.sync.state.sqlite import SqliteStore
from onionmx.sync.state.store import Store
from onionmx.target import Trust
from tests.mapfile.maps import A

NOW = 1_800_000_000.0
ROUTE = Established(((A, 25),), Trust.UNSIGNED, NOW, NOW)


def configuration(folder: Path, memory: str = "") -> Configuration:
    return Configuration(map=MapSection(path=str(folder / "map.cdb")), lookup=LookupSection(memory=memory))


def counted(known: DomainRecord | None) -> Verdict:
    """One more sighting."""
    before = known or DomainRecord("a.example", NOW, established=ROUTE)
    return Verdict(DomainRecord(before.domain, NOW, failures=before.failures + 1, established=ROUTE))


def test_many_changes_at_once_are_few_writes_and_none_is_lost(tmp_path: Path) -> None:
    writes = []

    class Counting(BoundedStore):
        def revise(self, domains, change):  # type: ignore[no-untyped-def] # noqa: ANN001, ANN202
            writes.append(list(domains))
            super().revise(domains, change)

    async def run() -> None:
        memory = Memory(lambda: Counting(tmp_path / "live.sqlite", 1000))
        kept = await asyncio.gather(*(memory.revise("a.example", counted) for _ in range(100)))
        assert [one.record.failures for one in kept] == list(range(1, 101))
        await memory.close()

    asyncio.run(run())
    assert len(writes) < 10


def test_two_processes(tmp_path: Path) -> None:
    """Each with a connection of its own to the file."""

    async def run() -> None:
        both = [Memory(lambda: BoundedStore(tmp_path / "live.sqlite", 1000)) for _ in range(2)]
        for _ in range(10):
            await asyncio.gather(*(memory.revise("a.example", counted) for memory in both))
        for memory in both:
            await memory.close()

    asyncio.run(run())
    with_all = SqliteStore(tmp_path / "live.sqlite")
    assert with_all.get(["a.example"])["a.example"].failures == 20
    with_all.close()


def test_processes_that_make_the_file_together(tmp_path: Path) -> None:
    """As the workers of a relay do at its first start; SQLite does not wait there by itself."""
    for number in range(50):
        path, start = tmp_path / f"{number}.sqlite", Barrier(3)

        def open_it(path: Path = path, start: Barrier = start) -> None:
            start.wait()
            BoundedStore(path, 1000).close()

        with ThreadPoolExecutor(3) as threads:
            for opened in [threads.submit(open_it) for _ in range(3)]:
                opened.result()


def test_what_protects_nothing_is_not_kept(tmp_path: Path) -> None:
    async def run() -> Kept:
        memory = Memory.from_configuration(configuration(tmp_path))
        kept = await memory.revise("a.example", lambda _: Verdict(DomainRecord("a.example", NOW, reason="none")))
        await memory.close()
        return kept

    assert asyncio.run(run()).record.reason == "none"
    store = SqliteStore(tmp_path / "live.sqlite")
    assert store.get(["a.example"]) == {}
    store.close()


def test_a_damaged_record_is_the_fault_of_one_domain(tmp_path: Path) -> None:
    store = BoundedStore(tmp_path / "live.sqlite", 1000)
    store.save([DomainRecord(name, NOW, established=ROUTE) for name in ("bad.example", "good.example")])
    store._connection.execute("UPDATE domain SET detail = x'0102030405' WHERE name = 'bad.example'")  # noqa: SLF001
    store.close()

    async def run() -> list[Kept | BaseException]:
        memory = Memory.from_configuration(configuration(tmp_path))
        names = ("bad.example", "good.example")
        found = await asyncio.gather(*(memory.revise(name, counted) for name in names), return_exceptions=True)
        await memory.close()
        return found

    bad, good = asyncio.run(run())
    assert isinstance(bad, StateError)
    assert "checksum of 'bad.example' is wrong" in str(bad)
    assert isinstance(good, Kept)


def test_a_damaged_file_is_an_error_until_it_is_put_right(tmp_path: Path) -> None:
    path = tmp_path / "live.sqlite"
    path.write_bytes(b"rubbish" * 1000)

    async def run() -> None:
        memory = Memory.from_configuration(configuration(tmp_path))
        with pytest.raises(StateError, match="move it away"):
            await memory.revise("a.example", counted)
        assert path.read_bytes() == b"rubbish" * 1000, "kept for who wants to look"
        path.rename(tmp_path / "live.sqlite.damaged")
        assert (await memory.revise("a.example", counted)).is_remembered
        await memory.close()

    asyncio.run(run())


def test_whoever_stops_waiting_stops_nobody_else(tmp_path: Path) -> None:
    async def run() -> None:
        memory = Memory.from_configuration(configuration(tmp_path))
        hasty = asyncio.create_task(memory.revise("a.example", counted))
        patient = asyncio.create_task(memory.revise("a.example", counted))
        await asyncio.sleep(0)
        hasty.cancel()
        assert (await patient).record.failures == 2
        await memory.close()

    asyncio.run(run())


def test_an_unforeseen_exception_reaches_who_asked() -> None:
    def broken() -> Store:
        raise RuntimeError("here")

    async def run() -> None:
        memory = Memory(broken)
        with pytest.raises(RuntimeError, match="here"):
            await memory.revise("a.example", counted)
        await memory.close()

    asyncio.run(run())


def test_places(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings = configuration(tmp_path / "onionmx")
    assert memory_place(settings) == str(tmp_path / "onionmx/live.sqlite")
    assert memories(settings) == []
    for folder in ("onionmx-serve", "onionmx-relay"):
        (tmp_path / folder).mkdir()
        (tmp_path / folder / "live.sqlite").touch()
    assert memories(settings) == [str(tmp_path / f"onionmx-{daemon}/live.sqlite") for daemon in ("serve", "relay")]
    monkeypatch.setenv("STATE_DIRECTORY", str(tmp_path / "onionmx-serve"))
    assert memory_place(settings) == str(tmp_path / "onionmx-serve/live.sqlite")
    named = configuration(tmp_path, str(tmp_path / "named"))
    assert memory_place(named) == str(tmp_path / "named")
    assert memories(named) == []
