"""Postfix whose transport_maps ask the lookup daemon, with the relay and an onion MX behind a stand-in for tor."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path
from signal import SIGCONT, SIGSTOP
from types import TracebackType
from typing import Self

import pytest

from tests.mapfile.maps import A

from .conftest import StartNameServers, skip_without
from .daemon import Daemon, free_ports, wait_until
from .exim import Exim
from .name_servers import NameServers, Zone
from .postfix import Postfix, documented, section
from .programs import PROJECT
from .relay import LOOPBACK, Relay
from .serve_site import Serve

SENDER = "sender.example"
MAPPED = "mapped.example"
LIVE = "live.example"
UNASKED = "unasked.example"
WITHOUT = "without.example"
MESSAGE = b"From: <carol@sender.example>\r\nSubject: a test\r\n\r\nHello\r\n"
RECOVERY = 300.0
"""Seconds until a message has arrived that was deferred; one look into a tcp_table that is not there takes 10."""
DOCUMENT = PROJECT / "docs" / "lookups.md"
DOCUMENTED = "socketmap:inet:127.0.0.1:10027:transport"
"""The daemon in the document."""
RECORD = f"_onion-mx._tcp 3600 SRV 0 5 25 {A}."


@pytest.fixture(scope="module")
def dns(name_servers: StartNameServers) -> NameServers:
    return name_servers({LIVE: Zone(RECORD), UNASKED: Zone(RECORD), WITHOUT: Zone("@ MX 10 mail")})


class Site:
    """Postfix, the daemon, the relay, and a server to which every onion leads.

    Args:
        folder: a new folder.
        table: the last of transport_maps, with the ports of the daemon to be filled in; local domains are in front of
            it as docs/lookups.md has them.
        dns: name servers that run.
    """

    def __init__(self, folder: Path, table: str, dns: NameServers) -> None:
        socks, control = free_ports(2)
        local_domains = f"@ : {MAPPED} : {LIVE} : {UNASKED}"
        macros = {"MAIN_LOCAL_DOMAINS": local_domains}
        self.onion_mx = Exim(folder / "exim", "mx.example", macros)
        arguments = [str(port) for port in (socks, control, self.onion_mx.port)]
        command = [sys.executable, "-m", "tests.bench.socks_proxy", *arguments]
        self._socks = Daemon("socks_proxy", command, folder, {"PYTHONPATH": str(PROJECT)})
        self._control = control
        resolver = "{}:{}".format(*dns.resolver)
        live = (f'[dns]\nnameservers = ["{resolver}"]', "[lookup]\nlive = true")
        self.relay = Relay(folder / "relay", (LOOPBACK, socks), live)
        self.relay.publish({MAPPED: A})
        own = f'[local]\ndomains = ["{SENDER}"]'
        self.serve = Serve(folder / "serve", dns.resolver, (own,), f"smtp:[{LOOPBACK}]:{self.relay.smtp[1]}")
        self.serve.publish({MAPPED: A, SENDER: A})
        values = {r"example\.org": SENDER.replace(".", r"\."), DOCUMENTED: table.format(self.serve)}
        main = documented(section(DOCUMENT.read_text(), "Postfix"), values)["/etc/postfix/main.cf"]
        self.postfix = Postfix(folder / "postfix", SENDER, main, "smtp unix - - n - - smtp\n")
        self._started = ExitStack()

    def submit(self, *recipients: str) -> None:
        """Hand Postfix a message."""
        self.postfix.submit(f"carol@{SENDER}", recipients, MESSAGE)

    def reply_to(self, recipient: str) -> int:
        """Say RCPT to Postfix; return the code of its reply."""
        with self.postfix.connect() as session:
            session.mail(f"carol@{SENDER}")
            return session.rcpt(recipient)[0]

    def wait_for_onion_mail(self, *recipients: str) -> None:
        """Wait until all these have a copy, and see that nobody has two."""
        for recipient in recipients:
            self.onion_mx.wait_for_log(rf"=> \w+ <{recipient}>")
        assert len(self.onion_mx.delivered()) == len(recipients)

    def __enter__(self) -> Self:
        try:
            self._started.enter_context(self._socks)
            self._socks.wait_for_port(LOOPBACK, self._control)
            for server in (self.onion_mx, self.relay, self.serve, self.postfix):
                self._started.enter_context(server)
        except BaseException:
            self._started.close()
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._started.close()


TABLES = {
    "socketmap": f"socketmap:inet:{LOOPBACK}:{{0.socketmap[1]}}:onionmx",
    "tcp_table": f"tcp:{LOOPBACK}:{{0.tcp_table[1]}}",
}


@pytest.fixture(params=TABLES)
def site(request: pytest.FixtureRequest, dns: NameServers, tmp_path: Path) -> Iterator[Site]:
    if os.geteuid():
        pytest.skip("Postfix's master runs as root only")
    skip_without("postqueue", "exim4", "setpriv")
    with Site(tmp_path, TABLES[request.param], dns) as site:
        yield site


def test_each_mail_goes_its_way(site: Site) -> None:
    onion_mail = (f"alice@{MAPPED}", f"alice@{LIVE}")
    site.submit(*onion_mail, f"alice@{WITHOUT}", "alice@nowhere.example", f"alice@sub.{LIVE}", f"alice@{SENDER}")
    for recipient in onion_mail:
        relay = rf"relay=127\.0\.0\.1\[127\.0\.0\.1\]:{site.relay.smtp[1]}"
        site.postfix.wait_for_log(rf"smtp\[\d+\]: \w+: to=<{recipient}>, {relay}, .*status=sent .*onion-mx said")
    site.wait_for_onion_mail(*onion_mail)
    assert len(site.postfix.wait_for_delivered(1)) == 1
    others = [f"alice@{WITHOUT}", "alice@nowhere.example", f"alice@sub.{LIVE}"]
    wait_until(lambda: sorted(site.postfix.sent_over_clearnet()) == sorted(others), "the mail for other domains")
    assert site.postfix.queue() == []


def test_mail_waits_while_dns_fails(site: Site, dns: NameServers) -> None:
    assert site.reply_to(f"alice@{LIVE}") == 250
    dns.stop_authority()
    try:
        dns.flush(".")
        assert site.reply_to(f"alice@{UNASKED}") == 451
        # Known from before, and from the map.
        site.submit(f"alice@{LIVE}", f"alice@{MAPPED}")
    finally:
        dns.start_authority()
    # smtpd(8) remembers for a while that it could not resolve an address.
    site.submit(f"bob@{UNASKED}")
    site.postfix.wait_for_log(rf"to=<bob@{UNASKED}>.*status=sent .*onion-mx said")
    # The relay has a cache of its own, and asked DNS when there was none.
    site.postfix.flush()
    site.wait_for_onion_mail(f"alice@{LIVE}", f"alice@{MAPPED}", f"bob@{UNASKED}")
    assert site.postfix.sent_over_clearnet() == []


def test_mail_waits_while_the_daemon_is_stopped(site: Site) -> None:
    site.relay.stop()
    site.submit(f"alice@{LIVE}")
    site.postfix.wait_for_log(rf"to=<alice@{LIVE}>.*status=deferred .*Connection refused")
    site.serve.stop()
    # Postfix would use the answer that it has for a while, and processes that are busy outlive a reload.
    site.postfix.run("postfix", "reload")
    for recipient in (f"alice@{LIVE}", f"bob@{WITHOUT}"):
        wait_until(lambda to=recipient: site.reply_to(to) == 451, f"{recipient} is deferred", RECOVERY)  # type: ignore[misc]
    site.submit(f"alice@{SENDER}", f"bob@{SENDER.upper()}")
    assert len(site.postfix.wait_for_delivered(2)) == 2, "mail for local domains does not need the daemon"
    site.postfix.flush()
    site.postfix.wait_for_log(rf"to=<alice@{LIVE}>.*status=deferred \((address resolver failure|.*lookup)")
    site.relay.start()
    site.serve.start()

    def arrives() -> bool:
        site.postfix.flush()  # again and again: qmgr(8) remembers for a moment that it could not resolve an address
        return bool(site.onion_mx.delivered())

    wait_until(arrives, "the message", RECOVERY)
    site.wait_for_onion_mail(f"alice@{LIVE}")
    assert site.postfix.sent_over_clearnet() == []


def received(session: socket.socket) -> bytes:
    """Return all that comes until it is silent."""
    answers = b""
    with suppress(TimeoutError):
        while answer := session.recv(4096):
            answers += answer
    return answers


def test_mail_waits_while_the_daemon_hangs(site: Site) -> None:
    site.serve.daemon.signal(SIGSTOP)
    with closing(site.postfix.connect()) as session:
        assert session.sock is not None
        session.sock.settimeout(3)
        session.sock.sendall(f"MAIL FROM:<carol@{SENDER}>\r\nRCPT TO:<alice@{LIVE}>\r\n".encode())
        assert received(session.sock) == b"", "the replies of a group come together, and RCPT has none yet"
    site.serve.daemon.signal(SIGCONT)
    site.submit(f"alice@{LIVE}")
    site.wait_for_onion_mail(f"alice@{LIVE}")
    assert site.postfix.sent_over_clearnet() == []
