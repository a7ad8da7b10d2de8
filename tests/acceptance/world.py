"""What is around a machine: a private Tor network, another mail server with an onion service, and the open DNS."""

import smtplib
import socket
import time
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from contextlib import ExitStack, contextmanager
from email import message_from_bytes, policy
from email.message import EmailMessage
from pathlib import Path
from queue import Empty, Queue
from types import TracebackType
from typing import Self

from aiosmtpd.controller import Controller
from aiosmtpd.smtp import SMTP, Envelope, Session

from tests.e2e.socks import socks_connect
from tests.e2e.tor_network import TorNetwork
from tests.e2e.tor_node import COMMON, LOOPBACK

from .dns import OpenDns

REMOTE = "remote.example"
"""A domain with an onion MX."""
PLAIN = "plain.example"
"""A domain that does not exist, and so has no onion MX."""
LOCAL = "local.example"
"""The domain of every machine."""
_REMOTE_ADDRESS = "127.0.0.9"
_REMOTE_PORT = 2525
_MACHINE_PORTS = range(10020, 10040)
"""Those of onionmx, which the Tor network must not take."""


class NoMessageError(RuntimeError):
    """No message came."""


class World:
    """All of it. It outlives restarts of the machine.

    Args:
        folder: a new folder.
        address: of the Tor network.
    """

    def __init__(self, folder: Path, address: str = LOOPBACK) -> None:
        self._folder = folder
        self._address = address
        self._running = ExitStack()
        self._received: Queue[EmailMessage] = Queue()
        self._times: dict[str, float] = {}
        self._copies: Counter[str] = Counter()

    def __enter__(self) -> Self:
        """Start it."""
        with ExitStack() as starting:
            with _held(_MACHINE_PORTS):
                self.tor = starting.enter_context(TorNetwork(parent=self._folder, address=self._address))
            server = _Server(self._take, _REMOTE_ADDRESS, _REMOTE_PORT)
            server.start()
            starting.callback(server.stop)
            self.onion = self.tor.add_onion_service({25: (_REMOTE_ADDRESS, _REMOTE_PORT)})
            records = {
                (f"_onion-mx._tcp.{REMOTE}", "SRV"): [f"0 5 25 {self.onion}."],
                (LOCAL, "SOA"): [f"ns.{LOCAL}. postmaster.{LOCAL}. 1 3600 600 86400 60"],
                (LOCAL, "NS"): [f"ns.{LOCAL}."],
                (f"ns.{LOCAL}", "A"): ["127.0.0.1"],
            }
            self.dns = starting.enter_context(OpenDns(records))
            self._running = starting.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self._running.close()

    @property
    def tor_defaults(self) -> str:
        """Lines by which a tor joins this network instead of the real one."""
        return self.tor.known_authority + "".join(
            f"{line}\n" for line in COMMON.splitlines() if not line.startswith("Log ")
        )

    def receive(self, subject: str, timeout: float) -> EmailMessage:
        """Return the message with this subject that the other server gets.

        Raises:
            NoMessageError: it does not come.
        """
        while True:
            try:
                message = self._received.get(timeout=timeout)
            except Empty:
                raise NoMessageError(f"the onion MX of {REMOTE} has not got {subject!r} within {timeout:g} s") from None
            if message["Subject"] == subject:
                return message

    def arrived(self, subjects: Iterable[str]) -> dict[str, float]:
        """When each of these came first, by the monotonic clock."""
        return {subject: self._times[subject] for subject in subjects if subject in self._times}

    def copies(self, subject: str) -> int:
        """How many messages with this subject the other server has got."""
        return self._copies[subject]

    def _take(self, message: EmailMessage) -> None:
        self._copies[str(message["Subject"])] += 1
        self._times.setdefault(str(message["Subject"]), time.monotonic())
        self._received.put(message)

    def send(self, onion: str, recipient: str, subject: str) -> None:
        """Send a message through the onion service of the machine."""
        with _OnionSmtp(self.tor.client.socks, onion) as client:
            client.sendmail(f"bob@{REMOTE}", [recipient], f"Subject: {subject}\n\nHello.\n")


class _OnionSmtp(smtplib.SMTP):
    def __init__(self, proxy: tuple[str, int], onion: str) -> None:
        self._proxy = proxy
        super().__init__(onion, 25, local_hostname=f"mail.{REMOTE}", timeout=120)

    def _get_socket(self, host: str, port: int, timeout: float) -> socket.socket:
        return socks_connect(self._proxy, host, port, timeout)


class _Handler:
    def __init__(self, take: Callable[[EmailMessage], None]) -> None:
        self._take = take

    async def handle_DATA(self, server: SMTP, session: Session, envelope: Envelope) -> str:  # noqa: N802
        """Take the message (the name is aiosmtpd's)."""
        del server, session
        content = envelope.content if isinstance(envelope.content, bytes) else b""
        message = message_from_bytes(content, policy=policy.default)
        self._take(message)
        return "250 2.0.0 taken"


class _Server(Controller):
    def __init__(self, take: Callable[[EmailMessage], None], host: str, port: int) -> None:
        super().__init__(_Handler(take), hostname=host, port=port)


@contextmanager
def _held(ports: range) -> Iterator[None]:
    """Keep others from these ports."""
    with ExitStack() as sockets:
        for port in ports:
            sockets.enter_context(socket.socket(socket.AF_INET, socket.SOCK_STREAM)).bind(("127.0.0.1", port))
        yield
