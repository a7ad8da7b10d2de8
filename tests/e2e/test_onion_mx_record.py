"""The test vectors of docs/onion-mx-record.md that have zone lines, served by Knot DNS behind a validating Unbound."""

import asyncio
from collections.abc import Iterator
from contextlib import aclosing

import dns.flags
import dns.message
import dns.query
import dns.rcode
import dns.rrset
import msgspec
import pytest
from msgspec import UNSET

from onionmx.answer import Answer, Found
from onionmx.config import DnsSection
from onionmx.dns.bulk import ask_many
from onionmx.dns.srv import SrvResolver
from onionmx.domain import normalize
from tests.dns.scripted import record
from tests.dns.vectors import ALL, AMPLE, Records, Vector, is_right

from .name_servers import QUERY_TIMEOUT, NameServers, Zone

ZONED = {normalize(vector.recipient): vector for vector in ALL.vectors if vector.zone is not UNSET}


@pytest.fixture(scope="module")
def servers() -> Iterator[NameServers]:
    lines = sorted({line for vector in ZONED.values() for line in vector.zone or ()})
    zones = {}
    for name, kind in ALL.zones.items():
        records = "\n".join(line for line in lines if line.split()[0].endswith(f"{name}."))
        zones[name] = Zone(records, signed=kind == "signed", bogus=kind == "bogus")
    assert sum(len(zone.records.splitlines()) for zone in zones.values()) == len(lines)
    with NameServers(zones) as running:
        yield running


def without_ttl(rrset: dns.rrset.RRset) -> set[tuple[str, str]]:
    return {(rrset.name.to_text().lower(), rdata.to_text().lower()) for rdata in rrset}


def test_a_real_resolver_says_what_the_vectors_have(servers: NameServers) -> None:
    for vector in ZONED.values():
        (question,) = vector.dns
        query = dns.message.make_query(question.name, "SRV", flags=dns.flags.RD | dns.flags.AD)
        host, port = servers.resolver
        real, _ = dns.query.udp_with_fallback(query, host, QUERY_TIMEOUT, port=port)
        if vector.route.could_not_tell is not UNSET:
            assert real.rcode() == dns.rcode.SERVFAIL, vector.id
            continue
        said = msgspec.convert(question.response, Records)
        assert dns.rcode.to_text(real.rcode()) == said.rcode, vector.id
        assert bool(real.flags & dns.flags.AD) == ("AD" in said.flags), vector.id
        expected = set().union(*map(without_ttl, map(record, said.answer)))
        assert set().union(*map(without_ttl, real.answer)) == expected, vector.id


def test_routes(servers: NameServers) -> None:
    settings = DnsSection(nameservers=("{}:{}".format(*servers.resolver),), timeout=AMPLE, retries=0)

    async def whole() -> tuple[list[Answer], list[Answer]]:
        ordinary = SrvResolver(settings)
        async with aclosing(ask_many(ZONED, settings, ordinary.ask)) as answers:
            bulk = [answer async for answer in answers]
        return bulk, [await ordinary.ask(domain) for domain in ZONED]

    for answers in asyncio.run(whole()):
        assert len(answers) == len(ZONED)
        for answer in answers:
            assert_right(answer)
    assert {query.type for query in servers.queries()} == {"SRV"}
    assert not [query for query in servers.queries() if query.name.endswith("onion")]


def assert_right(answer: Answer) -> None:
    """The cache of the resolver counts TTLs down; tests/dns/test_vectors.py compares them."""
    vector: Vector = ZONED[answer.route.domain if isinstance(answer, Found) else answer.domain]
    assert is_right(answer, msgspec.structs.replace(vector.route, ttl=UNSET)), (vector.id, answer)
