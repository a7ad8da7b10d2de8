"""The guard over a private Tor network: a circuit that floods is closed, and no other."""

import os
import re
from collections.abc import Iterator
from ipaddress import IPv6Address

import pytest

from onionmx.tor.circuits import Closing, close_circuits
from onionmx.tor.client_circuit import circuit_of
from tests.guard.daemon import GuardProcess

from .conftest import skip_without
from .flood import Flood, deliver
from .guarded import guarded_postfix
from .postfix import Postfix
from .receiving import DOMAIN, Receiver
from .test_receiving import MESSAGE, ReceivingTor
from .tor_network import TorNetwork

pytestmark = pytest.mark.skipif(bool(os.geteuid()), reason="Postfix's master runs as root only")
THREADS = 5
NO_CIRCUIT = 4_000_000_000


@pytest.fixture(scope="module")
def mta_and_guard(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Postfix, GuardProcess]]:
    skip_without("postqueue", "setpriv")
    folder = tmp_path_factory.mktemp("guarded")
    guard = GuardProcess(folder / "guard")
    with guarded_postfix(folder / "mta", guard.address) as mta:
        yield mta, guard


@pytest.fixture(scope="module")
def tor(
    tor_network: TorNetwork, mta_and_guard: tuple[Postfix, GuardProcess], tmp_path_factory: pytest.TempPathFactory
) -> Iterator[ReceivingTor]:
    mta, _ = mta_and_guard
    network = re.search(r"^DirAuthority .*\n", (tor_network.services.folder / "torrc").read_text(), re.MULTILINE)
    assert network is not None
    receiver = Receiver("postfix", DOMAIN, ("127.0.0.2", mta.port), None, proxy_protocol=True, mta=mta)
    tor = ReceivingTor(tmp_path_factory.mktemp("tor") / "tor", network[0], {receiver.name: receiver})
    yield tor
    tor.stop()


def test_circuit_that_floods_is_closed_and_no_other(
    tor_network: TorNetwork, mta_and_guard: tuple[Postfix, GuardProcess], tor: ReceivingTor
) -> None:
    mta, guard = mta_and_guard
    guard.control = "{}:{}".format(*tor.control)
    guard.configure()
    [onion] = tor.publish().values()
    tor_network.client.wait_until_reachable(onion)
    socks = tor_network.client.socks
    guard.start()
    try:
        deliver(socks, onion, "honest", MESSAGE)
        with Flood(socks, onion, THREADS) as flood:
            guard.daemon.wait_for_log(r"circuit \d+ is closed")
            for _ in range(3):
                deliver(socks, onion, "honest", MESSAGE)
        log, counted = guard.daemon.log_text(), guard.metrics()
    finally:
        guard.daemon.stop()
    assert flood.sessions
    assert flood.refused
    assert flood.broken
    closed = {int(number) for number in re.findall(r"circuit (\d+) is closed", log)}
    # Only a message that is taken gets a number in Postfix's queue, and with it such a line.
    clients = re.findall(r": [0-9A-Za-z]+: client=unknown\[([^]]*)\]", mta.log_text())
    assert len(clients) == 4
    honest = {number for client in clients if (number := circuit_of(client))}
    assert len(honest) == 1
    assert not honest & closed
    with tor.controller() as controller:
        circuits = {int(circuit.id) for circuit in controller.get_circuits()}
    assert honest <= circuits
    assert not closed & circuits
    assert counted['onionmx_guard_circuits_closed_total{result="closed"}'] >= 1
    assert counted['onionmx_guard_circuits_closed_total{result="failed"}'] == 0
    assert str(IPv6Address(clients[0])) not in log
    with tor.controller() as controller:
        others = [int(circuit.id) for circuit in controller.get_circuits() if circuit.purpose == "HS_SERVICE_INTRO"]
        assert others
        wanted = [*honest, *others, NO_CIRCUIT]
        expected = dict.fromkeys(honest, Closing.CLOSED) | dict.fromkeys(others, Closing.FOREIGN)
        assert close_circuits(controller, wanted) == expected | {NO_CIRCUIT: Closing.GONE}
        assert set(others) <= {int(circuit.id) for circuit in controller.get_circuits()}
