"""A relay of the Tor network is stopped while sessions go through it: how long the next delivery takes."""

import smtplib
import time
from collections import Counter
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.measure import Row
from tests.bench.relay_candidates import relay
from tests.bench.relay_control import LOOPBACK
from tests.bench.relay_stage import SENDER, message
from tests.bench.tor.scene import TorStage, tor_stage
from tests.e2e.tor_node import TorNode

RELAYS = 14
"""With fewer, one of them is in nearly every circuit, and a service loses all its introduction points with it."""
ONIONS = 20
WHICH = ("the guard of the sending tor", "another relay")
LIMIT = 30.0
"""Seconds for 95 of 100."""
RETRY = 1.0
"""Seconds until the MTA tries again what was deferred."""


def measure() -> Iterator[Row]:
    """Stop one relay of a new network each time, with a session open to each onion, and deliver to all of them."""
    for which in WHICH:
        with TemporaryDirectory(prefix="onionmx-bench-") as name:
            folder = Path(name)
            with tor_stage(folder / "tor", 0.0, ONIONS, relays=RELAYS) as scene:
                onions = {f"{number}.example": onion for number, onion in enumerate(scene.onions)}
                with relay(folder / "relay", scene, onions) as ours:
                    deliver = partial(_deliver, ours.smtp.port)
                    _all(deliver, [*onions])
                    _chosen(scene, is_guard=which == WHICH[0]).stop()
                    found = _all(deliver, [*onions])
        yield from _rows(f"{which} stopped: the next delivery to each of {ONIONS} onions", found)


def _rows(what: str, found: Sequence[tuple[float, int]]) -> Iterator[Row]:
    times = sorted(seconds for seconds, _ in found)
    slow = times[int(len(times) * 0.95) - 1]
    yield Row(f"{what}, median", f"{times[len(times) // 2]:.2f} s")
    yield Row(f"{what}, 95th percentile", f"{slow:.2f} s", f"below {LIMIT:g} s", slow < LIMIT)
    yield Row(f"{what}: at the first try of the MTA", f"{sum(tries == 1 for _, tries in found)}")


def _all(deliver: "partial[tuple[float, int]]", domains: Sequence[str]) -> list[tuple[float, int]]:
    with ThreadPoolExecutor(len(domains)) as pool:
        return list(pool.map(deliver, domains))


def _deliver(port: int, domain: str) -> tuple[float, int]:
    """Deliver a message as an MTA does, again and again; seconds and tries that it took."""
    start, tries = time.monotonic(), 0
    while True:
        tries += 1
        try:
            with smtplib.SMTP(LOOPBACK, port, "generator.example") as session:
                session.sendmail(SENDER, f"user@{domain}", message())
        except smtplib.SMTPException:
            time.sleep(RETRY)
        else:
            return time.monotonic() - start, tries


def _chosen(scene: TorStage, *, is_guard: bool) -> TorNode:
    """The guard of the circuits to the services, or the relay that most of them go through behind it."""
    with scene.network.client.controller() as controller:
        paths = [circuit.path for circuit in controller.get_circuits() if circuit.hs_state == "HSCR_JOINED"]
    counted = Counter(fingerprint for path in paths for fingerprint, _ in (path[:1] if is_guard else path[1:]))
    guards = {path[0][0] for path in paths}
    relays = {node.fingerprint: node for node in scene.network.relays}
    wanted = [one for one, _ in counted.most_common() if one in relays and (is_guard or one not in guards)]
    return relays[wanted[0]]
