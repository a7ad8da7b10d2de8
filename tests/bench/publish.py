"""`onionmx publish` for thousands of domains of one zone, with Knot DNS on loopback as the primary."""

import asyncio
import time
from collections.abc import Iterator

import dns.name
import dns.tsig

from onionmx.config import DnsSection
from onionmx.publish.records import OnionMxRecords
from onionmx.publish.run import publish, verify
from onionmx.target import Target
from tests.bench.measure import Row
from tests.e2e.name_servers import TSIG_ALGORITHM, TSIG_NAME, TSIG_SECRET, NameServers, Zone
from tests.mapfile.maps import A, B

DOMAINS = 5000
MOST_UPDATES = 20
MOST_SECONDS = 30.0
ZONE = "customers.example"
KEY = dns.tsig.Key(TSIG_NAME, TSIG_SECRET, TSIG_ALGORITHM)


def measure() -> Iterator[Row]:
    """Add a record to each domain, then replace it; each time with the look at the name servers that follows."""
    with NameServers({ZONE: Zone("", signed=True)}) as servers:
        for what, onion in (("new", A), ("replaced", B)):
            yield from _measure(servers, what, Target(onion, 25, 0, 5))


def _measure(servers: NameServers, what: str, target: Target) -> Iterator[Row]:
    wanted = [OnionMxRecords(f"customer-{number}.{ZONE}", (target,), 3600) for number in range(DOMAINS)]
    start = time.perf_counter()
    published = asyncio.run(publish(wanted, servers.authority, KEY, dry_run=False))
    sent = time.perf_counter()
    if len(published.made) != DOMAINS:
        raise AssertionError(f"{len(published.made)} of {DOMAINS} were published")
    settings = DnsSection(nameservers=("{}:{}".format(*servers.resolver),))
    zones = {each.domain: dns.name.from_text(ZONE) for each in wanted}
    looked = asyncio.run(
        verify(wanted, settings, lambda _result: None, zones=zones, wait=0.0, port=servers.authority[1])
    )
    end = time.perf_counter()
    if not all(each.complete for each in looked):
        raise AssertionError("a record that was sent is not served")
    updates = published.updates
    yield Row(f"publish {DOMAINS} {what} records: updates", f"{updates}", f"{MOST_UPDATES}", updates <= MOST_UPDATES)
    figure = f"{end - start:.1f} s ({sent - start:.1f} s until sent, {end - sent:.1f} s of looking at the name servers)"
    label = f"publish {DOMAINS} {what} records, zone signed"
    yield Row(label, figure, f"under {MOST_SECONDS:g} s", end - start < MOST_SECONDS)
