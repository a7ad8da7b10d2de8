"""The whole job on one machine: name servers, a sending Exim, and an onion MX behind a real onion service."""

import subprocess
import sys
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from .exim import ONION_CLIENTS, Exim
from .name_servers import NameServers, Zone
from .tor_network import TorNetwork

SENDER = "sender.test"
DOMAIN = "example.test"
UNSIGNED = "unsigned.test"
WITHOUT = "without.test"
PROGRAMS = Path(sys.executable).parent


class Site:
    """A private network's two mail servers and its DNS; `start` needs a Tor network that runs.

    Args:
        tor: the private Tor network.
        folder: a new folder for everything but the Tor network.
    """

    def __init__(self, tor: TorNetwork, folder: Path) -> None:
        self.tor = tor
        self.folder = folder
        self.map = folder / "onionmx.cdb"
        self.domains = folder / "domains"
        self.configuration = folder / "onionmx.toml"
        self._started = ExitStack()

    def start(self) -> Self:
        """Start both servers and DNS, and publish the onion service; the map is not written yet."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        macros = {"MAIN_LOCAL_DOMAINS": f"@ : {UNSIGNED}", "MAILBOXES": "user"}
        self.receiver = self._started.enter_context(Exim(self.folder / "receiver", DOMAIN, macros))
        self.onion = self.tor.add_onion_service({25: (ONION_CLIENTS, self.receiver.port)})
        self._started.callback(self.tor.remove_onion_service, self.onion)
        self.record = f"_onion-mx._tcp 3600 SRV 0 5 25 {self.onion}."
        self.dns = self._started.enter_context(
            NameServers(
                {
                    DOMAIN: Zone(self.record, signed=True),
                    UNSIGNED: Zone(self.record),
                    WITHOUT: Zone("@ MX 10 mail"),
                }
            )
        )
        self.sender = self._started.enter_context(
            Exim(
                self.folder / "sender",
                SENDER,
                {
                    "ONIONMX_HELPER": str(PROGRAMS / "onionmx-route"),
                    "ONIONMX_MAP": str(self.map),
                    "ONIONMX_DNSPORT": "{}:{}".format(*self.tor.client.dnsport),
                    "ONIONMX_SOCKS": "{} port={}".format(*self.tor.client.socks),
                },
            )
        )
        self._configure()
        self.tor.client.wait_until_reachable(self.onion)

    def _configure(self) -> None:
        self.domains.write_text(f"{DOMAIN}\n{UNSIGNED}\n{WITHOUT}\n")
        self.configuration.write_text(
            f'[map]\npath = "{self.map}"\n\n'
            f'[dns]\nnameservers = ["{"{}:{}".format(*self.dns.resolver)}"]\nretry_delay = 0\n\n'
            f'[sync]\ndomains = ["{self.domains}"]\npins = "{self.folder}/pins"\n'
        )
        (self.folder / "pins").touch()

    def close(self) -> None:
        """Stop everything that was started here."""
        self._started.close()

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def onionmx(self, *words: str) -> subprocess.CompletedProcess[str]:
        """Run the `onionmx` command with the configuration of this site."""
        environment = {"ONIONMX_CONFIG": str(self.configuration)}
        command: list[str | Path] = [PROGRAMS / "onionmx", *words]
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def route(self, domain: str) -> subprocess.CompletedProcess[str]:
        """Run the route helper as the sending Exim does."""
        dnsport = "{}:{}".format(*self.tor.client.dnsport)
        command: list[str | Path] = [PROGRAMS / "onionmx-route", "--map", self.map, "--dnsport", dnsport, domain]
        return subprocess.run(command, capture_output=True, text=True, check=False)
