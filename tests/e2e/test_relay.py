"""Postfix and Exim through the relay to onion MXes, over a private Tor network."""

import os
import re
import subprocess
from collections.abc import Iterator
from uuid import uuid4

import pytest

from .conftest import skip_without
from .daemon import wait_until
from .exim import Exim
from .postfix import Postfix
from .relay_site import EXIM_MX, EXIM_SENDER, POSTFIX_MX, POSTFIX_SENDER, RelaySite
from .tor_network import TorNetwork

RECOVERY = 240.0
"""Seconds until a message that was deferred has arrived: once tor itself may try for its 120 in vain."""


@pytest.fixture(scope="module")
def site(tor_network: TorNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelaySite]:
    if os.geteuid():
        pytest.skip("Postfix's master runs as root only")
    skip_without("exim4", "postqueue", "postmap", "setpriv")
    with RelaySite(tor_network, tmp_path_factory.mktemp("relay-site")) as site:
        yield site


def new_message(sender: str) -> bytes:
    """Write a message with what servers have stumbled over, and every header that servers else add."""
    head = f"From: <carol@{sender}>\r\nTo: <alice@receiver.example>\r\nSubject: a test\r\n"
    head += f"Message-ID: <{uuid4()}@{sender}>\r\nDate: Sun, 22 Nov 2026 02:26:00 +0000\r\n"
    head += "X-Folded: one\r\n\ttwo  three\r\nx-Case:no blank\r\n"
    body = (
        ".\r\n..\r\n.dot\r\nFrom here\r\n" + "x" * 998 + "\r\nblanks  \r\n\u00fc\r\n\r\n" + "line\r\n" * 3000 + "\r\n"
    )
    return f"{head}\r\n{body}".encode()


def copies(receiver: Exim | Postfix) -> list[bytes]:
    """Return what the receiver has delivered, with CRLF, which Postfix's mailboxes do not hold."""
    if isinstance(receiver, Postfix):
        return [copy.replace(b"\n", b"\r\n") for copy in receiver.delivered()]
    return receiver.delivered()


def stored(receiver: Exim | Postfix, message: bytes) -> list[str]:
    """Return to whom the receiver has delivered exactly this message, under headers of the servers."""
    tops = (copy.removesuffix(message) for copy in copies(receiver) if copy.endswith(message))
    found = (re.findall(rb"^(?:Envelope-to|Delivered-To): (.*)\r$", top, re.MULTILINE) for top in tops)
    return sorted(recipient.decode() for recipients in found for recipient in recipients)


def wait_for_copies(receiver: Exim | Postfix, message: bytes, *recipients: str) -> None:
    """Wait until the receiver has delivered exactly this message, once to each of the recipients."""
    wait_until(lambda: stored(receiver, message) == list(recipients), f"the message, unchanged, for {recipients}")


def test_postfix_to_exim_unchanged(site: RelaySite) -> None:
    message = new_message(POSTFIX_SENDER)
    site.postfix.submit(f"carol@{POSTFIX_SENDER}", [f"alice@{EXIM_MX}"], message)
    site.postfix.wait_for_log(rf"onion/lmtp.* to=<alice@{EXIM_MX}>.* status=sent \(250.onion-mx said: .*250 OK id=")
    wait_for_copies(site.exim_mx, message, f"alice@{EXIM_MX}")


def test_exim_to_postfix_unchanged(site: RelaySite) -> None:
    message = new_message(EXIM_SENDER)
    site.exim.submit(f"carol@{EXIM_SENDER}", [f"alice@{POSTFIX_MX}"], message)
    site.exim.wait_for_log(rf"=> alice@{POSTFIX_MX} R=onionmx T=onionmx_relay .*250 2.0.0 onion-mx said: Ok: .* queued")
    wait_for_copies(site.postfix_mx, message, f"alice@{POSTFIX_MX}")
    # Exim ends its half of the session together with the message, and the reply must reach it even so.
    assert site.exim.queue() == []


def test_each_recipient_gets_its_own_result_from_postfix(site: RelaySite) -> None:
    message = new_message(POSTFIX_SENDER)
    names = ("alice", "nobody1", "bob")
    site.postfix.submit(f"carol@{POSTFIX_SENDER}", [f"{name}@{EXIM_MX}" for name in names], message)
    site.postfix.wait_for_log(
        rf"to=<nobody1@{EXIM_MX}>.* dsn=5\.\S+, status=bounced .* said: 550 .*onion-mx said: unknown recipient"
    )
    wait_for_copies(site.exim_mx, message, f"alice@{EXIM_MX}", f"bob@{EXIM_MX}")
    # The bounce, to the sender's local domain, which has an onion as well.
    site.postfix.wait_for_log(rf"postfix/virtual\S* \w+: to=<carol@{POSTFIX_SENDER}>")


def test_each_recipient_gets_its_own_result_from_exim(site: RelaySite) -> None:
    message = new_message(EXIM_SENDER)
    names = ("alice", "nobody2", "bob")
    site.exim.submit(f"carol@{EXIM_SENDER}", [f"{name}@{POSTFIX_MX}" for name in names], message)
    site.exim.wait_for_log(rf"\*\* nobody2@{POSTFIX_MX} R=onionmx T=onionmx_relay .*: 550 5\.1\.1 .*onion-mx said: ")
    wait_for_copies(site.postfix_mx, message, f"alice@{POSTFIX_MX}", f"bob@{POSTFIX_MX}")


def test_one_message_for_two_onions_and_another_domain(site: RelaySite) -> None:
    for sender, hostname in ((site.postfix, POSTFIX_SENDER), (site.exim, EXIM_SENDER)):
        message = new_message(hostname)
        elsewhere = f"dave@{hostname}.elsewhere.example"
        sender.submit(f"carol@{hostname}", [f"alice@{EXIM_MX}", f"bob@{POSTFIX_MX}", elsewhere], message)
        wait_for_copies(site.exim_mx, message, f"alice@{EXIM_MX}")
        wait_for_copies(site.postfix_mx, message, f"bob@{POSTFIX_MX}")
    site.postfix.wait_for_log(rf"discard\S* \w+: to=<dave@{POSTFIX_SENDER}\.elsewhere\.example>.* status=sent")
    site.exim.wait_for_log(rf"=> dave <dave@{EXIM_SENDER}\.elsewhere\.example> R=clearnet")


def test_local_domain_stays_here_though_it_is_in_the_map(site: RelaySite) -> None:
    for sender, hostname in ((site.postfix, POSTFIX_SENDER), (site.exim, EXIM_SENDER)):
        message = new_message(hostname)
        sender.submit(f"carol@{hostname}", [f"alice@{hostname}"], message)
        wait_for_copies(sender, message, f"alice@{hostname}")


def test_dkim_signature_still_verifies(site: RelaySite) -> None:
    dkim = pytest.importorskip("dkim", reason="dkimpy checks the signatures")
    key = subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True).stdout
    public = subprocess.run(["openssl", "rsa", "-pubout"], input=key, check=True, capture_output=True).stdout
    record = b"v=DKIM1; k=rsa; p=" + b"".join(public.splitlines()[1:-1])
    for sender, hostname, receiver, domain in (
        (site.postfix, POSTFIX_SENDER, site.exim_mx, EXIM_MX),
        (site.exim, EXIM_SENDER, site.postfix_mx, POSTFIX_MX),
    ):
        message = new_message(hostname)
        # The strictest form: no change of case, of blanks or of empty lines at the end is forgiven.
        signature = dkim.sign(message, b"test", hostname.encode(), key, canonicalize=(b"simple", b"simple"))
        signed = signature + message
        sender.submit(f"carol@{hostname}", [f"alice@{domain}"], signed)
        wait_for_copies(receiver, signed, f"alice@{domain}")
        [arrived] = [copy for copy in copies(receiver) if copy.endswith(signed)]
        assert dkim.verify(arrived, dnsfunc=lambda _name, timeout=5: record)  # noqa: ARG005 - the name is dkimpy's


def test_without_the_relay_mail_waits_and_says_why(site: RelaySite) -> None:
    site.relay.stop()
    postfix_message, exim_message = new_message(POSTFIX_SENDER), new_message(EXIM_SENDER)
    try:
        site.postfix.submit(f"carol@{POSTFIX_SENDER}", [f"alice@{EXIM_MX}"], postfix_message)
        site.exim.submit(f"carol@{EXIM_SENDER}", [f"alice@{POSTFIX_MX}"], exim_message)
        wait_until(
            lambda: any("Connection refused" in waiting.reason for waiting in site.postfix.queue()), "the reason"
        )
        site.exim.wait_for_log(rf"== alice@{POSTFIX_MX} R=onionmx T=onionmx_relay defer .*Connection refused")
    finally:
        site.relay.start()
    assert_arrive_at_last(site, postfix_message, exim_message)


def test_without_tor_mail_waits_and_says_why(site: RelaySite) -> None:
    site.tor.client.stop()
    postfix_message, exim_message = new_message(POSTFIX_SENDER), new_message(EXIM_SENDER)
    reason = r"451 4\.4\.1 .*SOCKS"
    try:
        site.postfix.submit(f"carol@{POSTFIX_SENDER}", [f"alice@{EXIM_MX}"], postfix_message)
        site.exim.submit(f"carol@{EXIM_SENDER}", [f"alice@{POSTFIX_MX}"], exim_message)
        wait_until(lambda: any(re.search(reason, waiting.reason) for waiting in site.postfix.queue()), "the reason")
        site.exim.wait_for_log(rf"== alice@{POSTFIX_MX} R=onionmx T=onionmx_relay defer .*{reason}")
    finally:
        site.tor.client.start()
    assert_arrive_at_last(site, postfix_message, exim_message)


def assert_arrive_at_last(site: RelaySite, from_postfix: bytes, from_exim: bytes) -> None:
    """Let both queues run until the messages are there, once each; nothing has gone another way."""

    def arrived() -> bool:
        site.postfix.flush()
        site.exim.run_queue()
        return bool(stored(site.exim_mx, from_postfix)) and bool(stored(site.postfix_mx, from_exim))

    wait_until(arrived, "both messages", RECOVERY)
    assert stored(site.exim_mx, from_postfix) == [f"alice@{EXIM_MX}"]
    assert stored(site.postfix_mx, from_exim) == [f"alice@{POSTFIX_MX}"]
    assert not [to for to in site.postfix.sent_over_clearnet() if to.endswith(f"@{EXIM_MX}")]
    assert not [copy for copy in site.exim.sent_over_clearnet() if from_exim in copy]
