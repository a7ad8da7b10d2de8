"""`onionmx serve` as a process, and the MTAs that ask it, with the configuration that a test gives them."""

import urllib.request
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from onionmx.mapfile.write import publish

from .daemon import Daemon, free_ports
from .programs import PROJECT
from .relay import LOOPBACK, ONIONMX
from .socks import Address
from .tor_node import TorNode

if TYPE_CHECKING:
    from onionmx.onion import Endpoint

EXIM = PROJECT / "exim"


class Serve:
    """The lookup daemon, answering all its protocols on loopback.

    Args:
        folder: a new folder for its map, cache and configuration.
        resolver: asked for domains that are not in the map; `None` for no live lookups.
        options: more lines of its configuration, as TOML; the first ones belong to the table [serve].
        result: what Postfix is told of a domain with a route.
    """

    def __init__(
        self,
        folder: Path,
        resolver: Address | None = None,
        options: Sequence[str] = (),
        result: str = f"onion:inet:{LOOPBACK}:10026",
    ) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        self.map = folder / "onionmx.cdb"
        self.socketmap, self.tcp_table, self.readsocket, self.http = ((LOOPBACK, port) for port in free_ports(4))
        self.configuration = folder / "onionmx.toml"
        live = resolver is not None
        host, port = resolver or (LOOPBACK, 9)
        (folder / "pins").touch()
        self._lines = [
            f'map.path = "{self.map}"',
            f'sync.pins = "{folder}/pins"',
            f'dns.nameservers = ["{host}:{port}"]',
            "dns.timeout = 30",
            f"lookup.live = {str(live).lower()}",
            "[serve]",
            f'control = "{folder}/control"',
            f'cache_path = "{folder}/cache"',
            f'result = "{result}"',
        ]
        for name in ("socketmap", "tcp_table", "readsocket", "http"):
            host, port = getattr(self, name)
            self._lines.append(f'{name}_listen = ["{host}:{port}"]')
        self.configure(options)
        (folder / "pins").touch()
        self.publish({})
        self.command: list[str | Path] = [ONIONMX, "serve", "--config", self.configuration]
        self.daemon = Daemon("serve", self.command, folder)

    def configure(self, options: Sequence[str]) -> None:
        """Write the configuration with these lines at its end."""
        self.configuration.write_text("".join(f"{line}\n" for line in (*self._lines, *options)))

    def publish(self, routes: Mapping[str, str]) -> None:
        """Write the map: domains and their onion."""
        entries: dict[str, tuple[Endpoint, ...]] = {domain: ((onion, 25),) for domain, onion in routes.items()}
        publish(self.map, entries)

    def start(self) -> Self:
        """Start it and wait until it answers."""
        self.daemon.start()
        self.daemon.wait_for_log("lookups ready")
        return self

    def stop(self) -> None:
        """Stop it as an operator does."""
        self.daemon.stop()

    def metrics(self) -> dict[str, float]:
        """Return all samples of /metrics, by name and labels as they are written there."""
        with urllib.request.urlopen(f"http://{self.http[0]}:{self.http[1]}/metrics") as response:
            lines = response.read().decode().splitlines()
        samples = (line.rpartition(" ") for line in lines if not line.startswith("#"))
        return {name: float(value) for name, _, value in samples}

    def log_text(self) -> str:
        """Return its log, of all its runs."""
        return self.daemon.log.read_text(errors="replace")

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()


@contextmanager
def dnsport(folder: Path) -> Iterator[Address]:
    """Run a tor that maps names, which needs no network, and give the address of its DNSPort."""
    address = LOOPBACK, free_ports(1)[0]
    torrc = (
        f"SocksPort 0\nDNSPort {address[0]}:{address[1]}\nAutomapHostsOnResolve 1\n"
        # An authority that does not exist: this tor asks nobody else.
        f"DirAuthority nobody orport=9 no-v2 v3ident={'0' * 40} {LOOPBACK}:9 {'0' * 40}\n"
    )
    tor = TorNode("naming", folder, torrc)
    tor.start()
    try:
        tor.daemon.wait_for_log("Opened DNS listener")
        yield address
    finally:
        tor.stop()


def fragments(folder: str) -> dict[str, str]:
    """Return the files of a folder of fragments under exim/, by section and name."""
    return {str(path.relative_to(EXIM / folder)): path.read_text() for path in (EXIM / folder).glob("*/*")}
