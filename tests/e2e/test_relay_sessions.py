"""Sessions with MTAs as they are by default: what a peer of its own settings makes of many messages in a row.

smtplib ── onionmx relay ── stand-in for tor ── Exim, with the settings that its makers gave it
"""

import smtplib
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import pytest

from tests.onions import V3_ONION

from .conftest import skip_without
from .daemon import Daemon, free_ports
from .exim import DEBIAN_LIKE, LOCAL_SENDERS, ONION_CLIENTS, Exim
from .programs import PROJECT
from .receiving import DOMAIN, EXIM_PARTS, exim_receiver
from .relay import Relay
from .relay_site import exim_macros, exim_parts

MESSAGES = 25
"""Exim delivers at once only the first ten of a connection (smtp_accept_queue_per_connection)."""
MESSAGE = "From: <carol@sender.example>\r\nSubject: a test\r\n\r\nHello\r\n"
QUEUED = "no immediate delivery"


@contextmanager
def standing_in_for_tor(folder: Path, port: int) -> Iterator[tuple[str, int]]:
    """A SOCKS port behind which every onion leads to this port of 127.0.0.1."""
    socks, control = free_ports(2)
    command = [sys.executable, "-m", "tests.bench.socks_proxy", *map(str, (socks, control, port))]
    with Daemon("proxy", command, folder, {"PYTHONPATH": str(PROJECT)}) as proxy:
        proxy.wait_for_port("127.0.0.1", control)
        yield "127.0.0.1", socks


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Return a folder that an Exim of another user reaches."""
    skip_without("exim4", "setpriv")
    return tmp_path


def stock(folder: Path, parts: Mapping[str, str]) -> Exim:
    return Exim(folder, DOMAIN, {"ONIONMX_HELPER": "/bin/false"}, DEBIAN_LIKE | dict(parts))


def test_stock_exim_delivers_all_messages_of_the_relay_at_once(folder: Path) -> None:
    with (
        stock(folder / "exim", EXIM_PARTS["trusts-loopback"]) as exim,
        standing_in_for_tor(folder, exim.port) as socks,
        Relay(folder / "relay", socks) as relay,
    ):
        relay.publish({DOMAIN: V3_ONION})
        with smtplib.LMTP(*relay.lmtp) as session:
            for _ in range(MESSAGES):
                session.sendmail("carol@sender.example", [f"alice@{DOMAIN}"], MESSAGE)
        exim.wait_for_delivered(MESSAGES)
        assert QUEUED not in exim.log_text()


def test_exim_with_the_fragments_delivers_all_messages_of_a_connection_at_once(folder: Path) -> None:
    with exim_receiver(folder / "exim") as exim:
        with exim.connect(ONION_CLIENTS) as session:
            for _ in range(MESSAGES):
                session.sendmail("carol@sender.example", [f"alice@{DOMAIN}"], MESSAGE)
        exim.wait_for_delivered(MESSAGES)
        assert QUEUED not in exim.log_text()


def test_mail_waits_where_the_relay_does_not_know_the_mta(folder: Path) -> None:
    """A setting of ours is wrong: Exim bounces what is refused for good at the greeting."""
    relay = Relay(folder / "relay", (LOCAL_SENDERS, 9), ['clients = ["192.168.2.0/24"]'])
    relay.publish({"mapped.example": V3_ONION})
    with relay, Exim(folder / "exim", "sender.example", exim_macros(relay), exim_parts()) as exim:
        exim.submit("carol@sender.example", ["alice@mapped.example"], MESSAGE.encode())
        exim.wait_for_log(r"== alice@mapped\.example .*: 421 4\.7\.1 relay\.clients does not name this client")
        assert len(exim.queue()) == 1
        assert "** alice" not in exim.log_text()
        assert "421 4.7.1 relay.clients does not name this client" in relay.log_text()
