"""tor's SOCKS port by the name of its host: a message goes out through it."""

import os
import re
import smtplib
import subprocess
from pathlib import Path

import pytest

from .conftest import skip_without
from .daemon import wait_until
from .exim import ONION_CLIENTS
from .postfix import Postfix
from .relay import ONIONMX, Relay
from .relay_site import PostfixSender
from .tor_network import TorNetwork

SENDER, RECEIVER = "sender.example", "receiver.example"
MESSAGE = f"From: <alice@{SENDER}>\r\nSubject: by name\r\n\r\nHello\r\n".encode()


def test_a_message_through_the_socks_port_of_localhost(tor_network: TorNetwork, tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("Postfix's master runs as root only")
    skip_without("postqueue", "postmap", "setpriv")
    with Postfix(tmp_path / "mx", RECEIVER) as mx:
        onion = tor_network.add_onion_service({25: (ONION_CLIENTS, mx.port)})
        try:
            relay = Relay(tmp_path / "relay", ("localhost", tor_network.client.socks[1]))
            relay.publish({RECEIVER: onion})
            with relay, PostfixSender(tmp_path / "postfix", SENDER, relay) as sender:
                tor_network.client.wait_until_reachable(onion)
                sender.submit(f"alice@{SENDER}", [f"bob@{RECEIVER}"], MESSAGE)
                [copy] = mx.wait_for_delivered(1)
                assert b"Subject: by name\n" in copy
                wait_until(lambda: "status=sent (250 2.0.0 onion-mx said:" in sender.log_text(), "its log")
                assert not sender.sent_over_clearnet()
        finally:
            tor_network.remove_onion_service(onion)


@pytest.mark.parametrize("workers", ["1", "2"])
def test_a_host_that_cannot_be_found_ends_the_start(tmp_path: Path, workers: str) -> None:
    relay = Relay(tmp_path / "relay", ("nosuch.invalid", 9050), [f"workers = {workers}"])
    ended = subprocess.run(
        [ONIONMX, "relay", "--config", relay.configuration], check=False, capture_output=True, text=True, timeout=120
    )
    assert ended.returncode == 75
    assert re.fullmatch(r"onionmx: tor\.socks: host nosuch\.invalid[: ].*\n", ended.stderr)


def test_a_reload_without_the_host_leaves_all_as_it_was(tmp_path: Path) -> None:
    with Relay(tmp_path / "relay", ("localhost", 1)) as relay:
        text = relay.configuration.read_text()
        relay.configuration.write_text(text.replace("localhost:1", "nosuch.invalid:1"))
        relay.reload()
        old = "the new configuration cannot be used, the old one stays: tor.socks: host nosuch.invalid"
        wait_until(lambda: old in relay.log_text(), old)
        with smtplib.SMTP(*relay.smtp) as session:
            assert session.ehlo()[0] == 250
