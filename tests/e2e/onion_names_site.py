"""An MTA in one of the documented set-ups, whose own resolver records every question."""

import re
import sys
from collections.abc import Callable, Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import Self

from onionmx.config import Configuration
from onionmx.mapfile.cdb import COULD_NOT_TELL
from onionmx.sync.build import Changes, write
from tests.mapfile.maps import A

from . import relay_site
from .daemon import Daemon, free_ports
from .dns_logger import DnsLogger
from .exim import DEBIAN_LIKE, Exim
from .postfix import Postfix, documented
from .programs import PROJECT
from .relay import LOOPBACK, ONIONMX, Relay
from .serve_site import Serve, dnsport, fragments

SENDER = "sender.example"
MAPPED_ONION = "mapped.onion"
WAITING = "waiting.example"
"""The map has a value for it that defers."""
MESSAGE = b"From: <carol@sender.example>\r\nSubject: a test\r\n\r\nHello\r\n"
CLEARNET = "router/200_primary"
DNSLOOKUP = {
    "main/02_trailing_dot": "strip_trailing_dot\n",
    CLEARNET: "primary:\n  driver = dnslookup\n  domains = ! +local_domains\n  transport = clearnet\n  no_more\n",
}
HELPER = DEBIAN_LIKE | DNSLOOKUP
RELAY = relay_site.exim_parts() | DNSLOOKUP
EXIM = {
    "exim, helper": HELPER,
    "exim, relay": RELAY,
    "exim, readsocket": HELPER | fragments("readsocket/conf.d"),
    "exim, readsocket and relay": RELAY | fragments("readsocket/relay/conf.d"),
}
POSTFIX = {
    "postfix, socketmap": f"socketmap:inet:{LOOPBACK}:{{socketmap}}:transport",
    "postfix, tcp_table": f"tcp:{LOOPBACK}:{{tcp_table}}",
}
TABLE = "postfix, table"
SETUPS = (*EXIM, TABLE, *POSTFIX)

_TO_THE_DNS = "default_transport = smtp\nsmtpd_error_sleep_time = 0\n"
_SMTP = "smtp unix - - n - - smtp\n"
_EXIM_OUTCOMES = {"=>": "sent", "->": "sent", "==": "deferred", "**": "refused"}
_POSTFIX_OUTCOMES = {"bounced": "refused"}


class OnionNamesSite:
    """The MTA, relay, lookup daemon, and a server to which every onion leads.

    Args:
        folder: a new folder.
        logger: the resolver of all of them.
        setup: one of SETUPS.
    """

    def __init__(self, folder: Path, logger: DnsLogger, setup: str) -> None:
        socks, control = free_ports(2)
        self._folder = folder
        self._tor = ExitStack()
        self._started = ExitStack()
        local_domains = f"@ : *.onion : {MAPPED_ONION}"
        self.onion_mx = Exim(folder / "mx", "mx.example", {"MAIN_LOCAL_DOMAINS": local_domains, "MAILBOXES": "*"})
        arguments = [str(port) for port in (socks, control, self.onion_mx.port)]
        command = [sys.executable, "-m", "tests.bench.socks_proxy", *arguments]
        self._socks = Daemon("socks_proxy", command, folder, {"PYTHONPATH": str(PROJECT)})
        self._control = control
        dns = f'[dns]\nnameservers = ["{logger.host}:53"]'
        self.relay = Relay(folder / "relay", (LOOPBACK, socks), (dns, "[lookup]\nlive = true"))
        self._setup = setup
        self._logger = logger
        self._socks_port = socks

    def _start(self) -> None:
        self._tor.enter_context(self._socks)
        self._socks.wait_for_port(LOOPBACK, self._control)
        host, port = self._tor.enter_context(dnsport(self._folder / "tor"))
        options = ("[tor]", f'dnsport = "{host}:{port}"')
        result = f"onion:inet:{LOOPBACK}:{self.relay.lmtp[1]}"
        self.serve = Serve(self._folder / "serve", self._logger.address, options, result)
        for maps in (self.relay, self.serve):
            maps.publish({MAPPED_ONION: A})
        macros = {
            "ONIONMX_HELPER": str(ONIONMX.with_name("onionmx-route")),
            "ONIONMX_MAP": str(self.relay.map),
            "ONIONMX_DNSPORT": f"{host}:{port}",
            "ONIONMX_SOCKS": f"{LOOPBACK} port={self._socks_port}",
            "ONIONMX_READSOCKET": f"inet:{LOOPBACK}:{self.serve.readsocket[1]}",
            "ONIONMX_RELAY_PORT": str(self.relay.lmtp[1]),
        }
        self.mta = self._make_mta(macros)
        for maps in (self.relay, self.serve):
            maps.publish({MAPPED_ONION: A, WAITING: COULD_NOT_TELL})
        if self._setup == TABLE:
            values = {MAPPED_ONION: A.encode(), WAITING: COULD_NOT_TELL.encode()}
            write(Configuration.load(self.relay.configuration).map, values, Changes())
        for server in (self.onion_mx, self.relay, self.serve, self.mta):
            self._started.enter_context(server)

    def _make_mta(self, macros: Mapping[str, str]) -> Exim | Postfix:
        folder, wrap = self._folder / "mta", self._logger.wrap
        if self._setup in EXIM:
            return Exim(folder, SENDER, macros, EXIM[self._setup], wrap=wrap)
        if self._setup == TABLE:
            return relay_site.PostfixSender(folder, SENDER, self.relay, main=_TO_THE_DNS, master=_SMTP, wrap=wrap)
        ports = {"socketmap": self.serve.socketmap[1], "tcp_table": self.serve.tcp_table[1]}
        main = f"transport_maps = {POSTFIX[self._setup].format(**ports)}\n{_TO_THE_DNS}"
        master = documented((PROJECT / "docs" / "postfix.md").read_text(), {})["/etc/postfix/master.cf"]
        return Postfix(folder, SENDER, main, master + _SMTP, wrap=wrap)

    @property
    def is_exim(self) -> bool:
        """Whether the MTA is Exim."""
        return self._setup in EXIM

    @property
    def waits_for_daemons(self) -> bool:
        """Whether the MTA has long to wait for one that is down, as Postfix with a tcp_table."""
        return self._setup == "postfix, tcp_table" and not self.serve.daemon.running

    def send(self, recipients: Sequence[str]) -> dict[str, str]:
        """Send a message; whether it was sent, deferred or refused, for each recipient.

        Args:
            recipients: with local parts that were never used before.
        """
        outcomes: dict[str, str] = {}
        with self.mta.connect() as session:
            session.command_encoding = "utf-8"
            session.mail(f"carol@{SENDER}", ["SMTPUTF8"])
            for recipient in recipients:
                code, _ = session.rcpt(recipient)
                if code // 100 != 2:
                    outcomes[recipient] = "deferred" if code // 100 == 4 else "refused"
            if len(outcomes) < len(recipients):
                session.data(MESSAGE)
        return outcomes | {each: self._outcome(each) for each in recipients if each not in outcomes}

    def _outcome(self, recipient: str) -> str:
        local_part = re.escape(recipient.partition("@")[0])
        if self.is_exim:
            return _EXIM_OUTCOMES[self.mta.wait_for_log(rf"(=>|->|==|\*\*) {local_part}[@ ]")[1]]
        status = self.mta.wait_for_log(rf"to=<{local_part}@.* status=(\w+)")[1]
        return _POSTFIX_OUTCOMES.get(status, status)

    def stop_tor(self) -> None:
        """Take tor away."""
        self._tor.close()

    def remove_maps(self) -> None:
        """Take all maps away."""
        for path in (self.relay.map, self.serve.map, self.relay.folder / "transport.cdb"):
            path.unlink(missing_ok=True)
        if isinstance(self.mta, Postfix):
            self.mta.run("postfix", "reload")

    def stop_daemons(self) -> None:
        """Take relay and lookup daemon away."""
        self.relay.stop()
        self.serve.stop()

    def __enter__(self) -> Self:
        try:
            self._start()
        except BaseException:
            self._close()
            raise
        return self

    def _close(self) -> None:
        self._started.close()
        self._tor.close()

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._close()


FAULTS: dict[str, Callable[[OnionNamesSite], None]] = {
    "tor is down": OnionNamesSite.stop_tor,
    "the maps are missing": OnionNamesSite.remove_maps,
    "the daemons are down": OnionNamesSite.stop_daemons,
}
