"""A host with an onion service of its own for mail, and a sender's tor and relay, both on the private Tor network."""

import smtplib
from contextlib import ExitStack
from getpass import getuser
from pathlib import Path
from types import TracebackType
from typing import Self

from onionmx.cli import main

from .exim import ONION_CLIENTS, Exim
from .relay import Relay
from .tor_network import TorNetwork
from .tor_node import ControlledTor, OnionServiceHost, TorClient

DOMAIN = "private.example"
SENDER = "alice@sender.example"
MESSAGE = f"From: <{SENDER}>\r\nSubject: private\r\n\r\nHello\r\n".encode()


class Machine:
    """A tor, and the configuration of the onionmx beside it."""

    def __init__(self, tor: ControlledTor, folder: Path, forward: str) -> None:
        self.tor = tor
        self.torrc = tor.folder / "torrc"
        self.directory = tor.folder / "onion-mx"
        self.configuration = folder / f"{tor.daemon.name}.toml"
        host, port = tor.control
        self.configuration.write_text(
            f'[tor]\ncontrol = "{host}:{port}"\nuser = "{getuser()}"\ntorrc = "{self.torrc}"\n'
            f'[onion]\ndirectory = "{self.directory}"\nforward = "{forward}"\n'
        )

    def run(self, *words: str) -> int:
        """Run `onionmx onion` with its configuration."""
        return main(["onion", words[0], "--config", str(self.configuration), *words[1:]])


class PrivateSite:
    """The two machines.

    Args:
        network: a private Tor network that runs.
        folder: a new folder.
    """

    def __init__(self, network: TorNetwork, folder: Path) -> None:
        self.network = network
        self.folder = folder
        self._started = ExitStack()

    def __enter__(self) -> Self:
        """Start tor on both, and an Exim that receives."""
        try:
            self.exim = self._started.enter_context(Exim(self.folder / "exim", DOMAIN))
            torrc = self.network.known_authority
            self.host_tor = OnionServiceHost("host", self.folder / "host", f"{torrc}SocksPort 0\n")
            flags = ("ExtendedErrors", "OnionTrafficOnly")
            self.sender_tor = TorClient("sender", self.folder / "sender", torrc, flags)
            for tor in (self.host_tor, self.sender_tor):
                self._started.callback(tor.stop)
                tor.start()
            self.host_tor.wait_until_bootstrapped()
            self.host = Machine(self.host_tor, self.folder, f"{ONION_CLIENTS}:{self.exim.port}")
            self.sender = Machine(self.sender_tor, self.folder, f"{ONION_CLIENTS}:{self.exim.port}")
        except BaseException:
            self._started.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop everything."""
        self._started.close()

    def start_relay(self, onion: str) -> None:
        """Start the sender's relay, with the onion in its map."""
        self.relay = Relay(self.folder / "relay", self.sender_tor.socks)
        self.relay.publish({DOMAIN: onion})
        self._started.enter_context(self.relay)

    def restart_relay(self) -> None:
        """Have it forget what it knows of the onion."""
        self.relay.stop()
        self.relay.start()

    def send(self) -> tuple[int, str]:
        """Hand a message to the relay; return code and text of its reply, to RCPT or to the message."""
        with smtplib.SMTP(*self.relay.smtp, timeout=300) as client:
            client.ehlo("sender.example")
            client.mail(SENDER)
            code, text = client.rcpt(f"bob@{DOMAIN}")
            if code == 250:
                code, text = client.data(MESSAGE)
        return code, text.decode()
