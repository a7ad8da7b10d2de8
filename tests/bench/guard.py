"""How long an honest client of an onion service waits while another one floods it, with the guard and without.

Real Postfix, real tor, a private Tor network. The flood and all of Tor's relays are on this machine too, and take CPU
that elsewhere would be others'.
"""

import re
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.measure import Row, at_most
from tests.e2e.daemon import wait_until
from tests.e2e.flood import Flood, deliver
from tests.e2e.guarded import guarded_postfix
from tests.e2e.receiving import DOMAIN, Receiver, postfix_receiver
from tests.e2e.test_receiving import MESSAGE, ReceivingTor
from tests.e2e.tor_network import TorNetwork
from tests.guard.daemon import GuardProcess

HONEST = tuple(f"honest{number}" for number in range(4))
"""Clients, each with a circuit of its own."""
MESSAGES = 6
"""Of each client."""
THREADS = 30
"""Of the flood; a circuit may hold 10 connections."""
WARM = 100
"""Sessions and refusals of the flood before anything is measured."""


def measure() -> Iterator[Row]:
    """Measure both, quiet and under flood."""
    with TemporaryDirectory(prefix="onionmx-bench-") as name, ExitStack() as running:
        folder = Path(name)
        folder.chmod(0o755)  # Postfix's daemons pass through
        network = running.enter_context(TorNetwork(parent=folder))
        guard = GuardProcess(folder / "guard")
        receivers = {
            what: Receiver(what, DOMAIN, ("127.0.0.2", mta.port), None, proxy_protocol=True, mta=mta)
            for what, mta in {
                "without the guard": running.enter_context(postfix_receiver(folder / "plain", "circuits")),
                "with the guard": running.enter_context(guarded_postfix(folder / "guarded", guard.address)),
            }.items()
        }
        [authority] = re.findall(r"^DirAuthority .*\n", (network.services.folder / "torrc").read_text(), re.MULTILINE)
        tor = ReceivingTor(folder / "tor", authority, {what.split()[0]: mta for what, mta in receivers.items()})
        running.callback(tor.stop)
        onions = tor.publish()
        guard.control = "{}:{}".format(*tor.control)
        guard.configure()
        running.enter_context(guard.start().daemon)
        for what in receivers:
            yield from _measure(network, onions[what.split()[0]], what)
        closed = guard.metrics()['onionmx_guard_circuits_closed_total{result="closed"}']
        yield Row("flooded onion MX with the guard: circuits closed", f"{closed:.0f}")


def _measure(network: TorNetwork, onion: str, what: str) -> Iterator[Row]:
    socks = network.client.socks
    network.client.wait_until_reachable(onion)
    for user in HONEST:
        deliver(socks, onion, user, MESSAGE)
    quiet = [deliver(socks, onion, user, MESSAGE) for _ in range(MESSAGES) for user in HONEST]
    with Flood(socks, onion, THREADS) as flood:
        wait_until(lambda: flood.sessions + flood.refused + flood.broken > WARM, "the flood")
        loud = [deliver(socks, onion, user, MESSAGE) for _ in range(MESSAGES) for user in HONEST]
    scene = f"flooded onion MX {what}"
    yield Row(f"{scene}: a message before the flood", f"{median(quiet):.3f} s, at most {max(quiet):.3f} s")
    yield Row(f"{scene}: a message during the flood", f"{median(loud):.3f} s, at most {max(loud):.3f} s")
    yield Row(f"{scene}: the flood", f"{flood.sessions} sessions, {flood.refused} refused, {flood.broken} broken")
    ratio = median(loud) / median(quiet)
    if what.startswith("without"):
        yield Row(f"{scene}: times the quiet latency", f"{ratio:.2f} x")
    else:
        yield at_most(f"{scene}: times the quiet latency", ratio, 2)
