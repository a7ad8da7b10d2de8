"""The bulk engine against real name servers: every oddity of a zone, and a bad way to the server."""

import asyncio
import time
from collections import Counter
from collections.abc import Callable, Coroutine, Iterable, Iterator
from contextlib import aclosing
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import uvloop
from msgspec import structs

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.config import DnsSection
from onionmx.dns.bulk import ask_many
from onionmx.dns.srv import SrvResolver
from onionmx.target import Trust
from tests.dns.hostile import hostile_way
from tests.mapfile.maps import A, B, C
from tests.onions import V2_ONION

from .name_servers import NameServers, Zone

PREFIX = "_onion-mx._tcp"
MANY = 40  # SRV records of one name: more than a UDP answer holds
ODD = {
    "plain": f"{PREFIX}.plain SRV 0 5 25 {A}.",
    "two": f"{PREFIX}.two SRV 20 0 25 {B}.\n{PREFIX}.two SRV 10 0 2525 {A}.",
    "weighted": "\n".join(f"{PREFIX}.weighted SRV 5 {weight} 25 {onion}." for weight, onion in enumerate((A, B, C))),
    "many": "\n".join(f"{PREFIX}.many SRV {number} 0 {number + 1} {A}." for number in range(MANY)),
    "off": f"{PREFIX}.off SRV 0 0 0 .",
    "mixed": f"{PREFIX}.mixed SRV 0 0 25 mail\n{PREFIX}.mixed SRV 5 0 25 {V2_ONION}.\n{PREFIX}.mixed SRV 9 0 25 {C}.",
    "clear": f"{PREFIX}.clear SRV 0 0 25 mail",
    "short": f"{PREFIX}.short 7 SRV 0 0 25 {A}.",
    "alias": f"{PREFIX}.alias CNAME {PREFIX}.plain",
    "far": f"{PREFIX}.far CNAME {PREFIX}.plain.unsigned.test.",
    "chain": f"{PREFIX}.chain CNAME c1\nc1 CNAME c2\nc2 CNAME {PREFIX}.two",
    "tree": f"tree DNAME sub\n{PREFIX}.sub SRV 0 0 25 {B}.",
    "dangling": f"{PREFIX}.dangling CNAME nowhere",
    "outside": f"{PREFIX}.outside CNAME nowhere.unsigned.test.",
    "loop": f"{PREFIX}.loop CNAME loop\nloop CNAME {PREFIX}.loop",
    "other": f'{PREFIX}.other TXT "no SRV"',
    "inside": f"x.{PREFIX}.inside A 127.0.0.1",
    "wild": f"*.wild SRV 0 0 25 {B}.",
    "mail": "mail A 127.0.0.1",
    "none": "",
}
ZONES = {"signed.test": True, "unsigned.test": False}
NAMES = 5_000
COUNTED_DOWN = 120
"""Seconds in which the same question is asked three times."""
ONE_IN = 10
"""Has a record."""


@pytest.fixture(scope="module")
def servers() -> Iterator[NameServers]:
    odd = "\n".join(ODD.values())
    plenty = "\n".join(f"{PREFIX}.d{number} SRV 0 5 25 {A}." for number in range(0, NAMES, ONE_IN))
    zones = {name: Zone(odd, signed=signed) for name, signed in ZONES.items()}
    zones["bogus.test"] = Zone(f"{PREFIX} SRV 0 5 25 {A}.", bogus=True)
    zones["plenty.test"] = Zone(plenty)
    with NameServers(zones) as servers:
        yield servers


def ask_all(domains: Iterable[str], settings: DnsSection) -> list[Answer]:
    async def whole() -> list[Answer]:
        async with asyncio.timeout(300), aclosing(ask_many(domains, settings, SrvResolver(settings).ask)) as answers:
            return [answer async for answer in answers]

    return asyncio.run(whole())


def ask_ordinarily(domains: Iterable[str], settings: DnsSection) -> list[Answer]:
    async def whole() -> list[Answer]:
        resolver = SrvResolver(settings)
        return [await resolver.ask(domain) for domain in domains]

    return asyncio.run(whole())


@pytest.mark.parametrize("who", ["authority", "resolver"])
def test_same_answers_as_the_ordinary_resolver(servers: NameServers, who: str) -> None:
    """An authority, which follows no alias to elsewhere and does not validate, and a resolver, which does."""
    host, port = getattr(servers, who)
    settings = DnsSection(nameservers=(f"{host}:{port}",), timeout=30.0, retries=0)
    domains = [f"{name}.{zone}" for zone in ZONES for name in ODD]
    domains += [*ZONES, "bogus.test", "x.bogus.test", "elsewhere.example", "x.wild.signed.test", "a.b.c.signed.test"]
    servers.flush("test")
    bulk = ask_all(domains, settings)
    expected = dict(map(without_ttl, ask_ordinarily(domains, settings)))
    again = ask_all(domains, settings)  # now that the resolver knows all
    for answers in (bulk, again):
        assert len(answers) == len(domains)
        for stripped, ttl in map(without_ttl, answers):
            assert stripped in expected
            # The resolver counts down.
            assert abs(ttl - expected[stripped]) <= (COUNTED_DOWN if who == "resolver" else 0)
    kinds = Counter(map(type, bulk))
    assert kinds[Found] >= 14
    assert kinds[CouldNotTell] >= 3


def without_ttl(answer: Answer) -> tuple[Answer, int]:
    if isinstance(answer, Found):
        return structs.replace(answer, route=replace(answer.route, ttl=0)), answer.route.ttl or 0
    if isinstance(answer, NoRoute):
        return structs.replace(answer, ttl=0), answer.ttl or 0
    return answer, 0


@pytest.mark.parametrize(("loop", "run"), [("asyncio", asyncio.run), ("uvloop", uvloop.run)], ids=["asyncio", "uvloop"])
def test_replies_that_wait_for_a_busy_caller_are_in_time(
    servers: NameServers, loop: str, run: Callable[[Coroutine[Any, Any, int]], int]
) -> None:
    first_attempt, busy = 4.0, 6.0
    settings = DnsSection(nameservers=("{}:{}".format(*servers.resolver),), timeout=15 * first_attempt)
    domains = [f"busy{number}.{loop}.unsigned.test" for number in range(500)]

    async def whole() -> int:
        count = 0
        async with aclosing(ask_many(domains, settings, SrvResolver(settings).ask)) as answers:
            async for answer in answers:
                if not count:
                    time.sleep(busy)  # noqa: ASYNC251 -- as a caller does that writes to a slow disk
                count += isinstance(answer, NoRoute)
        return count

    assert run(whole()) == len(domains)
    asked = Counter(query.name for query in servers.queries() if f".{loop}." in query.name)
    assert len(asked) == len(domains)
    assert set(asked.values()) == {1}


def test_bad_way_to_the_server(servers: NameServers, tmp_path: Path) -> None:
    with hostile_way(servers.authority[1], tmp_path, seed=4) as port:
        settings = DnsSection(nameservers=(f"127.0.0.1:{port}",), timeout=6.0, retries=2, retry_delay=0.1)
        answers = ask_all((f"d{number}.plenty.test" for number in range(NAMES)), settings)
    kinds = Counter(map(verdict, answers))
    assert kinds["wrong"] == 0
    assert kinds["found"] + kinds["nothing"] + kinds["unknown"] == NAMES
    assert kinds["unknown"] < NAMES / 100


def verdict(answer: Answer) -> str:
    """What an answer for a name in the large zone is worth."""
    if isinstance(answer, CouldNotTell):
        return "unknown"
    domain = answer.route.domain if isinstance(answer, Found) else answer.domain
    exists = int(domain.partition(".")[0][1:]) % ONE_IN == 0
    if isinstance(answer, NoRoute):
        return "wrong" if exists or answer.ttl != 300 or answer.trust is not Trust.UNSIGNED else "nothing"
    is_right = exists and answer.route.endpoints == ((A, 25),) and answer.route.trust is Trust.UNSIGNED
    return "found" if is_right else "wrong"
