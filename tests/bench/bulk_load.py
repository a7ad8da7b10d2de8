"""Asking one server for many domains, with the bulk engine or with dnspython's asyncio resolver.

It runs as a process on a core of its own, and prints what it saw as JSON.
"""

import asyncio
import json
import subprocess
import sys
import time
from collections import Counter
from collections.abc import Iterator
from contextlib import aclosing
from dataclasses import dataclass

import dns.asyncresolver
import dns.resolver
import uvloop

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.config import DnsSection
from onionmx.dns.bulk import ask_many
from onionmx.dns.srv import SrvResolver
from onionmx.domain import SRV_PREFIX
from tests.bench.bulk_sync import most_memory
from tests.bench.relay_control import LOOPBACK
from tests.e2e.programs import PROJECT
from tests.mapfile.maps import A

DOMAIN = "d{}.bench.test"
DOMAINS = 200_000
ONE_IN = 100
"""Has a record."""
TASKS = 200
"""Of dnspython's resolver, at the same time."""
_SHORT = 3.0
"""Seconds for a question where much is lost on a way of no length."""


@dataclass(frozen=True)
class Result:
    """What was seen.

    Attributes:
        seconds: for all domains.
        found: domains with a record.
        nothing: domains without.
        unknown: domains for which it could not be told.
        wrong: answers that are not true; looked for only on the hostile way.
        memory: largest resident memory of the process, in bytes.
    """

    seconds: float
    found: int
    nothing: int
    unknown: int
    memory: int
    wrong: int = 0


def run(who: str, port: int, count: int, core: int) -> Result:
    """Ask so many times, for the domains in turn, in a process of its own.

    Args:
        who: `engine`, `hostile` for the engine with a check of each answer, or `dnspython`.
        port: of the server.
        count: of questions.
        core: for the process.
    """
    command = ["taskset", "--cpu-list", str(core), sys.executable, "-m", "tests.bench.bulk_load"]
    output = subprocess.run(
        [*command, who, str(port), str(count)], stdout=subprocess.PIPE, check=True, cwd=PROJECT
    ).stdout
    return Result(**json.loads(output))


async def _engine(port: int, domains: Iterator[str]) -> Counter[str]:
    settings = DnsSection(nameservers=(f"{LOOPBACK}:{port}",))
    kinds: Counter[type] = Counter()
    async with aclosing(ask_many(domains, settings, SrvResolver(settings).ask)) as answers:
        async for answer in answers:
            kinds[type(answer)] += 1
    return Counter(found=kinds.pop(Found, 0), nothing=kinds.pop(NoRoute, 0), unknown=kinds.total())


async def _hostile(port: int, domains: Iterator[str]) -> Counter[str]:
    settings = DnsSection(nameservers=(f"{LOOPBACK}:{port}",), timeout=_SHORT, retry_delay=0.1)
    kinds: Counter[str] = Counter()
    async with aclosing(ask_many(domains, settings, SrvResolver(settings).ask)) as answers:
        async for answer in answers:
            kinds[_verdict(answer)] += 1
    return kinds


def _verdict(answer: Answer) -> str:
    if isinstance(answer, CouldNotTell):
        return "unknown"
    domain = answer.route.domain if isinstance(answer, Found) else answer.domain
    exists = int(domain.partition(".")[0][1:]) % ONE_IN == 0
    if isinstance(answer, NoRoute):
        return "wrong" if exists else "nothing"
    return "found" if exists and answer.route.endpoints == ((A, 25),) else "wrong"


async def _dnspython(port: int, domains: Iterator[str]) -> Counter[str]:
    resolver = dns.asyncresolver.Resolver(configure=False)
    resolver.nameservers, resolver.port = [LOOPBACK], port
    counts: Counter[str] = Counter()

    async def work() -> None:
        for domain in domains:
            try:
                await resolver.resolve(f"{SRV_PREFIX}{domain}.", "SRV", search=False)
                counts["found"] += 1
            except (dns.resolver.NXDOMAIN, dns.resolver.NoAnswer):
                counts["nothing"] += 1
            except (dns.resolver.LifetimeTimeout, dns.resolver.NoNameservers):
                counts["unknown"] += 1

    async with asyncio.TaskGroup() as workers:
        for _ in range(TASKS):
            workers.create_task(work())
    return counts


def _main(who: str, port: int, count: int) -> None:
    ask = {"engine": _engine, "hostile": _hostile, "dnspython": _dnspython}[who]
    begin = time.perf_counter()
    counts = uvloop.run(ask(port, (DOMAIN.format(number % DOMAINS) for number in range(count))))
    seconds = time.perf_counter() - begin
    print(json.dumps({"seconds": seconds, "found": 0, "nothing": 0, "unknown": 0, "memory": most_memory()} | counts))


if __name__ == "__main__":
    _main(sys.argv[1], int(sys.argv[2]), int(sys.argv[3]))
