"""Onion mail without some header fields, as docs/header-privacy.md has it: in the relay, in Exim and in Postfix."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from uuid import uuid4

import dkim  # type: ignore[import-untyped]
import pytest

from .conftest import skip_without
from .daemon import wait_until
from .exim import Exim
from .postfix import Postfix, documented, section
from .programs import PROJECT
from .relay_site import EXIM_MX, EXIM_SENDER, POSTFIX_MX, POSTFIX_SENDER, RelaySite, exim_macros, exim_parts
from .tor_network import TorNetwork

DOCUMENT = (PROJECT / "docs" / "header-privacy.md").read_text()
INSIDE = b"Received: from laptop.lan ([192.168.1.7])\r\n\tby mail.lan;\r\n\tSun, 22 Nov 2026 02:26:00 +0000\r\n"
SECRETS = b"X-Originating-IP: [192.168.1.7]\r\nUSER-AGENT: Mailer/1\r\n (on a laptop)\r\n"
BODY = b"\r\n.dot\r\nUser-Agent: in the body\r\n\xc3\xbc\r\n..\r\n" + b"line\r\n" * 3000


@pytest.fixture(scope="module")
def site(tor_network: TorNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[RelaySite]:
    if os.geteuid():
        pytest.skip("Postfix's master runs as root only")
    skip_without("exim4", "postqueue", "postmap", "setpriv")
    with RelaySite(tor_network, tmp_path_factory.mktemp("scrub-site")) as site:
        yield site


@contextmanager
def scrubbing(site: RelaySite) -> Iterator[None]:
    """The relay with the documented setting."""
    before = site.relay.configuration.read_text()
    table = documented(section(DOCUMENT, "In the relay"), {})["/etc/onionmx/onionmx.toml"]
    site.relay.stop()
    site.relay.configuration.write_text(before.replace("[relay]\n", table, 1))
    site.relay.start()
    try:
        yield
    finally:
        site.relay.stop()
        site.relay.configuration.write_text(before)
        site.relay.start()


def plain(sender: str) -> bytes:
    return (
        f"From: <carol@{sender}>\r\nTo: <alice@receiver.example>\r\nSubject: a test\r\n"
        f"Message-ID: <{uuid4()}@{sender}>\r\nDate: Sun, 22 Nov 2026 02:26:00 +0000\r\n"
    ).encode()


def arrived(receiver: Exim | Postfix, kept: bytes) -> bytes:
    """The copy of the message that ends with these bytes."""
    found: list[bytes] = []

    def look() -> bool:
        copies = receiver.delivered()
        if isinstance(receiver, Postfix):
            copies = [copy.replace(b"\n", b"\r\n") for copy in copies]
        found[:] = [copy for copy in copies if copy.endswith(kept)]
        return bool(found)

    wait_until(look, "the message without the fields", 240)
    [copy] = found
    return copy


def top_of(copy: bytes, kept: bytes) -> bytes:
    return copy.removesuffix(kept).lower()


def test_relay_removes_what_nobody_signed(site: RelaySite) -> None:
    key = subprocess.run(["openssl", "genrsa", "2048"], check=True, capture_output=True).stdout
    public = subprocess.run(["openssl", "rsa", "-pubout"], input=key, check=True, capture_output=True).stdout
    record = b"v=DKIM1; k=rsa; p=" + b"".join(public.splitlines()[1:-1])
    with scrubbing(site):
        for sender, name, receiver, domain in (
            (site.postfix, POSTFIX_SENDER, site.exim_mx, EXIM_MX),
            (site.exim, EXIM_SENDER, site.postfix_mx, POSTFIX_MX),
        ):
            for body in (BODY, BODY + b"large\r\n" * 300_000):  # the second is streamed
                head = plain(name)
                content = head + b"X-Mailer: signed\r\n" + SECRETS + body
                names = [b"from", b"to", b"subject", b"x-mailer", b"x-mailer"]
                signature = dkim.sign(
                    content, b"x", name.encode(), key, canonicalize=(b"simple", b"simple"), include_headers=names
                )
                sender.submit(f"carol@{name}", [f"alice@{domain}"], INSIDE + signature + content)
                kept = signature + head + b"X-Mailer: signed\r\n" + body
                copy = arrived(receiver, kept)
                assert b".lan" not in top_of(copy, kept)
                assert top_of(copy, kept).count(b"received: by relay.sender.example (onionmx) with lmtp id ") == 1
                assert name.encode() not in b"".join(
                    line for line in top_of(copy, kept).splitlines() if line.startswith(b"received:")
                )
                assert dkim.verify(copy, dnsfunc=lambda _name, timeout=5: record)  # noqa: ARG005 - the name is dkimpy's


def test_header_that_cannot_be_read_goes_as_it_is(site: RelaySite) -> None:
    with scrubbing(site):
        message = INSIDE + SECRETS + b"DKIM-Signature: v=1; b=none\r\n" + plain(POSTFIX_SENDER) + BODY
        site.postfix.submit(f"carol@{POSTFIX_SENDER}", [f"alice@{EXIM_MX}"], message)
        arrived(site.exim_mx, message)
        assert "no header field was removed: its dkim-signature has 0 tags h=, expected one" in site.relay.log_text()


@pytest.fixture
def exim(site: RelaySite, tmp_path: Path) -> Iterator[Exim]:
    """An Exim with the documented macros, and a field that Debian's own macro removes."""
    block = documented(section(DOCUMENT, "In Exim"), {})["/etc/exim4/conf.d/main/000_localmacros"]
    macros = dict(line.split(" = ", 1) for line in block.strip().splitlines())
    assert list(macros) == ["ONIONMX_UNLESS_SIGNED", "ONIONMX_SCRUB"]
    macros = {"REMOTE_SMTP_TRANSPORTS_HEADERS_REMOVE": "X-Debian", **exim_macros(site.relay), **macros}
    with Exim(tmp_path / "exim", EXIM_SENDER, macros, exim_parts()) as exim:
        yield exim


def test_exim_removes_unless_signed(site: RelaySite, exim: Exim) -> None:
    head = plain(EXIM_SENDER)
    exim.submit(f"carol@{EXIM_SENDER}", [f"alice@{POSTFIX_MX}"], INSIDE + SECRETS + b"X-Debian: x\r\n" + head + BODY)
    copy = arrived(site.postfix_mx, INSIDE + head + BODY)
    assert b"mailer/1" not in copy.lower()
    for name in (b"DKIM-Signature", b"ARC-Message-Signature"):
        signed = name + b": v=1; h=from:user-agent; b=x\r\n" + SECRETS + plain(EXIM_SENDER) + BODY
        exim.submit(f"carol@{EXIM_SENDER}", [f"alice@{POSTFIX_MX}"], signed)
        arrived(site.postfix_mx, signed)


def test_both_transports_of_exim_have_it(exim: Exim, tmp_path: Path) -> None:
    macros = {"ONIONMX_SCRUB": "X-A : X-B", "REMOTE_SMTP_TRANSPORTS_HEADERS_REMOVE": "X-Debian"}
    without_relay = Exim(tmp_path / "socks", EXIM_SENDER, macros)
    told = without_relay.run("-bP", "transport", "onionmx_smtp").stdout
    assert "headers_remove = X-A:X-B:X-Debian" in told
    assert "ONIONMX" not in exim.run("-bP", "transport", "onionmx_relay").stdout


def test_postfix_removes_and_keeps_the_number_of_received_fields(site: RelaySite) -> None:
    part = section(DOCUMENT, "In Postfix")
    checks = site.postfix.configuration / "onion_header_checks"
    checks.write_text(documented(part, {})["/etc/postfix/onion_header_checks"])
    (command,) = (line for line in part.splitlines() if line.startswith("`postconf -P "))
    value = command.split('"')[1].replace("/etc/postfix/onion_header_checks", str(checks))
    site.postfix.run("postconf", "-P", value)
    site.postfix.run("postfix", "reload")
    head = plain(POSTFIX_SENDER)
    attached = b"\r\n--b\r\nContent-Type: message/rfc822\r\n\r\nUser-Agent: attached\r\n\r\nx\r\n--b--\r\n"
    mime = b'MIME-Version: 1.0\r\nContent-Type: multipart/mixed; boundary="b"\r\n'
    outside = b"Received: from mx.example.net ([192.0.2.1]) by mx.example;\r\n\tSun, 22 Nov 2026 02:25:00 +0000\r\n"
    message = INSIDE + outside + SECRETS + head + mime + attached
    site.postfix.submit(f"carol@{POSTFIX_SENDER}", [f"alice@{EXIM_MX}"], message)
    kept = outside + head + mime + attached
    copy = arrived(site.exim_mx, kept)
    top = top_of(copy, kept)
    assert b".lan" not in top
    replaced = b"received: by mail.example.org;\r\n\tsun, 22 nov 2026 02:26:00 +0000\r\n"
    assert top.endswith(replaced)
    assert top.count(b"received: ") == 4  # of the onion MX, the relay, Postfix, and the one that was replaced
