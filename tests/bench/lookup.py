"""The lookup daemon beside onionrouter, and beside a server that does nothing: one generator, one core each, in turn.

Each connection waits for its answer before it asks again, as Postfix does. Domain 0 to 99 are in the map and in
onionrouter's list; all of them are in the zone of a name server, which shares the core of the generator.

With one connection, generator and server work in turn. On cores of their own each lookup would wait twice until the
machine has woken the other core, which takes longer than the lookup; so they share one.

A core of a virtual machine may be half as fast as it was a second ago. So known answers are asked for in many short
bursts, all servers in turn, and a ratio is the median of the ratios within each round.
"""

import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.lookup_candidates import MAPPED, Server, cores, echo, onionmx, onionrouter
from tests.bench.lookup_load import DOMAIN, Load, run
from tests.bench.measure import Row, version_of
from tests.e2e.name_servers import NameServers, Zone
from tests.e2e.programs import find_program
from tests.mapfile.maps import A

ROUNDS = 3
"""Of live lookups."""
BURSTS = 15
"""Rounds of lookups of what is known."""
COLD = 10_000
"""Domains that are asked for the first time in one round, and are in the cache when memory is looked at."""
COLD_PEER = 1_500
COLD_CONNECTIONS = 50
COUNTS = {1: 6_000, 200: 20_000}
"""Lookups of a burst, by connections: a tenth to a third of a second."""
PEER_COUNTS = {1: 3_000, 200: 5_000}

TIMES_STATIC = 2.0
SHARE_OF_ECHO = 0.6
TIMES_LIVE = 10.0
MEMORY = 60_000_000


@dataclass
class Run:
    """What one server is asked, again in each round.

    Attributes:
        server: that is asked.
        what: for the table.
        load: what is asked.
        core: of the generator.
        rates: lookups a second of each round.
        costs: microseconds of its core for a lookup, of each round.
    """

    server: Server
    what: str
    load: Load
    core: int
    rates: list[float] = field(default_factory=list)
    costs: list[float] = field(default_factory=list)

    def again(self) -> None:
        """Make the lookups once more."""
        before = self.server.seconds_on_core
        self.rates.append(run(self.load, self.core))
        # The answers to the first lookup of each connection are in it.
        asked = self.load.count + self.load.connections
        self.costs.append((self.server.seconds_on_core - before) / asked * 1e6)

    @property
    def rate(self) -> float:
        """Lookups a second."""
        return median(self.rates)

    @property
    def cost(self) -> float:
        """Microseconds on its core for a lookup."""
        return median(self.costs)

    def times(self, other: "Run") -> float:
        """How many times as fast it is as another one."""
        return median(rate / of_other for rate, of_other in zip(self.rates, other.rates, strict=True))


def measure() -> Iterator[Row]:
    """Measure live lookups, memory, and answers from map and cache."""
    generator, server = cores()
    yield Row(f"generator on core {generator}, server on core {server}", f"load before {os.getloadavg()[0]:.1f}")
    records = "\n".join(
        f"_onion-mx._tcp.{DOMAIN.format(number).partition('.')[0]} 3600 SRV 0 5 25 {A}."
        for number in range(MAPPED + ROUNDS * COLD)
    )
    zone = DOMAIN.partition(".")[2]
    with TemporaryDirectory(prefix="onionmx-bench-") as name, ExitStack() as running:
        folder = Path(name)
        dns = running.enter_context(NameServers({zone: Zone(records)}, folder))
        dns.stop_resolver()
        for task in Path("/proc", str(dns.knot.pid), "task").iterdir():
            os.sched_setaffinity(int(task.name), {generator})
        peer = running.enter_context(onionrouter(folder, dns.authority))
        ours = running.enter_context(onionmx(folder, dns.authority))
        limit = running.enter_context(echo(folder))
        yield from _live(peer, ours)
        yield from _known(1, server, peer, ours, limit)
        yield from _known(200, generator, peer, ours, limit)


def _live(peer: Server, ours: Mapping[str, Server]) -> Iterator[Row]:
    """Ask for domains that are in DNS alone, each once; and weigh the cache of the first round."""
    version = version_of([str(find_program("knotd")), "--version"])
    what = f"live SRV, cold cache, {COLD_CONNECTIONS} connections, {version}"
    rates: dict[Server, list[float]] = {peer: [], ours["socketmap"]: []}
    for turn in range(ROUNDS):
        for server, values in rates.items():
            count = COLD_PEER if server is peer else COLD
            load = _load(server, COLD_CONNECTIONS, count, MAPPED + turn * COLD, count)
            values.append(run(load, cores()[0]))
        if not turn:
            memory = ours["socketmap"].memory
    for server, values in rates.items():
        yield Row(f"{what}: {server.name}", f"{median(values):.0f} /s")
    theirs, our = map(median, rates.values())
    yield _at_least(f"{what}: onionmx serve / {peer.name}", our / theirs, TIMES_LIVE)
    yield Row(
        f"{COLD} cached domains: resident memory",
        f"{memory / 1e6:.1f} MB",
        f"below {MEMORY / 1e6:g} MB",
        memory < MEMORY,
    )


def _known(
    connections: int, core: int, peer: Server, ours: Mapping[str, Server], limit: Mapping[str, Server]
) -> Iterator[Row]:
    """Ask from that core for what needs no question to DNS."""
    what = f"{connections} connection{'s' if connections > 1 else ''}"

    def asking(server: Server, name: str, first: int, domains: int) -> Run:
        count = (PEER_COUNTS if server is peer else COUNTS)[connections]
        return Run(server, name, _load(server, connections, count, first, domains), core)

    static = asking(peer, "list", 0, MAPPED)
    limits = {name: asking(server, name, 0, MAPPED) for name, server in limit.items()}
    mapped = {name: asking(server, "map", 0, MAPPED) for name, server in ours.items()}
    cached = {name: asking(server, "cache", MAPPED, COLD) for name, server in ours.items()}
    runs = [static, *limits.values(), *mapped.values(), *cached.values()]
    # Each domain once, so that all of them are in all memories.
    for server in ours.values():
        run(_load(server, connections, MAPPED + COLD, 0, MAPPED + COLD), core)
    for _ in range(BURSTS):
        for one in runs:
            one.again()
    for one in runs:
        cost = "" if one is static else f", {one.cost:.1f} us of its core each"  # the peer has a process a connection
        yield Row(f"{what}, {one.server.name}, {one.what}", f"{one.rate:.0f} /s{cost}")
    for source in (mapped, cached):
        name = next(iter(source.values())).what
        slowest = min(one.times(static) for one in source.values())
        yield _at_least(f"{what}, onionmx serve, {name} / {peer.name}, list", slowest, TIMES_STATIC)
        for protocol, one in source.items():
            share = one.times(limits[protocol])
            yield _at_least(f"{what}, onionmx serve, {name} / echo server, {protocol}", share, SHARE_OF_ECHO)


def _load(server: Server, connections: int, count: int, first: int, domains: int) -> Load:
    return Load(server.port, server.protocol, connections, count, first, domains, server.expected)


def _at_least(what: str, ratio: float, limit: float) -> Row:
    return Row(what, f"{ratio:.2f} x", f"at least {limit:g} x", ratio >= limit)
