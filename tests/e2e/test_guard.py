"""The inbound guard with real MTAs, set up as docs/guard.md has it: what they tell it, and what becomes of its answers.

| | |
|---|---|
| clients | sessions that begin with tor's PROXY line |
| MTA | Postfix, Exim |
| guard | a process, or something else in its place |
"""

import os
import smtplib
import socketserver
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.guard.daemon import GuardProcess

from .daemon import free_ports
from .exim import Exim
from .guarded import guarded_exim, guarded_postfix
from .postfix import Postfix
from .receiving import DOMAIN
from .socks import Address
from .tcp_server import tcp_server
from .test_receiving import CIRCUIT, MESSAGE, OTHER_CIRCUIT, Session

pytestmark = pytest.mark.skipif(bool(os.geteuid()), reason="Postfix's master runs as root only")

Mta = Postfix | Exim
MAKE: dict[str, Callable[[Path, Address], Mta]] = {"postfix": guarded_postfix, "exim": guarded_exim}
SENDER = "carol@elsewhere.example"
REFUSED = 'onionmx_guard_refused_total{limit="%s"}'


@contextmanager
def guarded(name: str, folder: Path, **limits: str) -> Iterator[tuple[Mta, GuardProcess]]:
    guard = GuardProcess(folder / "guard", **limits)
    with MAKE[name](folder / "mta", guard.address) as mta:
        guard.start()
        try:
            yield mta, guard
        finally:
            guard.daemon.stop()


def session(mta: Mta, circuit: str = CIRCUIT) -> Session:
    return Session(("127.0.0.2", mta.port), circuit)


@pytest.mark.parametrize("name", MAKE)
def test_too_many_connections_are_answered_421_and_other_circuits_are_not(name: str, tmp_path: Path) -> None:
    with guarded(name, tmp_path, connections_per_minute="3") as (mta, guard):
        for _ in range(3):
            with session(mta) as client:
                client.noop()
        with pytest.raises(smtplib.SMTPConnectError) as refused:
            session(mta)
        assert refused.value.smtp_code == 421
        assert b"too many connections over this circuit" in refused.value.smtp_error
        with session(mta, OTHER_CIRCUIT) as client:
            client.sendmail(SENDER, f"alice@{DOMAIN}", MESSAGE)
        mta.wait_for_delivered(1)
        assert guard.metrics()[REFUSED % "connections"] == 1
        assert "fc00" not in guard.daemon.log_text()


@pytest.mark.parametrize("name", MAKE)
@pytest.mark.parametrize("foreign", ["nobody@" + DOMAIN, "victim@elsewhere.example"])
def test_refused_recipients_count_and_accepted_ones_do_not(name: str, foreign: str, tmp_path: Path) -> None:
    with guarded(name, tmp_path, refused_recipients_per_minute="4") as (mta, guard):
        with session(mta) as client:
            for _ in range(8):
                client.sendmail(SENDER, [f"alice@{DOMAIN}", f"bob@{DOMAIN}"], MESSAGE)
            client.mail(SENDER)
            assert {client.rcpt(foreign)[0] for _ in range(4)} <= {550, 554}
            code, text = client.rcpt(f"alice@{DOMAIN}")
            assert code == 421, text
            assert b"too many refused recipients over this circuit" in text
            if name == "postfix":  # Exim ends a session by itself only at its beginning
                with pytest.raises(smtplib.SMTPServerDisconnected):
                    client.noop()
        assert guard.metrics()[REFUSED % "refused_recipients"] == 1


@pytest.mark.parametrize("name", MAKE)
def test_message_beyond_the_bytes_is_taken_and_the_next_is_refused(name: str, tmp_path: Path) -> None:
    with guarded(name, tmp_path, bytes_per_hour="5000") as (mta, guard):
        with session(mta) as client:
            client.sendmail(SENDER, f"alice@{DOMAIN}", MESSAGE + b"x" * 72 + b"\r\n")
            client.sendmail(SENDER, f"alice@{DOMAIN}", MESSAGE + (b"x" * 72 + b"\r\n") * 100)
            client.mail(SENDER)
            assert client.rcpt(f"alice@{DOMAIN}")[0] == 421
        assert len(mta.wait_for_delivered(2)) == 2
        assert guard.metrics()[REFUSED % "bytes"] == 1


def test_exim_tells_of_sessions_that_end_by_an_error(tmp_path: Path) -> None:
    with guarded("exim", tmp_path, errors_per_minute="2") as (mta, guard):
        for _ in range(3):
            session(mta).close()
        name = 'onionmx_guard_requests_total{answer="passed"}'
        guard.daemon.wait_until(lambda: guard.metrics()[name] == 6, "three connections and their ends")
        with pytest.raises(smtplib.SMTPConnectError, match="too many errors over this circuit"):
            session(mta)


class Hostile(socketserver.BaseRequestHandler):
    """Permits everything."""

    def handle(self) -> None:
        while self.request.recv(65536):
            self.request.sendall(b"action=OK\n\n")


class Mute(socketserver.BaseRequestHandler):
    """Hangs up in the middle of its answer."""

    def handle(self) -> None:
        self.request.recv(65536)
        self.request.sendall(b"action=421 4.7")


@pytest.mark.parametrize("name", MAKE)
def test_what_is_in_the_place_of_the_guard_makes_no_open_relay(name: str, tmp_path: Path) -> None:
    with tcp_server(Hostile) as address, MAKE[name](tmp_path / "mta", address) as mta, session(mta) as client:
        client.mail(SENDER)
        assert client.rcpt("victim@elsewhere.example")[0] in {550, 554}
        assert client.rcpt(f"alice@{DOMAIN}")[0] == 250


@pytest.mark.parametrize("name", MAKE)
def test_no_fault_of_the_guard_refuses_mail(name: str, tmp_path: Path) -> None:
    [port] = free_ports(1)
    with MAKE[name](tmp_path / "absent", ("127.0.0.1", port)) as mta, session(mta) as client:
        client.sendmail(SENDER, f"alice@{DOMAIN}", MESSAGE)
        mta.wait_for_delivered(1)
    with tcp_server(Mute) as address, MAKE[name](tmp_path / "mute", address) as mta, session(mta) as client:
        client.sendmail(SENDER, f"alice@{DOMAIN}", MESSAGE)
        mta.wait_for_delivered(1)
