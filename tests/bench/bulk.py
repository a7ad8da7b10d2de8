"""A cold run over many domains: the bulk engine beside dnsperf and dnspython's asyncio resolver, in turn.

All ask the same authoritative server, which has the last core for itself; the client has the first. One domain in
a hundred has a record, for which the engine asks once more, by the ordinary resolver. The whole run of `onionmx sync`
takes in the list, asks, decides, and writes the state and the map.
"""

import os
import re
import subprocess
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from onionmx.domain import SRV_PREFIX
from tests.bench import bulk_bare
from tests.bench.bulk_load import DOMAIN, DOMAINS, ONE_IN, TASKS, run
from tests.bench.bulk_sync import SyncHost, SyncRun
from tests.bench.lookup_candidates import cores
from tests.bench.measure import Row, version_of
from tests.bench.relay_control import LOOPBACK
from tests.dns.hostile import hostile_way
from tests.e2e.name_servers import NameServers, Zone
from tests.e2e.programs import find_program
from tests.mapfile.maps import A

ROUNDS = 3
PEER_DOMAINS = 5_000
"""For dnspython, which would take minutes for all."""
HOSTILE = 1_000_000
"""Answers over a way on which 5 % are lost, doubled, late, and forged before the true reply, each."""

SHARE_OF_DNSPERF = 0.35
TIMES_DNSPYTHON = 20.0


def measure() -> Iterator[Row]:
    """Measure the rates, and the memory of the engine."""
    asking, serving = cores()
    yield Row(
        f"{DOMAINS} domains, asking on core {asking}, served on core {serving}", f"load before {os.getloadavg()[0]:.1f}"
    )
    with TemporaryDirectory(prefix="onionmx-bench-") as name, _authority(Path(name), serving) as port:
        questions = Path(name, "questions")
        questions.write_text("".join(f"{SRV_PREFIX}{DOMAIN.format(number)} SRV\n" for number in range(DOMAINS)))
        rates: dict[str, list[float]] = {who: [] for who in ("dnsperf", "dnspython", "bare", "engine", "sync")}
        memory = {"engine": 0, "sync": 0}
        for number in range(ROUNDS):
            rates["dnsperf"].append(_dnsperf(port, questions, asking))
            peer = run("dnspython", port, PEER_DOMAINS, asking)
            rates["dnspython"].append(PEER_DOMAINS / peer.seconds)
            rates["bare"].append(bulk_bare.run(port, DOMAINS, asking))
            ours = run("engine", port, DOMAINS, asking)
            if (ours.found, ours.unknown) != (DOMAINS // ONE_IN, 0):
                raise AssertionError(f"wrong answers: {ours}")
            rates["engine"].append(DOMAINS / ours.seconds)
            memory["engine"] = max(memory["engine"], ours.memory)
            whole = _cold_sync(Path(name, f"sync{number}"), port, asking)
            rates["sync"].append(DOMAINS / whole.seconds)
            memory["sync"] = max(memory["sync"], whole.memory)
        with hostile_way(port, Path(name), seed=1, core=serving) as hostile_port:
            hostile = run("hostile", hostile_port, HOSTILE, asking)
    yield from _rows({who: median(values) for who, values in rates.items()}, memory)
    told = f"{hostile.found} found, {hostile.nothing} none, {hostile.unknown} could not tell, {hostile.wrong} wrong"
    yield Row(
        f"{HOSTILE} answers over a hostile way, {HOSTILE / hostile.seconds:.0f} /s",
        told,
        "none wrong",
        not hostile.wrong and hostile.found + hostile.nothing + hostile.unknown == HOSTILE,
    )


def _rows(rates: Mapping[str, float], memory: Mapping[str, int]) -> Iterator[Row]:
    server = version_of([str(find_program("knotd")), "--version"])
    yield Row(f"cold run against {server}: dnsperf", f"{rates['dnsperf']:.0f} /s")
    yield Row(
        f"the same: dnspython's asyncresolver, {TASKS} tasks, {PEER_DOMAINS} domains", f"{rates['dnspython']:.0f} /s"
    )
    yield Row("the same: send and receive in Python, and nothing else", f"{rates['bare']:.0f} /s")
    for who, what in ("engine", "bulk engine"), ("sync", "onionmx sync, list, state and map included"):
        yield Row(f"the same: {what}", f"{rates[who]:.0f} /s, {memory[who] / 1e6:.0f} MB")
        yield _at_least("  by dnsperf", rates[who] / rates["dnsperf"], SHARE_OF_DNSPERF)
        yield _at_least("  by asyncresolver", rates[who] / rates["dnspython"], TIMES_DNSPYTHON)


def _cold_sync(folder: Path, port: int, core: int) -> SyncRun:
    folder.mkdir()
    whole = SyncHost(folder, port, map(DOMAIN.format, range(DOMAINS))).run(core)
    if (whole.asked, whole.entries) != (DOMAINS, DOMAINS // ONE_IN):
        raise AssertionError(f"wrong answers: {whole}")
    return whole


@contextmanager
def _authority(folder: Path, core: int) -> Iterator[int]:
    first, _, zone = DOMAIN.partition(".")
    lines = []
    for number in range(DOMAINS):
        label = first.format(number)
        lines.append(f"{label} MX 10 mail")
        if number % ONE_IN == 0:
            lines.append(f"{SRV_PREFIX}{label} SRV 0 5 25 {A}.")
    with NameServers({zone: Zone("\n".join(lines))}, folder) as servers:
        servers.stop_resolver()
        for task in Path("/proc", str(servers.knot.pid), "task").iterdir():
            os.sched_setaffinity(int(task.name), {core})
        yield servers.authority[1]


def _dnsperf(port: int, questions: Path, core: int) -> float:
    """Questions a second, each asked once, with EDNS as ours."""
    command: list[str | Path] = ["taskset", "--cpu-list", str(core), find_program("dnsperf"), "-e", "-n", "1"]
    command += ["-s", LOOPBACK, "-p", str(port), "-d", questions]
    output = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    rate, completed = (
        re.search(rf"{words}:\s+([0-9.]+)", output) for words in ("Queries per second", "Queries completed")
    )
    if rate is None or completed is None or int(completed[1]) < DOMAINS:
        raise AssertionError(f"dnsperf: {output}")
    return float(rate[1])


def _at_least(what: str, ratio: float, limit: float) -> Row:
    return Row(what, f"{ratio:.2f} x", f"at least {limit:g} x", ratio >= limit)
