"""Two hosts that write to each other over Tor, one of which has an echo, set up as docs/selftest.md has it."""

import os
import pwd
import subprocess
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from tests.mapfile.maps import make_map

from .daemon import Daemon
from .exim import DEBIAN_LIKE, LOCAL_SENDERS, NOBODY, ONION_CLIENTS, Exim
from .postfix import documented, section
from .programs import PROJECT
from .site import PROGRAMS
from .tor_network import TorNetwork

SENDER = "tester.test"
ALICE = f"alice@{SENDER}"
RECEIVER = "echo.test"
CLEARNET = "clearnet.test"
"""A domain of the receiver for which the sender knows no onion."""
DOCUMENT = PROJECT / "docs" / "selftest.md"
VERIFIED = f"Authentication-Results: {RECEIVER}; dkim=pass header.d={SENDER}"
"""What a filter of the receiver says; a signature takes a key in DNS, and nobody here serves one."""
OUTSIDE = "127.0.0.3"
"""From where mail comes that does not come over Tor."""


DAEMON = """
daemon:
  driver = accept
  domains = +local_domains
  local_parts = daemon
  transport = onionmx_echo_lmtp
"""


class EchoSite:
    """The two servers; `start` needs a Tor network that runs.

    Args:
        tor: the private Tor network.
        folder: a new folder.
    """

    def __init__(self, tor: TorNetwork, folder: Path) -> None:
        self.tor = tor
        self.folder = folder
        self.memory = folder / "echo" / "echo.json"
        self.lmtp = folder / "lmtp"
        self._started = ExitStack()

    def start(self) -> Self:
        """Start everything, and wait until both can be reached over Tor."""
        try:
            self._start()
        except BaseException:
            self.close()
            raise
        return self

    def _start(self) -> None:
        self.folder.mkdir(exist_ok=True)
        self.folder.chmod(0o755)
        self.receiver = self._host(RECEIVER, {"MAIN_LOCAL_DOMAINS": f"@ : {CLEARNET}"}, self._echo_parts())
        user = pwd.getpwuid(os.geteuid() or NOBODY).pw_name
        self.sender = self._host(SENDER, {"MAILBOXES": f"alice : {user}"}, self._clearnet_parts())
        self.daemon = self._daemon()
        self.sender.write_command(self.sender.folder / "sendmail")
        self._write_sendmail_of_the_receiver()
        for mta, other in ((self.sender, self.receiver), (self.receiver, self.sender)):
            self._started.enter_context(mta)
            onion = self.tor.add_onion_service({25: (ONION_CLIENTS, mta.port)})
            self._started.callback(self.tor.remove_onion_service, onion)
            make_map(self._map(other.hostname), {mta.hostname: ((onion, 25),)})
            self._map(other.hostname).chmod(0o644)
            self.tor.client.wait_until_reachable(onion)

    def _write_sendmail_of_the_receiver(self) -> None:
        """A sendmail for what Exim runs, which is not root any more."""
        folder = self.receiver.folder
        program = folder / "sendmail"
        program.write_text(f'#!/bin/sh\nexec {folder}/exim4 -C {folder}/exim.conf "$@"\n')
        program.chmod(0o755)

    def _map(self, hostname: str) -> Path:
        return self.folder / f"{hostname}.cdb"

    def _host(self, hostname: str, macros: dict[str, str], parts: dict[str, str]) -> Exim:
        over_tor = {
            "ONIONMX_HELPER": str(PROGRAMS / "onionmx-route"),
            "ONIONMX_MAP": str(self._map(hostname)),
            "ONIONMX_DNSPORT": "{}:{}".format(*self.tor.client.dnsport),
            "ONIONMX_SOCKS": "{} port={}".format(*self.tor.client.socks),
        }
        return Exim(self.folder / hostname, hostname, over_tor | macros, DEBIAN_LIKE | parts)

    def _echo_parts(self) -> dict[str, str]:
        """The blocks of the document, with the folders of the test, and Authentication-Results by Exim."""
        configuration = self.folder / "echo.toml"
        configuration.write_text(f'[map]\npath = "{self._map(RECEIVER)}"\n[sync]\npins = "{self.folder}/pins"\n')
        (self.folder / "pins").touch()
        self.memory.parent.mkdir()
        self.memory.parent.chmod(0o777)
        options = f"--config {configuration} --memory {self.memory} --sendmail {self.folder}/{RECEIVER}/sendmail"
        values = {
            "/usr/bin/onionmx echo": f"{PROGRAMS}/onionmx echo {options} --tor-address {LOCAL_SENDERS}",
            "user = onionmx-echo": "user = $exim_uid",
            "group = onionmx-echo": "group = $exim_gid",
        }
        before, _, after = section(DOCUMENT.read_text(), "Run an echo").partition("### Postfix")
        daemon = documented(after.partition("### As a daemon")[2], {"/run/onionmx-echo/lmtp": str(self.lmtp)})
        blocks = documented(before, values) | daemon
        return {path.removeprefix("/etc/exim4/conf.d/"): block for path, block in blocks.items()} | {
            "router/251_daemon": DAEMON,
            "main/50_data": "acl_smtp_data = acl_data\n",
            "acl/50_data": f"acl_data:\n  warn\n    add_header = :at_start:{VERIFIED}\n  accept\n",
        }

    def _daemon(self) -> Daemon:
        """The echo as a daemon, which hands answers over by SMTP; it is not started."""
        smtp = f"{LOCAL_SENDERS}:{self.receiver.port}"
        words = ("--config", self.folder / "echo.toml", "--memory", self.folder / "daemon.json", "--smtp", smtp)
        daemon = Daemon("echo", [PROGRAMS / "onionmx", "echo", "--lmtp", f"unix:{self.lmtp}", *words], self.folder)
        self._started.callback(daemon.stop)
        return daemon

    def start_daemon(self) -> None:
        """Start it, and wait until it listens."""
        self.daemon.start()
        self.daemon.wait_until(self.lmtp.exists, "its socket")

    def _clearnet_parts(self) -> dict[str, str]:
        hosts = f"{LOCAL_SENDERS}::{self.receiver.port}"
        router = DEBIAN_LIKE["router/200_primary"].replace(
            "driver = accept", f"driver = manualroute\n  self = send\n  route_list = * {hosts}"
        )
        transport = f"clearnet:\n  driver = smtp\n  interface = {OUTSIDE}\n"
        return {"router/200_primary": router, "transport/30_clearnet": transport}

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

    def selftest(self, address: str, *words: str, sender: str = ALICE) -> subprocess.CompletedProcess[str]:
        """Run the self-test on the sender, whose mail all goes to one Maildir; for no sender the MTA chooses one."""
        command: list[str | Path] = [PROGRAMS / "onionmx", "selftest", address, "--timeout", "200"]
        command += ["--from", sender] if sender else []
        command += ["--sendmail", self.sender.folder / "sendmail", "--mailbox", self.sender.folder / "mailbox"]
        return subprocess.run([*command, *words], capture_output=True, text=True, check=False)
