"""The fragments of exim/, in a real Exim."""

import base64
import hashlib
import os
import re
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from uuid import uuid4

import pytest

from .daemon import wait_until
from .exim import DEBIAN_LIKE, DELIVERY_TIMEOUT, LOCAL_SENDERS, NO_ROUTE, ONION_CLIENTS, Exim
from .tor_network import TorNetwork

SENDER = "sender.example"
RECEIVER = "receiver.example"
SECOND_DOMAIN = "second.example"
MESSAGE = b"From: <carol@sender.example>\r\nSubject: a test\r\nMessage-ID: <1@sender.example>\r\n\r\nHello\r\n.dot\r\n"

MakeExim = Callable[..., Exim]


@pytest.fixture
def make_exim(tmp_path: Path) -> Iterator[MakeExim]:
    """Make an Exim that takes its routes from a shell script, which is told the domain in $domain."""
    started: list[Exim] = []

    def make(script: str, parts: Mapping[str, str] = DEBIAN_LIKE, **macros: str) -> Exim:
        helper = tmp_path / "onionmx-route"
        helper.write_text(f'#!/bin/sh\nprintf "%s\\n" "$*" >>{tmp_path}/calls\nfor domain; do :; done\n{script}\n')
        helper.chmod(0o755)
        exim = Exim(tmp_path / "exim", SENDER, {"ONIONMX_HELPER": str(helper)} | macros, parts)
        (tmp_path / "calls").touch(0o666)
        (tmp_path / "calls").chmod(0o666)
        started.append(exim)
        return exim

    yield make
    for exim in started:
        exim.stop()


def calls(tmp_path: Path) -> list[str]:
    return (tmp_path / "calls").read_text().splitlines()


def test_mapped_domain_goes_to_its_addresses_in_the_order_of_the_helper(make_exim: MakeExim) -> None:
    exim = make_exim("echo 127.200.0.9:127.200.0.1::2525:127.200.0.5")
    assert exim.route_test("alice@mapped.example") == (
        "alice@mapped.example\n"
        "  router = onionmx, transport = onionmx_smtp\n"
        "  host 127.200.0.9 [127.200.0.9]\n"
        "  host 127.200.0.1 [127.200.0.1] port=2525\n"
        "  host 127.200.0.5 [127.200.0.5]\n"
    )


def test_domain_without_route_goes_on_to_the_next_router(make_exim: MakeExim) -> None:
    exim = make_exim(NO_ROUTE)
    assert "router = clearnet" in exim.route_test("alice@unmapped.example")


def test_local_domain_is_never_asked_for(make_exim: MakeExim, tmp_path: Path) -> None:
    exim = make_exim("echo 127.200.0.1")
    assert "router = local_user" in exim.route_test(f"alice@{SENDER}")
    assert calls(tmp_path) == []


FAILURES = [
    ("echo 'onionmx-route: the map is damaged' >&2; exit 75", r"exit code 75: onionmx-route: the map is damaged"),
    ("echo 'onionmx-route: unknown option' >&2; exit 64", r"exit code 64: onionmx-route: unknown option"),
    ("echo 'onionmx-route: wrong key' >&2; exit 78", r"exit code 78: onionmx-route: wrong key"),
    ("printf 'Traceback:\\n  one\\n  two\\n' >&2; exit 2", r"exit code 2: Traceback: one two"),
    ("exit 75", r"exit code 75:"),
    ("kill -9 $$", r"command killed by signal 9"),
    # Exit code 1 is also what a program ends with that could not start.
    ("exit 1", r"exit code 1:"),
    ("echo 'ModuleNotFoundError: no module' >&2; exit 1", r"exit code 1: ModuleNotFoundError: no module"),
    ("echo 'onionmx-route: other.example: no entry in the map' >&2; exit 1", r"exit code 1: onionmx-route: other"),
    ('echo "onionmx-route: $domain: no entry in the map" >&2; exit 2', r"exit code 2: onionmx-route: mapped"),
    ('echo "onionmx-route: $domain: no entry in the map"; echo; echo x; exit 1', r"exit code 1: onionmx-route: mapped"),
    ('echo "x onionmx-route: $domain: no entry in the map" >&2; exit 1', r"exit code 1: x onionmx-route"),
    # So is 68 without the domain.
    ("exit 68", r"exit code 68:"),
    ("echo 'onionmx-route: other.example: no such onion' >&2; exit 68", r"exit code 68: onionmx-route: other"),
    # Neither names nor remarks are a host list, not even with exit code 0.
    ("echo mx.example.net", r"exit code 0: mx\.example\.net"),
    ("echo 127.200.0.1; echo a warning >&2", r"exit code 0: 127\.200\.0\.1 a warning"),
    ("exit 0", r"exit code 0:"),
]


@pytest.mark.parametrize(("script", "reason"), FAILURES)
def test_anything_but_found_and_no_route_defers_and_says_why(make_exim: MakeExim, script: str, reason: str) -> None:
    exim = make_exim(script).start()
    exim.submit("carol@sender.example", ["alice@mapped.example"], MESSAGE)
    exim.wait_for_log(rf"== alice@mapped\.example R=onionmx\w* defer .*{reason}")
    exim.run_queue()
    assert len(exim.queue()) == 1
    assert exim.sent_over_clearnet() == []


@pytest.mark.parametrize("path", ["/nonexistent/onionmx-route", "/etc/hostname"])
def test_helper_that_cannot_be_run_defers_and_is_named(make_exim: MakeExim, path: str) -> None:
    exim = make_exim("", ONIONMX_HELPER=path)
    reason = f"cannot tell the route to mapped.example: exit code 127: (cannot run {path})"
    assert f"cannot be resolved at this time: onionmx: {reason}" in exim.route_test("alice@mapped.example")


def test_what_can_be_no_onion_service_is_refused_for_good(make_exim: MakeExim) -> None:
    exim = make_exim('echo "onionmx-route: $domain: a wrong checksum" >&2; exit 68').start()
    exim.submit("carol@sender.example", ["alice@x.onion"], MESSAGE)
    exim.wait_for_log(r"\*\* alice@x\.onion R=onionmx_unknown: onionmx: no mail for x\.onion: a wrong checksum")
    assert exim.sent_over_clearnet() == []


def test_one_run_of_the_helper_serves_all_recipients_of_a_domain(make_exim: MakeExim, tmp_path: Path) -> None:
    exim = make_exim("echo 127.200.0.1", ONIONMX_SOCKS="127.0.0.1 port=1").start()
    recipients = ["a@one.example", "b@one.example", "c@two.example", "d@one.example"]
    exim.submit("carol@sender.example", recipients, MESSAGE)
    for recipient in recipients:
        exim.wait_for_log(rf"== {recipient} R=onionmx T=onionmx_smtp defer")
    assert sorted(call.rpartition(" ")[2] for call in calls(tmp_path)) == ["one.example", "two.example"]


def test_helper_gets_the_domain_as_one_argument_after_its_options(make_exim: MakeExim, tmp_path: Path) -> None:
    exim = make_exim(NO_ROUTE, ONIONMX_MAP="/a/map.cdb", ONIONMX_DNSPORT="127.0.0.1:53", ONIONMX_TIMEOUT="9")
    exim.route_test("alice@mapped.example")
    assert calls(tmp_path) == ["--map /a/map.cdb --dnsport 127.0.0.1:53 --timeout 9 -- mapped.example"]


ODD_DOMAINS = ["-map.example", "--help", "$(id).example", "`id`.example", "a;id.example", "a|id.example", "a b.example"]
ODD_DOMAINS += ["${run{id}}.example", "a'b.example", "a/../b.example", "[a b]", "[$(id)]"]


@pytest.mark.parametrize("domain", ODD_DOMAINS)
def test_odd_domain_never_reaches_the_helper(make_exim: MakeExim, tmp_path: Path, domain: str) -> None:
    parts = DEBIAN_LIKE | {"main/02_literals": "allow_domain_literals\n"}
    exim = make_exim("echo 127.200.0.1", parts=parts).start()
    with exim.connect() as session:
        session.mail("carol@sender.example")
        assert session.docmd("RCPT", f"TO:<alice@{domain}>")[0] == 501
    exim.run("-bt", f"alice@{domain}")
    assert calls(tmp_path) == []


def test_domain_literal_is_left_to_the_next_router(make_exim: MakeExim, tmp_path: Path) -> None:
    parts = DEBIAN_LIKE | {"main/02_literals": "allow_domain_literals\n"}
    exim = make_exim("echo 127.200.0.1", parts=parts)
    assert "router = clearnet" in exim.route_test("alice@[192.0.2.1]")
    assert calls(tmp_path) == []


@pytest.mark.parametrize("local_part", ['"$(touch /tmp/x) "', '"; id"', "-x", "${run{id}}", "a`id`", '"a\\" b"'])
def test_local_part_does_not_matter(make_exim: MakeExim, tmp_path: Path, local_part: str) -> None:
    exim = make_exim("echo 127.200.0.1")
    assert "router = onionmx, transport" in exim.route_test(f"<{local_part}@mapped.example>")
    assert [call.partition(" -- ")[2] for call in calls(tmp_path)] == ["mapped.example"]


REFUSED = 'echo "onionmx-route: $domain: no such onion" >&2; exit 68'
BACKUP_MX = [("echo 127.200.0.1", 250), (NO_ROUTE, 250), (REFUSED, 550), ("exit 1", 451), ("exit 75", 451)]


@pytest.mark.parametrize(("script", "code"), BACKUP_MX)
def test_recipient_of_a_relay_domain_is_verified_by_route(make_exim: MakeExim, script: str, code: int) -> None:
    exim = make_exim(script, MAIN_RELAY_TO_DOMAINS="mapped.example").start()
    with exim.connect(ONION_CLIENTS) as session:
        session.mail("carol@elsewhere.example")
        assert session.rcpt("alice@mapped.example")[0] == code


@pytest.fixture(scope="module")
def receiver(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Exim]:
    """Run an Exim that nothing but the onion service and its own host can reach."""
    macros = {"MAIN_LOCAL_DOMAINS": f"@ : {SECOND_DOMAIN}"}
    with Exim(tmp_path_factory.mktemp("receiver") / "exim", RECEIVER, macros) as exim:
        yield exim


SENDERS = ["", f"alice@{RECEIVER}", "mallory@elsewhere.example", "root@localhost"]
RELAY_ATTEMPTS = {
    "victim@elsewhere.example": 550,
    f"@{RECEIVER}:victim@elsewhere.example": 550,
    f"@{RECEIVER},@localhost:victim@elsewhere.example": 550,
    f"victim%elsewhere.example@{RECEIVER}": 550,
    f'"victim%elsewhere.example"@{RECEIVER}': 550,
    f'"victim@elsewhere.example"@{RECEIVER}': 550,
    f"elsewhere.example!victim@{RECEIVER}": 550,
    "victim@localhost": 550,
    "victim@[203.0.113.1]": 501,
    "victim@[127.0.0.1]": 501,
    "victim%elsewhere.example": 501,
    "elsewhere.example!victim": 501,
    "victim": 501,
}


@pytest.mark.parametrize("sender", SENDERS)
def test_onion_service_is_no_open_relay(receiver: Exim, sender: str) -> None:
    replies = {}
    for recipient in RELAY_ATTEMPTS:
        with receiver.connect(ONION_CLIENTS) as session:
            assert session.mail(sender)[0] == 250
            replies[recipient] = session.docmd("RCPT", f"TO:<{recipient}>")[0]
    assert replies == RELAY_ATTEMPTS


def test_same_exim_still_relays_for_its_own_host(receiver: Exim) -> None:
    before = len(receiver.sent_over_clearnet())
    receiver.submit(f"alice@{RECEIVER}", ["friend@elsewhere.example"], MESSAGE)
    receiver.wait_for_log(r"=> friend <friend@elsewhere\.example> R=clearnet")
    assert len(receiver.sent_over_clearnet()) == before + 1


def test_mail_for_a_local_domain_arrives_unchanged(receiver: Exim) -> None:
    before = len(receiver.delivered())
    message = b"Subject: no date, no message id\r\n\r\nHello\r\n.dot\r\n"
    with receiver.connect(ONION_CLIENTS) as session:
        session.sendmail("carol@sender.example", f"alice@{RECEIVER}", message)
    stored = receiver.wait_for_delivered(before + 1)[-1]
    assert stored.endswith(message)
    own = stored.removesuffix(message)
    # No header is added as for one's own users, and the client's address is not looked up in the DNS.
    assert re.findall(rb"^([\w-]+):", own, re.MULTILINE) == [b"Envelope-to", b"Received"]
    assert b"Received: from [127.0.0.1] (helo=client.example)\r\n" in own


def test_unknown_recipient_is_refused_over_the_onion_service(receiver: Exim) -> None:
    with receiver.connect(ONION_CLIENTS) as session:
        session.mail("carol@sender.example")
        assert session.rcpt(f"nobody@{RECEIVER}") == (550, b"unknown recipient")


def test_onion_clients_may_not_log_in(receiver: Exim) -> None:
    with receiver.connect(LOCAL_SENDERS) as session:
        assert session.has_extn("auth")
        assert session.login("anybody", "secret")[0] == 235
    with receiver.connect(ONION_CLIENTS) as session:
        assert not session.has_extn("auth")
        assert session.docmd("AUTH", "PLAIN AGFueWJvZHkAc2VjcmV0")[0] == 503


@pytest.mark.parametrize(
    ("command", "code"),
    [(f"VRFY alice@{RECEIVER}", 252), ("EXPN postmaster", 550), ("ETRN #queue", 458), ("MAIL FROM:<alice>", 501)],
)
def test_onion_clients_learn_and_start_nothing(receiver: Exim, command: str, code: int) -> None:
    with receiver.connect(ONION_CLIENTS) as session:
        assert session.docmd(command)[0] == code


HELPER = Path(sys.executable).with_name("onionmx-route")


def onion_of_nobody() -> str:
    """Make up an onion name that is valid and has never had a descriptor (rend-spec-v3 section 6)."""
    key = os.urandom(32)
    checksum = hashlib.sha3_256(b".onion checksum" + key + b"\x03").digest()[:2]
    return base64.b32encode(key + checksum + b"\x03").decode().lower() + ".onion"


@pytest.fixture(scope="module")
def onion(tor_network: TorNetwork, receiver: Exim) -> Iterator[str]:
    """Put the receiver behind an onion service, on two ports."""
    listener = (ONION_CLIENTS, receiver.port)
    name = tor_network.add_onion_service({25: listener, 2525: listener})
    tor_network.client.wait_until_reachable(name)
    yield name
    tor_network.remove_onion_service(name)


MakeSender = Callable[..., Exim]


@pytest.fixture
def make_sender(tor_network: TorNetwork, tmp_path: Path) -> Iterator[MakeSender]:
    """Start an Exim that sends through the private Tor network, with a map of the lines given."""
    with ExitStack() as started:

        def make(*entries: str, **macros: str) -> Exim:
            path = tmp_path / "map.cdb"
            onionmx = [sys.executable, "-m", "onionmx", "map", "import", "-", "--map", str(path)]
            subprocess.run(onionmx, input="\n".join(entries), text=True, check=True, stdout=subprocess.DEVNULL)
            settings = {
                "ONIONMX_HELPER": str(HELPER),
                "ONIONMX_MAP": str(path),
                "ONIONMX_DNSPORT": "{}:{}".format(*tor_network.client.dnsport),
                "ONIONMX_SOCKS": "{} port={}".format(*tor_network.client.socks),
            }
            return started.enter_context(Exim(tmp_path / "exim", SENDER, settings | macros))

        yield make


def new_message() -> bytes:
    """Write a message with what servers have stumbled over: dots, a long line, blanks at the end, 8 bits, some size."""
    head = f"From: <carol@{SENDER}>\r\nSubject: a test\r\nMessage-ID: <{uuid4()}@{SENDER}>\r\n"
    head += "Date: Sun, 22 Nov 2026 02:26:00 +0000\r\n"  # else the sender's own Exim adds one
    body = ".\r\n..\r\n.dot\r\n" + "x" * 998 + "\r\nblanks  \r\n\u00fc\r\n" + "line\r\n" * 5000
    return f"{head}\r\n{body}".encode()


def copies(receiver: Exim, message: bytes) -> list[bytes]:
    """Return to whom the receiver has delivered exactly this message, under headers of the servers."""
    headers = (stored.removesuffix(message) for stored in receiver.delivered() if stored.endswith(message))
    return sorted(re.findall(rb"^Envelope-to: (.*)\r$", b"".join(headers), re.MULTILINE))


def assert_delivered_once(sender: Exim, receiver: Exim, message: bytes, *recipients: str) -> None:
    """Wait for the message; then see one transaction, one copy for each recipient, and nothing anywhere else."""
    expected = sorted(recipient.encode() for recipient in recipients)
    wait_until(lambda: copies(receiver, message) >= expected, "the message at the receiver", DELIVERY_TIMEOUT)
    sender.wait_for_log(r" Completed$")
    assert copies(receiver, message) == expected
    identifier = re.search(r"Message-ID: <(.*)>", message.decode())
    assert identifier is not None
    assert receiver.log_text().count(f"id={identifier[1]}") == 1
    assert sender.queue() == []
    assert sender.sent_over_clearnet() == []


def test_message_arrives_unchanged_in_one_transaction(receiver: Exim, onion: str, make_sender: MakeSender) -> None:
    sender, message = make_sender(f"{RECEIVER} {onion}"), new_message()
    sender.submit(f"carol@{SENDER}", [f"alice@{RECEIVER}", f"bob@{RECEIVER}"], message)
    assert_delivered_once(sender, receiver, message, f"alice@{RECEIVER}", f"bob@{RECEIVER}")
    # The name that the sender gives itself is its own, fully qualified one.
    assert f"<= carol@{SENDER} H=({SENDER}) [127.0.0.1]" in receiver.log_text()


def test_port_other_than_25(receiver: Exim, onion: str, make_sender: MakeSender) -> None:
    sender, message = make_sender(f"{RECEIVER} {onion}:2525"), new_message()
    assert sender.route_test(f"alice@{RECEIVER}").endswith("] port=2525\n")
    sender.submit(f"carol@{SENDER}", [f"alice@{RECEIVER}"], message)
    assert_delivered_once(sender, receiver, message, f"alice@{RECEIVER}")


def test_two_domains_behind_two_onions(
    tor_network: TorNetwork, receiver: Exim, onion: str, make_sender: MakeSender
) -> None:
    second = tor_network.add_onion_service({25: (ONION_CLIENTS, receiver.port)})
    tor_network.client.wait_until_reachable(second)
    sender, message = make_sender(f"{RECEIVER} {onion}", f"{SECOND_DOMAIN} {second}"), new_message()
    sender.submit(f"carol@{SENDER}", [f"alice@{RECEIVER}", f"bob@{SECOND_DOMAIN}"], message)
    sender.wait_for_log(r" Completed$")
    assert len(set(re.findall(r"T=onionmx_smtp H=(\S+)", sender.log_text()))) == 2
    both = [f"alice@{RECEIVER}".encode(), f"bob@{SECOND_DOMAIN}".encode()]
    wait_until(lambda: copies(receiver, message) == both, "both copies at the receiver")
    tor_network.remove_onion_service(second)


def test_second_target_is_used_when_the_first_is_dead(receiver: Exim, onion: str, make_sender: MakeSender) -> None:
    sender, message = make_sender(f"{RECEIVER} {onion_of_nobody()} {onion}"), new_message()
    first, second = re.findall(r"host (\S+)", sender.route_test(f"alice@{RECEIVER}"))
    sender.submit(f"carol@{SENDER}", [f"alice@{RECEIVER}"], message)
    assert_delivered_once(sender, receiver, message, f"alice@{RECEIVER}")
    assert f"=> alice@{RECEIVER} R=onionmx T=onionmx_smtp H={second}" in sender.log_text()
    assert f"[{first}]" in sender.log_text()


def test_mail_waits_while_tor_is_stopped_and_is_delivered_once_after(
    tor_network: TorNetwork, receiver: Exim, onion: str, make_sender: MakeSender
) -> None:
    sender, message = make_sender(f"{RECEIVER} {onion}"), new_message()
    before = sender.route_test(f"alice@{RECEIVER}")
    tor_network.client.stop()
    try:
        sender.submit(f"carol@{SENDER}", [f"alice@{RECEIVER}"], message)
        reason = r"exit code 75: onionmx-route: .*DNSPort"
        sender.wait_for_log(rf"== alice@{RECEIVER} R=onionmx_unknown defer .*{reason}")
        sender.run_queue()
        assert len(sender.queue()) == 1
        assert sender.sent_over_clearnet() == []
    finally:
        tor_network.client.start()
    tor_network.client.wait_until_reachable(onion)
    assert sender.route_test(f"alice@{RECEIVER}") != before
    sender.run_queue()
    assert_delivered_once(sender, receiver, message, f"alice@{RECEIVER}")
    sender.run_queue()
    assert copies(receiver, message) == [f"alice@{RECEIVER}".encode()]


def test_mail_waits_while_only_the_socks_port_is_silent(onion: str, make_sender: MakeSender) -> None:
    sender = make_sender(f"{RECEIVER} {onion}", ONIONMX_SOCKS="127.0.0.1 port=1")
    sender.submit(f"carol@{SENDER}", [f"alice@{RECEIVER}"], new_message())
    sender.wait_for_log(r" socks_sock_connect: Connection refused")
    sender.wait_for_log(rf"== alice@{RECEIVER} R=onionmx T=onionmx_smtp defer ")
    assert len(sender.queue()) == 1
    assert sender.sent_over_clearnet() == []
