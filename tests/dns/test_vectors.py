"""Each test vector of docs/onion-mx-record.md, by the ordinary resolver and by the bulk engine."""

import asyncio
from collections import Counter
from collections.abc import Awaitable, Callable
from contextlib import aclosing
from random import Random

import pytest
from msgspec import UNSET

from onionmx.answer import Answer, Found
from onionmx.config import DnsSection
from onionmx.dns.bulk import ask_many
from onionmx.dns.srv import SrvResolver
from onionmx.domain import normalize
from onionmx.errors import DomainError
from tests.dns.vectors import ALL, SHARE, Vector, in_groups, is_right, vector_server

DRAWS = 1000
"""Orders of targets, by which their shares are seen; the same ones in each run."""


def domain_of(vector: Vector) -> str | None:
    try:
        return normalize(vector.recipient)
    except DomainError:
        return None  # nobody asks; tests/serve/test_vectors.py has what comes of it


DOMAINS = {vector.id: vector for vector in ALL.vectors if domain_of(vector) is not None}
WEIGHTED = {vector.id: vector for vector in ALL.vectors if vector.route.found_by_weight is not UNSET}


async def ask_ordinary(domain: str, settings: DnsSection) -> Answer:
    return await SrvResolver(settings).ask(domain)


async def ask_bulk(domain: str, settings: DnsSection) -> Answer:
    async with aclosing(ask_many([domain], settings, SrvResolver(settings).ask)) as answers:
        (answer,) = [answer async for answer in answers]
        return answer


@pytest.mark.parametrize("ask", [ask_ordinary, ask_bulk])
@pytest.mark.parametrize("vector", DOMAINS.values(), ids=list(DOMAINS))
def test_vector(vector: Vector, ask: Callable[[str, DnsSection], Awaitable[Answer]]) -> None:
    async def whole() -> None:
        async with vector_server(vector) as (server, settings):
            answer = await ask(domain_of(vector) or "", settings)
            assert is_right(answer, vector.route), answer
            assert not server.strange

    asyncio.run(whole())


@pytest.mark.parametrize("vector", WEIGHTED.values(), ids=list(WEIGHTED))
def test_shares(vector: Vector) -> None:
    groups = vector.route.found_by_weight
    assert groups is not UNSET
    seeds = iter(range(DRAWS))

    async def whole() -> list[Answer]:
        async with vector_server(vector) as (_, settings):
            resolver = SrvResolver(settings, chance=lambda _: Random(next(seeds)))
            return [await resolver.ask(vector.recipient) for _ in range(DRAWS)]

    first: Counter[object] = Counter()
    for answer in asyncio.run(whole()):
        assert isinstance(answer, Found)
        endpoints = answer.route.endpoints
        assert in_groups(endpoints, vector.route)
        first.update(next(each for each in endpoints if each in members) for members in map(_members, groups))
    for group in groups:
        for onion, port, share in group:
            if share is not None:
                assert abs(first[onion, port] / DRAWS - share) < SHARE, (onion, port)


def _members(group: list[tuple[str, int, float | None]]) -> set[tuple[str, int]]:
    return {(onion, port) for onion, port, _ in group}
