"""A private Tor network at a set distance, with onion services that lead to one sink."""

import smtplib
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from statistics import median

import dns.message
import dns.query
import dns.rdatatype

from tests.bench.measure import cpu_seconds
from tests.bench.relay_control import LOOPBACK, Control
from tests.bench.relay_stage import Stage, server
from tests.e2e.daemon import free_ports
from tests.e2e.socks import socks_connect
from tests.e2e.tor_network import RELAYS, TorNetwork

LINKS = 7
"""Between client and service: three to the rendezvous point, and four from there (rend-spec-v3)."""
PROBES = 5
DNS_TIMEOUT = 60.0


class TorStage(Stage):
    """The sink behind onion services.

    Args:
        network: private.
        sink: control of the sink.
        sink_port: where the services lead.

    Attributes:
        onions: further ones.
    """

    def __init__(self, network: TorNetwork, sink: Control, sink_port: int, onions: int) -> None:
        self._network = network
        onion, *self.onions = (network.add_onion_service({25: (LOOPBACK, sink_port)}) for _ in range(1 + onions))
        network.client.wait_until_reachable(onion)
        super().__init__(sink, network.client.socks[1], onion, self._mapped(onion))

    @property
    def network(self) -> TorNetwork:
        """The network."""
        return self._network

    @property
    def cpu_seconds(self) -> float:
        """That all tor processes have used so far."""
        return cpu_seconds(self._network.pids)

    def measure_round_trip(self) -> float:
        """Seconds over a circuit, the median of some, which is remembered."""
        with smtplib.SMTP() as session, closing(socks_connect(self._network.client.socks, self.onion, 25)) as stream:
            session.sock = stream
            session.getreply()
            session.ehlo_or_helo_if_needed()
            self.round_trip = median(_timed(session) for _ in range(PROBES))
        return self.round_trip

    def _mapped(self, onion: str) -> str:
        """The address that tor's DNSPort makes up for an onion."""
        host, port = self._network.client.dnsport
        question = dns.message.make_query(onion, dns.rdatatype.A)
        response = dns.query.udp(question, host, port=port, timeout=DNS_TIMEOUT)
        return str(response.answer[0][0])


def _timed(session: smtplib.SMTP) -> float:
    start = time.monotonic()
    session.noop()
    return time.monotonic() - start


@contextmanager
def tor_stage(folder: Path, round_trip: float, onions: int, *options: str, relays: int = RELAYS) -> Iterator[TorStage]:
    """Set it up.

    Args:
        folder: for all of it.
        round_trip: seconds that the links add to one over a circuit; 0 for a network without forwarders.
        onions: further onion services.
        options: for the sink.
        relays: of the network, besides the authority.
    """
    folder.mkdir(parents=True)
    sink_port, sink_control, links_control = free_ports(3)
    with ExitStack() as running:
        sink = running.enter_context(server(folder, "sink", sink_control, sink_port, sink_control, *options))
        links: list[Control] = []

        def advertise(ports: Sequence[int]) -> Sequence[int]:
            fronts = free_ports(len(ports))
            pairs = (f"{front}:{port}" for front, port in zip(fronts, ports, strict=True))
            started = server(folder, "tor.links", links_control, links_control, *pairs)
            links.append(running.enter_context(started))
            return fronts

        network = running.enter_context(
            TorNetwork(parent=folder, advertise=advertise if round_trip else None, relays=relays)
        )
        scene = TorStage(network, sink, sink_port, onions)
        for control in links:
            control.ask(one_way=round_trip / 2 / LINKS)
        scene.measure_round_trip()
        yield scene
