"""Two MTAs that send through the relay, and the same two programs as onion MXes, on one private Tor network."""

import subprocess
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from .exim import DEBIAN_LIKE, ONION_CLIENTS, Exim
from .postfix import Postfix, documented
from .programs import PROJECT
from .relay import ONIONMX, Relay
from .tor_network import TorNetwork

POSTFIX_SENDER = "postfix.sender.example"
EXIM_SENDER = "exim.sender.example"
POSTFIX_MX = "postfix.example"
EXIM_MX = "exim.example"

DOCUMENT = PROJECT / "docs" / "postfix.md"
FRAGMENTS = PROJECT / "exim" / "relay" / "conf.d"


def exim_parts() -> dict[str, str]:
    """Return the parts of an Exim that hands over to the relay: its fragments take the place of those for SOCKS."""
    fragments = {str(path.relative_to(FRAGMENTS)): path.read_text() for path in FRAGMENTS.glob("*/*")}
    # As with Debian, the rule for everything comes last.
    own = {"transport/30_onionmx_smtp": "", "retry/00_header": "begin retry\n", "retry/30_all": "* * F,1h,15m\n"}
    return DEBIAN_LIKE | own | fragments


class PostfixSender(Postfix):
    """A Postfix set up as `docs/postfix.md` has it, for the relay."""

    def __init__(  # noqa: PLR0913 -- what differs between tests
        self, folder: Path, hostname: str, relay: Relay, *, main: str = "", master: str = "", wrap: Sequence[str] = ()
    ) -> None:
        """Write the configuration, with more lines behind, and the table of domains from the relay's map."""
        self._relay = relay
        host, port = relay.lmtp
        values = {
            r"example\.org": hostname.replace(".", r"\."),
            "127.0.0.1:10026": f"{host}:{port}",
            "/var/lib/onionmx": str(relay.folder),
        }
        blocks = documented(DOCUMENT.read_text(), values)
        main, master = blocks["/etc/postfix/main.cf"] + main, blocks["/etc/postfix/master.cf"] + master
        super().__init__(folder, hostname, main, master, wrap=wrap)
        relay.configure_map(blocks["/etc/onionmx/onionmx.toml"])
        self.make_table()

    def make_table(self) -> None:
        """Let sync write map and table from what the relay's map was last given."""
        files = ("--config", self._relay.configuration, "--pins", self._relay.published)
        command: list[str | Path] = [ONIONMX, "sync", *files]
        subprocess.run(command, check=True, capture_output=True)


class RelaySite:
    """The servers, the relay between them, and the onion services.

    Args:
        tor: a private Tor network that runs.
        folder: a new folder.
    """

    def __init__(self, tor: TorNetwork, folder: Path) -> None:
        self.tor = tor
        self.folder = folder
        self._started = ExitStack()

    def start(self) -> Self:
        """Start everything."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        self.exim_mx = self._started.enter_context(Exim(self.folder / "exim-mx", EXIM_MX))
        self.postfix_mx = self._started.enter_context(Postfix(self.folder / "postfix-mx", POSTFIX_MX))
        self.routes = {
            EXIM_MX: self._publish(self.exim_mx.port),
            POSTFIX_MX: self._publish(self.postfix_mx.port),
        }
        self.relay = self._started.enter_context(Relay(self.folder / "relay", self.tor.client.socks))
        # The senders' local domains have onions too, as in a map that others share.
        own = dict.fromkeys((POSTFIX_SENDER, EXIM_SENDER), self.routes[EXIM_MX])
        self.relay.publish(self.routes | own)
        self.postfix = self._started.enter_context(PostfixSender(self.folder / "postfix", POSTFIX_SENDER, self.relay))
        self.exim = self._started.enter_context(
            Exim(self.folder / "exim", EXIM_SENDER, exim_macros(self.relay), exim_parts())
        )
        for onion in self.routes.values():
            self.tor.client.wait_until_reachable(onion)

    def _publish(self, port: int) -> str:
        onion = self.tor.add_onion_service({25: (ONION_CLIENTS, port)})
        self._started.callback(self.tor.remove_onion_service, onion)
        return onion

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


def exim_macros(relay: Relay) -> Mapping[str, str]:
    """Return what differs from the defaults of the fragments."""
    return {"ONIONMX_MAP": str(relay.map), "ONIONMX_RELAY_PORT": str(relay.lmtp[1])}
