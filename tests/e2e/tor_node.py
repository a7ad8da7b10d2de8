"""Single tor processes of a private network: relays, the client, the host of the onion services."""

import re
import time
import warnings
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path
from queue import Empty, SimpleQueue
from signal import SIGHUP
from typing import TYPE_CHECKING

from stem.control import Controller, EventType

from .daemon import START_TIMEOUT, Daemon, DaemonError, free_ports
from .programs import find_program
from .socks import Address, SocksError, socks_connect

if TYPE_CHECKING:
    from stem.response.events import HSDescEvent

LOOPBACK = "127.0.0.1"

TOR_TIMEOUT = 120.0
"""Seconds after which tor itself gives a connection up."""
RESTARTED_TIMEOUT = 20.0
"""Seconds for one try to reach a service that may be met elsewhere by then."""
REACHABLE_TIMEOUT = 250.0
"""Seconds."""

DESCRIPTORS = 2
"""Of each onion service at any time: for this time period and for the next."""

# Conflux is off: its spare circuits find no relays of their own in a network this small. From a quiet loopback tor
# would learn to give a circuit up after 50 ms, which a busy machine exceeds; but the 60 s that it takes without having
# learned leave a client whose circuit hangs no time to try others before it gives the connection up.
COMMON = """\
TestingTorNetwork 1
AssumeReachable 1
PathsNeededToBuildCircuits 0.25
ConfluxEnabled 0
LearnCircuitBuildTimeout 0
CircuitBuildTimeout 5
VanguardsLiteEnabled 0
SafeLogging 0
Log notice stdout
"""


class TorNode:
    """One tor process with its DataDirectory and torrc."""

    def __init__(self, name: str, folder: Path, torrc: str) -> None:
        """Write the torrc; ``folder`` becomes the DataDirectory and is made when it is not there."""
        self.folder = folder
        folder.mkdir(mode=0o700, exist_ok=True)
        self._torrc = folder / "torrc"
        # No defaults file: the one of an installed tor would add its own ports and user.
        command: list[str | Path] = [find_program("tor"), "-f", self._torrc, "--defaults-torrc", folder / "none"]
        self.daemon = Daemon(name, command, folder)
        self._write(torrc)

    def _write(self, torrc: str) -> None:
        self._torrc.write_text(f"DataDirectory {self.folder}\nNickname {self.daemon.name}\n{COMMON}{torrc}")

    def configure(self, torrc: str) -> None:
        """Give it another configuration while it runs."""
        self._write(torrc)
        self.daemon.signal(SIGHUP)

    def start(self) -> None:
        """Start it without waiting."""
        self.daemon.start()

    def stop(self) -> None:
        """Stop it; its DataDirectory stays."""
        self.daemon.stop()

    @property
    def fingerprint(self) -> str:
        """Of a relay that has been started."""
        return (self.folder / "fingerprint").read_text().split()[1]

    def count(self, file: str, keyword: str) -> int:
        """Count the distinct lines with a keyword in a file of its DataDirectory."""
        try:
            text = (self.folder / file).read_text(errors="replace")
        except FileNotFoundError:
            return 0
        return len(set(re.findall(rf"^{keyword} .*$", text, re.MULTILINE)))

    def knows_network(self, relays: int) -> bool:
        """Tell whether it has a consensus with that many relays and can serve all their microdescriptors."""
        listed = self.count("cached-microdesc-consensus", "r")
        return listed >= relays and self.count("cached-microdescs.new", "ntor-onion-key") >= relays


class ControlledTor(TorNode):
    """A tor that is no relay and has a control port with cookie authentication."""

    def __init__(self, name: str, folder: Path, torrc: str) -> None:
        """Choose the control port and write the torrc."""
        self.control: Address = (LOOPBACK, free_ports(1)[0])
        self.cookie = folder / "control_auth_cookie"
        control = f"ControlPort {LOOPBACK}:{self.control[1]}\nCookieAuthentication 1\nCookieAuthFile {self.cookie}\n"
        super().__init__(name, folder, torrc + control)

    def wait_until_bootstrapped(self, timeout: float = START_TIMEOUT) -> None:
        """Wait until it can build circuits."""
        self.daemon.wait_for_log(r"Bootstrapped 100%", timeout)

    def controller(self) -> Controller:
        """Return an authenticated connection to its control port, to be closed by the caller."""
        with warnings.catch_warnings():
            # stem still calls Thread.setDaemon(), which Python 3.10 deprecated.
            warnings.simplefilter("ignore", DeprecationWarning)
            controller = Controller.from_port(*self.control)
        controller.authenticate()
        return controller


class TorClient(ControlledTor):
    """The client: a SOCKS port, a DNSPort that maps .onion names to virtual addresses, a control port.

    Its ports stay the same when it is stopped and started again.
    """

    def __init__(self, name: str, folder: Path, torrc: str, socks_flags: Sequence[str]) -> None:
        """Choose the ports and write the torrc."""
        socks, dns = free_ports(2)
        self.socks: Address = (LOOPBACK, socks)
        self.dnsport: Address = (LOOPBACK, dns)
        self.unix_socks = folder / "socks"
        lines = (
            f"SocksPort {LOOPBACK}:{socks} {' '.join(socks_flags)}",
            f"SocksPort unix:{self.unix_socks} {' '.join(socks_flags)}",
            f"DNSPort {LOOPBACK}:{dns}",
            "AutomapHostsOnResolve 1",
        )
        super().__init__(name, folder, torrc + "".join(f"{line}\n" for line in lines))

    def start(self) -> None:
        """Start it and wait until it can build circuits."""
        super().start()
        self.wait_until_bootstrapped()

    def forget(self) -> None:
        """Forget what was learnt of onion services."""
        with self.controller() as controller:
            controller.msg("SIGNAL NEWNYM")

    def wait_until_reachable(
        self, onion: str, port: int = 25, timeout: float = REACHABLE_TIMEOUT, *, has_restarted: bool = False
    ) -> None:
        """Wait until a CONNECT to the onion service succeeds. Its server sees a connection that says nothing.

        Args:
            onion: its host name.
            port: of the service.
            timeout: seconds.
            has_restarted: whether its tor may have. What the client knows then leads to where the service was met
                before, where a CONNECT waits for two minutes.
        """
        errors: list[str] = []
        if has_restarted:
            self.forget()

        def reachable() -> bool:
            try:
                socks_connect(self.socks, onion, port, RESTARTED_TIMEOUT if has_restarted else TOR_TIMEOUT).close()
            except SocksError as error:
                errors.append(str(error))
                if has_restarted and error.reply is None:
                    self.forget()
                return False
            return True

        try:
            self.daemon.wait_until(reachable, f"a CONNECT to {onion}:{port} through SOCKS", timeout)
        except DaemonError as error:
            raise DaemonError(f"{Counter(errors)}\n{error}") from None


class OnionServiceHost(ControlledTor):
    """The tor that the onion services belong to. They are gone when it stops."""

    def add(self, ports: Mapping[int, Address], timeout: float = START_TIMEOUT) -> str:
        """Add a service and wait until all its directories have its descriptors; return its host name."""
        targets = {port: f"{host}:{target}" for port, (host, target) in ports.items()}
        events: SimpleQueue[HSDescEvent] = SimpleQueue()
        with self.controller() as controller:
            controller.add_event_listener(events.put, EventType.HS_DESC)
            service = controller.create_ephemeral_hidden_service(targets, detached=True)
            self._wait_for_uploads(service.service_id, events, timeout)
        return f"{service.service_id}.onion"

    def remove(self, onion: str) -> None:
        """Take a service away; its descriptors stay with the directories."""
        with self.controller() as controller:
            controller.remove_ephemeral_hidden_service(onion.removesuffix(".onion"))

    def _wait_for_uploads(self, service: str, events: "SimpleQueue[HSDescEvent]", timeout: float) -> None:
        """Wait for both descriptors, of this time period and the next, on every directory (rend-spec-v3 2.2.1).

        After the first upload alone, a client may still ask a directory that has nothing yet (SOCKS reply F0).
        """
        descriptors: set[str] = set()
        pending: Counter[str] = Counter()
        deadline = time.monotonic() + timeout
        while len(descriptors) < DESCRIPTORS or any(pending.values()):
            try:
                event = events.get(timeout=max(0.0, deadline - time.monotonic()))
            except Empty:
                what = f"descriptors of {service} not uploaded within {timeout:g} s"
                raise DaemonError(f"{what}\n{self.daemon.log_tail()}") from None
            if event.address != service:
                continue
            if event.action == "UPLOAD":
                descriptors.add(event.descriptor_id)
                pending[event.directory_fingerprint] += 1
            elif event.action == "UPLOADED":
                pending[event.directory_fingerprint] -= 1
