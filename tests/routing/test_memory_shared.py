"""One memory for the syncs and the live lookups of all hosts, on a real server."""

import asyncio
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from onionmx.answer import Answer, CouldNotTell
from onionmx.config import Configuration, LookupSection, MapSection, SyncSection
from onionmx.errors import StateError
from onionmx.routing.judged import JudgedRoutes
from onionmx.routing.memory import Memory
from onionmx.sync.judge.policy import Verdict
from onionmx.sync.setup import configured_rules
from onionmx.sync.state.notes import OPEN, ROUTES, close_routes
from onionmx.sync.state.record import DomainRecord, Established
from onionmx.target import Trust
from tests.e2e.valkey import ValkeyServer
from tests.mapfile.maps import A
from tests.sync.world import found

NOW = 1_800_000_000.0
ROUTE = Established(((A, 25),), Trust.UNSIGNED, NOW, NOW, is_routed=True)


@pytest.fixture(scope="module")
def server() -> Iterator[ValkeyServer]:
    with ValkeyServer() as server:
        yield server


def configuration(folder: Path, server: ValkeyServer) -> Configuration:
    return Configuration(
        map=MapSection(path=str(folder / "map.cdb")),
        sync=SyncSection(store_password_file=str(server.password_file)),
        lookup=LookupSection(memory=str(server.address)),
    )


def test_sync_and_live_lookups_see_the_same(tmp_path: Path, server: ValkeyServer) -> None:
    server.flush()
    settings = configuration(tmp_path, server)
    with closing(server.store()) as store:
        store.set_listed(["listed.example"], NOW)
        close_routes(store)

        async def look() -> None:
            memories = [Memory.from_configuration(settings) for _ in range(3)]

            def seen(known: DomainRecord | None) -> Verdict:
                before = known or memories[0].blank("new.example", NOW)
                return Verdict(replace(before, failures=before.failures + 1, established=ROUTE))

            for domain in ("listed.example", "new.example"):
                await asyncio.gather(*(memory.revise(domain, seen) for memory in memories))
            for memory in memories:
                await memory.close()

        asyncio.run(look())
        listed, new = store.get(["listed.example", "new.example"]).values()
        assert (listed.listed, listed.failures, listed.established) == (True, 3, ROUTE)
        assert (new.listed, new.failures) == (False, 3), "no list has it, and no map"
        assert list(store.due(NOW, all_listed=True)) == ["listed.example"]
        assert store.notes()[ROUTES] == OPEN, "the next sync builds the map anew"


def test_a_server_that_is_gone_is_no_answer(tmp_path: Path, server: ValkeyServer) -> None:
    async def look() -> None:
        memory = Memory.from_configuration(configuration(tmp_path, server))
        server.stop()
        try:
            with pytest.raises(StateError, match="cannot be reached"):
                await memory.revise("a.example", lambda known: Verdict(known or DomainRecord("a.example", NOW)))
        finally:
            server.start()
        await memory.close()

    asyncio.run(look())


def test_a_password_that_is_gone_lets_mail_wait(tmp_path: Path, server: ValkeyServer) -> None:
    settings = configuration(tmp_path, server)
    password = replace(settings.sync, store_password_file=str(tmp_path / "none"))

    async def look() -> Answer:
        async def ask(domain: str) -> Answer:
            return found(domain)

        unusable = replace(settings, sync=password)
        judged = JudgedRoutes(ask, Memory.from_configuration(unusable), configured_rules(unusable), None)
        try:
            return await judged.ask("a.example")
        finally:
            await judged.close()

    answer = asyncio.run(look())
    assert isinstance(answer, CouldNotTell)
    assert "password" in answer.reason
