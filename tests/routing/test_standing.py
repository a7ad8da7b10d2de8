"""Answers that are given again without asking: for as long as they hold, and not a moment longer."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from onionmx.answer import Answer
from onionmx.config import LocalSection, LookupSection, ServeSection
from onionmx.routing.files import RouteFiles
from onionmx.routing.live import LiveRoutes
from onionmx.routing.router import Router
from onionmx.routing.troubles import Troubles
from onionmx.serve.answers import Routes, TableAnswers
from onionmx.serve.keys import REMEMBERED
from onionmx.serve.metrics import Tally
from onionmx.serve.protocols.result import ResultTemplate
from onionmx.serve.protocols.tcp_table import TCP_TABLE
from tests.mapfile.maps import A, B, make_map
from tests.onions import V3_ONION
from tests.routing.scripted_dns import ScriptedDns, found, none, unknown

DOMAIN = "example.org"
ROUTED = b"200 " + ServeSection().result.encode() + b"\n"
NOTHING = b"500 no%20such%20name%20in%20DNS\n"


class Site:
    """The answers of one protocol. Files are looked at when a test says so."""

    def __init__(self, folder: Path) -> None:
        self.pins, self.map = folder / "pins", folder / "map.cdb"
        self.dns = ScriptedDns()
        self.router = self.make_router()
        self.tally = Tally("tcp_table")
        self.routes = Routes(self.router, ResultTemplate(ServeSection().result), 5.0, ("127.0.0.1", 53))
        self.answers = TableAnswers(TCP_TABLE, self.routes, self.tally, Troubles())

    def make_router(self) -> Router:
        files = RouteFiles(
            LocalSection(domains=("own.example",)), self.pins, self.map, map_may_be_missing=True, look_interval=3600
        )
        return Router(files, LiveRoutes(self.dns.ask, LookupSection()))

    async def learn(self, answer: Answer, domain: str = DOMAIN) -> None:
        """Have DNS say this, and the cache keep it."""
        self.dns.answers[domain] = answer
        await self.router.ask(domain)

    def ask(self, domain: str = DOMAIN) -> bytes | None:
        """What a client is told at once."""
        return self.answers.at_once(f"user@{domain}".encode(), time.monotonic())

    def again(self, domain: str = DOMAIN, later: float = 0) -> bytes | None:
        """What a client is told in so many seconds without anything being asked."""
        return self.answers.again(domain.encode(), time.monotonic() + later)


def run(folder: Path, test: Callable[[Site], Awaitable[None]]) -> None:
    async def whole() -> None:
        site = Site(folder)
        try:
            await test(site)
        finally:
            await site.router.close()

    asyncio.run(whole())


@pytest.mark.parametrize(("answer", "reply"), [(found(DOMAIN), ROUTED), (none(DOMAIN), NOTHING)])
def test_an_answer_of_dns_stands_until_its_time_is_over(tmp_path: Path, answer: Answer, reply: bytes) -> None:
    async def test(site: Site) -> None:
        await site.learn(answer)
        assert site.again() is None
        assert site.ask() == site.again() == site.again(later=50) == reply
        assert site.again(later=100) is None
        assert site.tally.found + site.tally.none == site.router.stats().hits == 3

    run(tmp_path, test)


def test_an_answer_of_the_map_stands_until_the_files_are_looked_at(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        make_map(site.map, {DOMAIN: ((A, 25),)})
        assert site.ask() == site.again() == site.again(later=1800) == ROUTED
        assert site.again(later=3600) is None

    run(tmp_path, test)


def test_a_look_at_files_that_are_what_they_were_takes_nothing_back(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.learn(found(DOMAIN))
        site.ask()
        site.router.check()
        assert site.again() == ROUTED

    run(tmp_path, test)


def test_a_file_that_changes_takes_everything_back(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.learn(none(DOMAIN))
        assert site.ask() == site.again() == NOTHING
        make_map(site.map, {DOMAIN: ((B, 25),)})
        site.router.check()
        assert site.again() is None, "DNS said so, and the map comes before it"
        assert site.ask() == ROUTED

    run(tmp_path, test)


def test_what_the_cache_forgets_or_replaces_does_not_stand(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.learn(found(DOMAIN))
        site.ask()
        site.router.purge(DOMAIN)
        assert site.again() is None
        await site.learn(found(DOMAIN))
        assert site.ask() == ROUTED

    run(tmp_path, test)


def test_another_configuration_takes_everything_back(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        await site.learn(found(DOMAIN))
        site.ask()
        site.router.retract()
        assert site.again() is None
        await site.router.close()
        site.routes.router = site.router = site.make_router()
        assert site.again() is None

    run(tmp_path, test)


def test_what_could_not_be_told_does_not_stand(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        site.map.write_bytes(b"not a map")
        reply = site.ask()
        assert reply
        assert reply.startswith(b"400 ")
        assert site.again() is None

    run(tmp_path, test)


def test_a_stale_route_does_not_stand(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        clock = 0.0
        live = LiveRoutes(site.dns.ask, LookupSection(), lambda: clock, patience=0)
        site.routes.router = Router(RouteFiles(LocalSection(), None, None), live)
        site.dns.answers[DOMAIN] = found(DOMAIN)
        await live.route(DOMAIN)
        clock = 150.0
        site.dns.answers[DOMAIN] = unknown(DOMAIN)
        await live.route(DOMAIN)
        assert live.stats().failures == 1
        assert site.ask() == ROUTED
        assert site.again() is None
        await live.close()

    run(tmp_path, test)


def test_names_of_tor_and_junk_do_not_stand(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        impossible = f"x{V3_ONION}"
        for name in (impossible, "*", "", "own.example" + "." * 300):
            assert site.ask(name)
            assert site.again(name) is None
        assert site.answers.again(None, 0.0) is None

    run(tmp_path, test)


def test_many_domains_do_not_fill_the_memory(tmp_path: Path) -> None:
    async def test(site: Site) -> None:
        site.routes.router = Router(RouteFiles(LocalSection(), None, None), None)
        for number in range(REMEMBERED + 10):
            site.ask(f"junk{number}.example")
        assert len(site.answers._given) <= REMEMBERED  # noqa: SLF001 -- memory that nothing else shows
        assert site.again(f"junk{REMEMBERED + 9}.example")

    run(tmp_path, test)
