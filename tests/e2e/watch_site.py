"""A tor whose onion services are watched, in a private network, and what makes them unreachable.

watch ── tor (SOCKS, control port) ── private network ── the same tor's onion services ── a greeting
"""

import json
import signal
import socketserver
from base64 import b64encode
from collections import Counter
from contextlib import suppress
from getpass import getuser
from pathlib import Path
from queue import SimpleQueue
from subprocess import run
from typing import TYPE_CHECKING

from prometheus_client.parser import text_string_to_metric_families

from .daemon import Daemon, free_ports
from .relay import ONIONMX
from .socks import Address, SocksError, socks_connect
from .tor_network import TorNetwork
from .tor_node import DESCRIPTORS, OnionServiceHost

if TYPE_CHECKING:
    from stem.response.events import HSDescEvent

AMPLE = 300.0
"""Seconds for what takes a tenth of it on a machine that has time."""
HEADER = 32
"""Bytes before the key in tor's file of it."""


class Greeter(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        with suppress(OSError):
            self.wfile.write(b"220 mx.example.org ESMTP\r\n")
            while (line := self.rfile.readline()) and not line.startswith(b"QUIT"):
                self.wfile.write(b"250 OK\r\n")
            self.wfile.write(b"221 bye\r\n")


class Site:
    """A tor with three onion services for mail: of torrc, of `onion create --over-control`, and of another program.

    The watch knows the ports of the first two, and leaves the last one alone.
    """

    def __init__(self, network: TorNetwork, folder: Path, greeter: Address) -> None:
        self.network = network
        self.folder = folder
        self.configuration = folder / "onionmx.toml"
        (self.socks,) = free_ports(1)
        tor = self.tor
        self.torrc_service = tor.folder / "of-torrc"
        torrc = (tor.folder / "torrc").read_text()
        lines = f"HiddenServiceDir {self.torrc_service}\nHiddenServicePort 25 {greeter[0]}:{greeter[1]}\n"
        # The ExtendedErrors that docs/onion-mx.md asks for.
        socks = f"SocksPort 127.0.0.1:{self.socks} ExtendedErrors\n"
        (tor.folder / "torrc").write_text(torrc.replace("SocksPort 0\n", socks) + lines)
        tor.daemon.signal(signal.SIGHUP)
        tor.daemon.wait_until((self.torrc_service / "hostname").exists, "the service of torrc")
        self.over_control = tor.folder / "over-control"
        self.greeter = greeter
        self.configure()
        command: list[str | Path] = [ONIONMX, "onion", "create", "--over-control", "--config", self.configuration]
        run(command, check=True, capture_output=True)
        with self.tor.controller() as controller:
            made = controller.create_ephemeral_hidden_service({25: f"{greeter[0]}:{greeter[1]}"}, detached=True)
        self.unwatched = f"{made.service_id}.onion"
        self._unwatched_key = str(made.private_key)

    @property
    def tor(self) -> OnionServiceHost:
        return self.network.services

    @property
    def watched(self) -> list[str]:
        return [(folder / "hostname").read_text().strip() for folder in (self.torrc_service, self.over_control)]

    def configure(self, **settings: float) -> None:
        short = {"interval": 2, "timeout": 12, "failing_for": 4, "publish_pause": 6, "renewal_pause": 60}
        lines = [f"{key} = {json.dumps(value)}" for key, value in (short | {"circuits_delay": 2} | settings).items()]
        self.configuration.write_text(
            f'[map]\npath = "{self.folder}/map.cdb"\n[tor]\ncontrol = "127.0.0.1:{self.tor.control[1]}"\n'
            f'socks = "127.0.0.1:{self.socks}"\nuser = "{getuser()}"\n'
            f'[onion]\ndirectory = "{self.over_control}"\nforward = "{self.greeter[0]}:{self.greeter[1]}"\n'
            f'[watch]\nmetrics_file = "{self.folder}/watch.prom"\n' + "\n".join(lines) + "\n"
        )

    def watch(self) -> "Watch":
        return Watch("watch", [ONIONMX, "watch", "--config", self.configuration], self.folder)

    def metrics(self) -> dict[str, float]:
        with suppress(FileNotFoundError):
            families = text_string_to_metric_families((self.folder / "watch.prom").read_text())
            samples = [sample for family in families for sample in family.samples]
            return {sample.name + "".join(sample.labels.values()): sample.value for sample in samples}
        return {}

    def once(self) -> tuple[int, list[dict[str, str]]]:
        command: list[str | Path] = [ONIONMX, "watch", "--once", "--json", "--config", self.configuration]
        done = run(command, check=False, capture_output=True)
        return done.returncode, json.loads(done.stdout) if done.stdout else []

    def is_reached_by_others(self, onion: str, timeout: float) -> bool:
        try:
            socks_connect(self.network.client.socks, onion, 25, timeout).close()
        except SocksError:
            return False
        return True

    def mislead(self) -> None:
        """Let another tor have the keys of all services for a moment, as a second machine with a copy of them would.

        Its descriptors are the newer ones, and their introduction points are gone.
        """
        keys = [
            b64encode((folder / "hs_ed25519_secret_key").read_bytes()[HEADER:]).decode()
            for folder in (self.torrc_service, self.over_control)
        ]
        labels = [onion.removesuffix(".onion") for onion in (*self.watched, self.unwatched)]
        events: SimpleQueue[HSDescEvent] = SimpleQueue()
        with self.network.client.controller() as controller:
            controller.add_event_listener(events.put, "HS_DESC")
            for key in (*keys, self._unwatched_key):
                controller.msg(f"ADD_ONION ED25519-V3:{key} Flags=Detach Port=25,127.0.0.1:9")
            uploaded: Counter[str] = Counter()
            pending: Counter[str] = Counter()
            # Both descriptors of each, on every directory (rend-spec-v3 2.2.1).
            while any(uploaded[label] < DESCRIPTORS or pending[label] for label in labels):
                event = events.get(timeout=AMPLE)
                pending[event.address] += {"UPLOAD": 1, "UPLOADED": -1}.get(event.action, 0)
                uploaded[event.address] += event.action == "UPLOADED"
            for label in labels:
                controller.msg(f"DEL_ONION {label}")
            controller.msg("SIGNAL NEWNYM")  # as a client it forgets what it has learnt

    def freeze_guards(self) -> list[Daemon]:
        """Stop the guards of all introduction points as a machine that hangs: their connections stay."""
        with self.tor.controller() as controller:
            circuits = [circuit for circuit in controller.get_circuits() if circuit.purpose == "HS_SERVICE_INTRO"]
        guards = {circuit.path[0][0] for circuit in circuits}
        frozen = [node.daemon for node in self.network.relays if node.fingerprint in guards]
        assert len(frozen) == len(guards)
        for daemon in frozen:
            daemon.signal(signal.SIGSTOP)
        return frozen


class Watch(Daemon):
    """The watch, whose log is waited for."""

    def wait_for_times(self, words: str, times: int) -> None:
        self.wait_until(lambda: self.log_text().count(words) >= times, f"{words!r}, {times} times", AMPLE)

    def wait_for_change(self, site: Site, metric: str, beyond: float = 0.0) -> None:
        self.wait_until(lambda: site.metrics().get(metric, -1.0) > beyond, f"{metric} above {beyond:g}", AMPLE)
