"""What all candidates share: one sink, one stand-in for tor, one generator."""

import os
import smtplib
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.bench.relay_control import LOOPBACK, TIMEOUT, Control, Message
from tests.e2e.daemon import Daemon, free_ports
from tests.e2e.programs import PROJECT, UNPACKED, find_program
from tests.onions import make_onion

SENDER = "sender@example.com"
DOMAIN = "example.org"
ONION = make_onion(0)
VIRTUAL_ADDRESS = "127.192.0.1"
SIZE = 4096
SESSIONS = 20


@dataclass(frozen=True)
class Candidate:
    """Something that takes mail on a local port and hands it on through the proxy.

    Attributes:
        name: for the table.
        hello: how it names itself to the sink.
        port: where it takes mail.
        is_lmtp: whether it speaks LMTP there.
        push: what makes it deliver after it has been given all messages; `None` where it does so by itself.
    """

    name: str
    hello: str
    port: int
    is_lmtp: bool = False
    push: Callable[[], None] | None = None


@dataclass(frozen=True)
class Burst:
    """Many messages through a candidate: messages a second at the sink, and the most sessions of its there at once."""

    rate: float
    sessions: int


class Stage:
    """The sink, what leads to it, and the generator.

    Args:
        sink: its control.
        socks_port: leads to it.
        onion: the name of the sink.
        address: the sink for those who cannot say a name to a SOCKS port.

    Attributes:
        round_trip: seconds to the sink.
    """

    def __init__(self, sink: Control, socks_port: int, onion: str = ONION, address: str = VIRTUAL_ADDRESS) -> None:
        self.sink = sink
        self.socks_port = socks_port
        self.onion = onion
        self.address = address
        self.round_trip = 0.0

    def burst(self, candidate: Candidate, count: int, *, keep: bool, sessions: int = SESSIONS) -> Burst:
        """Send many messages, with one session a message or with kept ones, and count what arrives."""
        self.sink.ask(reset=True)
        generate(candidate, count, keep=keep, sessions=sessions)
        if candidate.push:
            candidate.push()
        figures: Message = self.sink.ask(wait=count, reset=True)
        times = figures["times"]
        # The first of each session come as one wave; from its end on, waves are counted by the time they take.
        return Burst((count - sessions) / (times[-1] - times[sessions - 1]), figures["most_sessions"][candidate.hello])

    def round_trips(self, candidate: Candidate) -> float:
        """Send one message, and tell how many round trips pass until its sender can know that it has arrived."""
        return self.seconds(candidate) / self.round_trip

    def seconds(self, candidate: Candidate) -> float:
        """Send one message, and tell how long it takes until its sender can know that it has arrived."""
        self.sink.ask(reset=True)
        with smtplib.SMTP(LOOPBACK, candidate.port, "generator.example") as session:
            session.ehlo()
            start = time.monotonic()
            session.sendmail(SENDER, f"user@{DOMAIN}", message())
        arrived = self.sink.ask(wait=1, reset=True)["times"][0]
        return float(arrived - start + self.round_trip / 2)


class StandIn(Stage):
    """With a stand-in for tor.

    Args:
        proxy: its control.
        sink: control of the sink.
        socks_port: of the stand-in.
    """

    def __init__(self, proxy: Control, sink: Control, socks_port: int) -> None:
        super().__init__(sink, socks_port)
        self.proxy = proxy

    def set_round_trip(self, seconds: float) -> None:
        """Set the distance for connections opened from now on."""
        self.round_trip = seconds
        self.proxy.ask(round_trip=seconds)


def message() -> bytes:
    """A message like those of the generator."""
    line = b"La de da de da " * 5 + b"\r\n"
    return b"Subject: bench\r\n\r\n" + line * (SIZE // len(line))


def generate(candidate: Candidate, count: int, *, keep: bool, sessions: int = SESSIONS) -> None:
    """Run Postfix's smtp-source to its end."""
    command = [str(find_program("smtp-source")), "-s", str(min(sessions, count)), "-m", str(count), "-l", str(SIZE)]
    command += ["-f", SENDER, "-t", f"user@{DOMAIN}", "-M", "generator.example"]
    command += ["-d"] if keep else []
    command += ["-L"] if candidate.is_lmtp else []
    subprocess.run(
        [*command, f"inet:{LOOPBACK}:{candidate.port}"],
        # Postfix keeps libraries of its own in a folder that the loader does not search.
        env=os.environ | {"LD_LIBRARY_PATH": str(UNPACKED / "usr/lib/postfix")},
        check=True,
        stdout=subprocess.DEVNULL,
        timeout=TIMEOUT,
    )


@contextmanager
def stage(folder: Path, *options: str) -> Iterator[StandIn]:
    """Set it up; the options are for the sink."""
    sink_port, sink_control, socks_port, proxy_control = free_ports(4)
    with (
        server(folder, "sink", sink_control, sink_port, sink_control, *options) as sink,
        server(folder, "socks_proxy", proxy_control, socks_port, proxy_control, sink_port) as proxy,
    ):
        yield StandIn(proxy, sink, socks_port)


@contextmanager
def server(folder: Path, name: str, control_port: int, *arguments: object) -> Iterator[Control]:
    """Run a server of the bench with these arguments, of which its control port is one."""
    command = [sys.executable, "-m", f"tests.bench.{name}", *map(str, arguments)]
    with Daemon(name, command, folder, {"PYTHONPATH": str(PROJECT)}) as daemon:
        daemon.wait_for_port(LOOPBACK, control_port)
        with Control(control_port) as control:
            yield control
