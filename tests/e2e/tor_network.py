"""A private Tor network on loopback: an authority, relays, a host of onion services and a client, all real.

It reaches no other Tor network and needs no outside access. The options: tor(1), "TESTING NETWORK OPTIONS" and
"DIRECTORY AUTHORITY SERVER OPTIONS".
"""

import logging
import math
import re
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from signal import SIGHUP
from types import TracebackType
from typing import Self

from .daemon import DaemonError, free_ports
from .programs import find_program
from .socks import Address
from .tor_node import LOOPBACK, OnionServiceHost, TorClient, TorNode

logger = logging.getLogger(__name__)

RELAYS = 6
"""Besides the authority, which relays too."""
FIRST_INTERVAL = 5
"""Seconds between the first votes; the shortest that tor takes."""
VOTE_LEAD = 2.5
"""Seconds from the call for a consensus to the consensus: at that interval tor votes 2 s before; 0.5 s to spare."""
INTERVAL = 1800
"""Seconds; longer than a test run, so that no new consensus moves descriptors of services while tests run."""

GUARDS = ",".join(f"relay{number}" for number in range(1, RELAYS + 1))
"""The authority is none: it alone has seen traffic when it votes, so clients take it for nearly every rendezvous point,
and one whose guard it is would try A-B-A, which B refuses, until tor gives up after 120 s."""

AUTHORITY = """\
AuthoritativeDirectory 1
V3AuthoritativeDirectory 1
ContactInfo postmaster@example.test
Address {address}
SocksPort 0
ExitPolicy reject *:*
TestingV3AuthInitialVoteDelay 2
TestingV3AuthInitialDistDelay 2
V3AuthVotingInterval {interval}
V3AuthVoteDelay 2
V3AuthDistDelay 2
V3AuthNIntervalsValid 2
TestingDirAuthVoteExit *
TestingDirAuthVoteGuard {guards}
TestingDirAuthVoteGuardIsStrict 1
TestingDirAuthVoteHSDir *
TestingMinExitFlagThreshold 0
AuthDirMaxServersPerAddr 0
"""
RELAY = """\
Address {address}
SocksPort 0
ExitRelay 1
ExitPolicy accept 127.0.0.0/8:*
ExitPolicyRejectPrivate 0
"""


class TorNetwork:
    """The whole network. ``client`` and ``services`` can be used once it is started."""

    def __init__(  # noqa: PLR0913 -- all of them by name
        self,
        client_options: Sequence[str] = (),
        socks_flags: Sequence[str] = ("ExtendedErrors", "OnionTrafficOnly"),
        parent: Path | None = None,
        advertise: Callable[[Sequence[int]], Sequence[int]] | None = None,
        relays: int = RELAYS,
        *,
        address: str = LOOPBACK,
    ) -> None:
        """Make its folder.

        Args:
            client_options: more torrc lines for the client.
            socks_flags: flags of the client's SocksPort.
            parent: where its folder is made; by default where temporary files go.
            advertise: given the ports on which the relays listen, the ports at which others find them: of forwarders.
            relays: how many, besides the authority; the first six can be guards.
            address: of this machine, where authority and relays listen.
        """
        self.folder = Path(tempfile.mkdtemp(prefix="onionmx-tor-", dir=parent))
        self.known_authority = ""
        """The torrc line by which a tor finds this network; set once it is started."""
        self._nodes: list[TorNode] = []
        self._client_options = client_options
        self._socks_flags = socks_flags
        self._advertise = advertise or list
        self._count = relays
        self._address = address

    @property
    def pids(self) -> list[int]:
        """Of all its tor processes."""
        return [node.daemon.pid for node in self._nodes]

    @property
    def relays(self) -> list[TorNode]:
        """The relays, without the authority."""
        return [node for node in self._nodes if node.daemon.name.startswith("relay")]

    def start(self) -> Self:
        """Start everything and wait until the client and the host of services can build circuits."""
        begin = time.monotonic()
        try:
            self._start_relays()
            self._wait_for_consensus()
            self._start_clients()
        except BaseException:
            self.close()
            raise
        logger.info("private Tor network up after %.1f s", time.monotonic() - begin)
        return self

    def close(self) -> None:
        """Stop everything and remove every file."""
        for node in self._nodes:
            node.daemon.ask_to_stop()
        for node in self._nodes:
            node.stop()
        shutil.rmtree(self.folder, ignore_errors=True)

    def add_onion_service(self, ports: Mapping[int, Address]) -> str:
        """Add an onion service: virtual port to the address of its server. Return its host name."""
        return self.services.add(ports)

    def remove_onion_service(self, onion: str) -> None:
        """Take an onion service away."""
        self.services.remove(onion)

    def _start_relays(self) -> None:
        dir_port, *or_ports = free_ports(2 + self._count)
        seen_ports = self._advertise(or_ports)
        authority_port, *relay_ports = map(partial(_or_port, self._address), or_ports, seen_ports)
        folder = self.folder / "authority"
        self.known_authority = _make_authority(folder, self._address, seen_ports[0], dir_port)
        ports = f"{authority_port}DirPort {self._address}:{dir_port}\n"
        options = AUTHORITY.format(address=self._address, interval=INTERVAL, guards=GUARDS)
        torrc = self.known_authority + options + ports
        authority = self._add(TorNode("authority", folder, torrc + _vote_at(time.time() + INTERVAL / 2, INTERVAL)))
        authority.start()
        for number, port in enumerate(relay_ports, 1):
            node = TorNode(
                f"relay{number}",
                self.folder / f"relay{number}",
                f"{self.known_authority}{RELAY.format(address=self._address)}{port}",
            )
            self._add(node).start()
        total = len(self._nodes)
        authority.daemon.wait_until(
            lambda: authority.count("cached-descriptors.new", "router") >= total, "descriptors of all relays"
        )
        authority.configure(torrc + _vote_at(time.time() + VOTE_LEAD, FIRST_INTERVAL))

    def _wait_for_consensus(self) -> None:
        authority, *relays = self._nodes
        total = len(self._nodes)
        authority.daemon.wait_until(partial(authority.knows_network, total), "a consensus with all relays")
        for relay in relays:
            # On HUP a relay asks at once what it would else ask after a growing, random delay.
            relay.daemon.signal(SIGHUP)
        for relay in relays:
            relay.daemon.wait_until(partial(relay.knows_network, total), "the consensus")

    def _start_clients(self) -> None:
        options = "".join(f"{line}\n" for line in self._client_options)
        torrc = self.known_authority + options
        self.client = TorClient("client", self.folder / "client", torrc, self._socks_flags)
        self.services = OnionServiceHost("services", self.folder / "services", self.known_authority + "SocksPort 0\n")
        self._add(self.services).start()
        self._add(self.client).start()
        self.services.wait_until_bootstrapped()

    def _add(self, node: TorNode) -> TorNode:
        self._nodes.append(node)
        return node

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()


def _or_port(address: str, port: int, seen: int) -> str:
    """The torrc lines for a relay that listens on a port, and is found by others at another one or the same."""
    if port == seen:
        return f"ORPort {address}:{port}\n"
    return f"ORPort {address}:{seen} NoListen\nORPort {address}:{port} NoAdvertise\n"


def _vote_at(when: float, interval: int) -> str:
    """Return the torrc lines for a first consensus then. Tor counts intervals from midnight, so they are moved."""
    offset = math.ceil(when) % interval
    return f"TestingV3AuthInitialVotingInterval {interval}\nTestingV3AuthVotingStartOffset {offset}\n"


def _make_authority(folder: Path, address: str, or_port: int, dir_port: int) -> str:
    """Make the keys of the directory authority; return the torrc line by which the others know it."""
    keys = folder / "keys"
    keys.mkdir(parents=True, mode=0o700)
    folder.chmod(0o700)
    certificate = keys / "authority_certificate"
    make_authority_keys: list[str | Path] = [
        *(find_program("tor-gencert"), "--create-identity-key", "--passphrase-fd", "0", "-m", "12"),
        *("-i", keys / "authority_identity_key", "-s", keys / "authority_signing_key", "-c", certificate),
        *("-a", f"{address}:{dir_port}"),
    ]
    make_relay_keys: list[str | Path] = [
        *(find_program("tor"), "-f", folder / "none", "--ignore-missing-torrc", "--defaults-torrc", folder / "none"),
        *("--list-fingerprint", "--quiet", "--DataDirectory", folder, "--Nickname", "authority"),
        *("--ORPort", str(or_port)),
    ]
    with subprocess.Popen(make_relay_keys, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as relay_keys:
        subprocess.run(make_authority_keys, input=b"\n", check=True, capture_output=True)
    match = re.search(r"^fingerprint (\w+)", certificate.read_text(), re.MULTILINE)
    if match is None or relay_keys.returncode:
        raise DaemonError("tor made no keys for the authority")
    relay = (folder / "fingerprint").read_text().split()[1]
    return f"DirAuthority authority orport={or_port} no-v2 v3ident={match[1]} {address}:{dir_port} {relay}\n"
