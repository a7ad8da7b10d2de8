"""A relay of the Tor network is stopped while a session goes through it: how long the next delivery takes."""

import smtplib
import time
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from stem.control import Controller

from tests.bench.measure import Row
from tests.bench.relay_candidates import relay
from tests.bench.relay_control import LOOPBACK
from tests.bench.relay_stage import DOMAIN, SENDER, message
from tests.bench.tor.scene import TorStage, tor_stage
from tests.e2e.tor_node import TorNode

ROUNDS = 24
PLACES = ("guard", "middle", "rendezvous point")
LIMIT = 30.0
"""Seconds for 95 of 100."""
RETRY = 1.0
"""Seconds until the MTA tries again what was deferred."""


def measure() -> Iterator[Row]:
    """Stop relays in turn at each place of the circuit, deliver, and start them again."""
    with TemporaryDirectory(prefix="onionmx-bench-") as name:
        folder = Path(name)
        with tor_stage(folder / "tor", 0.0, 0) as scene, relay(folder / "relay", scene) as ours:
            _deliver(ours.smtp.port)
            times: list[float] = []
            tries: list[int] = []
            for number in range(ROUNDS):
                node = _node_of(scene, number % len(PLACES))
                node.stop()
                start = time.monotonic()
                tries.append(_deliver(ours.smtp.port))
                times.append(time.monotonic() - start)
                node.start()
                node.daemon.wait_for_log("Bootstrapped 100%")
                _deliver(ours.smtp.port)
    what = f"{ROUNDS} times a relay in the circuit was stopped"
    yield Row(f"{what}: the next delivery, median", f"{sorted(times)[ROUNDS // 2]:.2f} s")
    slowest = sorted(times)[min(ROUNDS - 1, int(ROUNDS * 0.95))]
    yield Row(f"{what}: 95th percentile", f"{slowest:.2f} s", f"below {LIMIT:g} s", slowest < LIMIT)
    yield Row(f"{what}: delivered at the first try of the MTA", f"{tries.count(1)}")


def _deliver(port: int) -> int:
    """Deliver a message as an MTA does, again and again; how many tries it took."""
    tries = 0
    while True:
        tries += 1
        try:
            with smtplib.SMTP(LOOPBACK, port, "generator.example") as session:
                session.sendmail(SENDER, f"user@{DOMAIN}", message())
        except smtplib.SMTPException:
            time.sleep(RETRY)
        else:
            return tries


def _node_of(scene: TorStage, place: int) -> TorNode:
    """The relay at a place of the client's circuit to the service; never the authority, which is there once only."""
    with scene.network.client.controller() as controller:
        path = _path(controller)
    relays = {node.fingerprint: node for node in scene.network.relays}
    wanted = [path[place], *path]
    return next(relays[fingerprint] for fingerprint in wanted if fingerprint in relays)


def _path(controller: Controller) -> list[str]:
    joined = [circuit for circuit in controller.get_circuits() if circuit.hs_state == "HSCR_JOINED"]
    return [fingerprint for fingerprint, _ in max(joined, key=lambda circuit: int(circuit.id)).path]
