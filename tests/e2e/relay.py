"""`onionmx relay` as a process, with the configuration that a test gives it."""

import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from signal import SIGHUP, SIGKILL
from types import TracebackType
from typing import TYPE_CHECKING, Self

from onionmx.authenticate.proof.published import keeping_demands
from onionmx.mapfile.pins import format_seed
from onionmx.mapfile.write import publish

from .daemon import Daemon, free_ports
from .socks import Address

if TYPE_CHECKING:
    from onionmx.onion import Endpoint

LOOPBACK = "127.0.0.1"
ONIONMX = Path(sys.executable).with_name("onionmx")


class Relay:
    """The relay, listening for SMTP and LMTP on loopback.

    Args:
        folder: a new folder for its map and configuration.
        socks: tor's SOCKS port.
        options: more keys of the table [relay], as TOML.
        wrap: words in front of the command that runs it.
    """

    def __init__(self, folder: Path, socks: Address, options: Sequence[str] = (), *, wrap: Sequence[str] = ()) -> None:
        self.folder = folder
        folder.mkdir(parents=True)
        # For an Exim that runs as another user and reads the map.
        folder.chmod(0o755)
        self.map = folder / "onionmx.cdb"
        self.published = folder / "published"
        self.control = folder / "relay.sock"
        self.smtp, self.lmtp = ((LOOPBACK, port) for port in free_ports(2))
        self.configuration = folder / "onionmx.toml"
        lines = (
            f'[map]\npath = "{self.map}"\n[sync]\npins = "{folder}/pins"\n',
            f'[tor]\nsocks = "{socks[0]}:{socks[1]}"\n',
            f'[relay]\nsmtp_listen = ["{LOOPBACK}:{self.smtp[1]}"]\nlmtp_listen = ["{LOOPBACK}:{self.lmtp[1]}"]\n',
            f'hostname = "relay.sender.example"\ncontrol = "{self.control}"\n',
            *(f"{option}\n" for option in options),
        )
        self.configuration.write_text("".join(lines))
        (folder / "pins").touch()
        self._daemon = Daemon("relay", [*wrap, ONIONMX, "relay", "--config", self.configuration], folder)

    def publish(self, routes: Mapping[str, str]) -> None:
        """Write the map: domains and their onion."""
        entries: dict[str, tuple[Endpoint, ...]] = {domain: ((onion, 25),) for domain, onion in routes.items()}
        with keeping_demands(self.map, entries):
            publish(self.map, entries)
        self.published.write_text(format_seed(entries))

    def configure_map(self, table: str) -> None:
        """Add the lines of a table [map] to its configuration."""
        text = self.configuration.read_text()
        self.configuration.write_text(text.replace("[map]\n", f"{table.rstrip()}\n", 1))

    def start(self) -> Self:
        """Start it and wait until it listens."""
        self._daemon.start()
        self._daemon.wait_for_log("relay ready")
        return self

    def stop(self) -> None:
        """Stop it as an operator does."""
        self._daemon.stop()

    def reload(self) -> None:
        """Have it read its configuration again."""
        self._daemon.signal(SIGHUP)

    def kill(self) -> None:
        """Stop it with SIGKILL, in the middle of whatever it does."""
        self._daemon.signal(SIGKILL)
        self._daemon.stop()

    def log_text(self) -> str:
        """Return its log, of all its runs."""
        return self._daemon.log.read_text(errors="replace") if self._daemon.log.exists() else ""

    def __enter__(self) -> Self:
        """Start it."""
        return self.start()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Stop it."""
        self.stop()
