"""Messages that leave before the onion MX has said a word, to real ones as their makers set them up, over Tor."""

import os
import re
import smtplib
from collections.abc import Iterator
from pathlib import Path

import pytest

from .conftest import skip_without
from .exim import ONION_CLIENTS, Exim
from .postfix import Postfix
from .relay import Relay
from .relay_site import EXIM_MX, POSTFIX_MX
from .tor_network import TorNetwork

MESSAGE = "From: <carol@sender.example>\r\nSubject: {}\r\n\r\nHello\r\n"
SESSION = re.compile(r" session=(\w+) ")


@pytest.fixture
def onion_mx(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Exim | Postfix]:
    if os.geteuid():
        pytest.skip("Postfix's master runs as root only")
    skip_without("exim4", "postqueue", "postmap", "setpriv")
    started = Exim(tmp_path / "mx", EXIM_MX) if request.param == EXIM_MX else Postfix(tmp_path / "mx", POSTFIX_MX)
    with started:
        yield started


def sessions(relay: Relay) -> list[str]:
    """How each session came about, in the order of the messages."""
    return SESSION.findall(relay.log_text())


def send(relay: Relay, domain: str, count: int) -> None:
    """Send messages, each after a restart: what was announced has to be remembered, and no session is open."""
    for number in range(count):
        with relay, smtplib.LMTP(*relay.lmtp) as session:
            session.sendmail("carol@sender.example", [f"alice@{domain}"], MESSAGE.format(number))


@pytest.mark.parametrize("onion_mx", [EXIM_MX, POSTFIX_MX], indirect=True)
def test_what_each_takes_early(tor_network: TorNetwork, tmp_path: Path, onion_mx: Exim | Postfix) -> None:
    """Exim, which announces it, takes it before its greeting; Postfix takes it behind EHLO or is not tried again."""
    is_exim = isinstance(onion_mx, Exim)
    domain = EXIM_MX if is_exim else POSTFIX_MX
    onion = tor_network.add_onion_service({25: (ONION_CLIENTS, onion_mx.port)})
    try:
        tor_network.client.wait_until_reachable(onion)
        relay = Relay(tmp_path / "relay", tor_network.client.socks)
        relay.publish({domain: onion})
        send(relay, domain, 4)
    finally:
        tor_network.remove_onion_service(onion)
    # Postfix looks for what comes behind EHLO at the moment when it reads that: it may take one and refuse the next.
    expected = "new early early early" if is_exim else "new( early)*( new)*"
    assert re.fullmatch(expected, " ".join(sessions(relay))), sessions(relay)
    subjects = [re.findall(rb"^Subject: (\d)", message, re.MULTILINE) for message in onion_mx.wait_for_delivered(4)]
    assert sorted(subjects) == [[b"0"], [b"1"], [b"2"], [b"3"]], "none is lost, and none there twice"
    assert onion_mx.log_text().count("SMTP protocol synchronization") <= (0 if is_exim else 1)
