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

SENDER = "sender@example.com"
DOMAIN = "example.org"
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
    """The sink, the proxy and the generator."""

    def __init__(self, sink: Control, proxy: Control, sink_port: int, socks_port: int) -> None:
        self.sink = sink
        self.sink_port = sink_port
        self.socks_port = socks_port
        self.proxy = proxy
        self.round_trip = 0.0

    def set_round_trip(self, seconds: float) -> None:
        """Set the distance for connections opened from now on."""
        self.round_trip = seconds
        self.proxy.ask(round_trip=seconds)

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
        self.sink.ask(reset=True)
        with smtplib.SMTP(LOOPBACK, candidate.port, "generator.example") as session:
            session.ehlo()
            start = time.monotonic()
            session.sendmail(SENDER, f"user@{DOMAIN}", message())
        arrived = self.sink.ask(wait=1, reset=True)["times"][0]
        return float((arrived - start) / self.round_trip + 0.5)


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
def stage(folder: Path, *options: str) -> Iterator[Stage]:
    """Set it up; the options are for the sink."""
    sink_port, sink_control, socks_port, proxy_control = free_ports(4)
    with (
        _server(folder, "sink", sink_port, sink_control, *options) as sink,
        _server(folder, "socks_proxy", socks_port, proxy_control, sink_port) as proxy,
    ):
        yield Stage(sink, proxy, sink_port, socks_port)


@contextmanager
def _server(folder: Path, name: str, port: int, control_port: int, *options: object) -> Iterator[Control]:
    arguments = [str(argument) for argument in (port, control_port, *options)]
    command = [sys.executable, "-m", f"tests.bench.{name}", *arguments]
    with Daemon(name, command, folder, {"PYTHONPATH": str(PROJECT)}) as daemon:
        daemon.wait_for_port(LOOPBACK, control_port)
        with Control(control_port) as control:
            yield control
