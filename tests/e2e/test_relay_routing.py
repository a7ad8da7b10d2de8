"""Which mail Postfix and Exim hand to the relay, and that none goes another way when they cannot tell."""

import os
import re
import subprocess
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.onions import V3_ONION

from .conftest import skip_without
from .exim import Exim
from .postfix import LOCAL_SENDERS, ONION_CLIENTS, Postfix
from .relay import Relay
from .relay_site import PostfixSender, exim_macros, exim_parts

SENDER = "sender.example"
MAPPED = "mapped.example"
UNMAPPED = "unmapped.example"
MESSAGE = b"From: <carol@sender.example>\r\nSubject: a test\r\n\r\nHello\r\n"

Damage = Callable[[Path], None]


def truncate(size: int) -> Damage:
    """Leave only the beginning, in a new file: a map in use is never written to."""

    def damage(path: Path) -> None:
        content = path.read_bytes()
        path.unlink()
        path.write_bytes(content[:size])

    return damage


def make_folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


DAMAGES = {
    "missing": Path.unlink,
    "empty": truncate(0),
    "half a header": truncate(1000),
    "header only": truncate(2048),
    "without its hash tables": truncate(2060),
    "folder": make_folder,
}
damaged = pytest.mark.parametrize("damage", DAMAGES.values(), ids=list(DAMAGES))


@pytest.fixture
def relay(tmp_path: Path) -> Relay:
    """Return a relay that does not run, with a map."""
    relay = Relay(tmp_path / "relay", ("127.0.0.1", 9))
    relay.publish({MAPPED: V3_ONION, SENDER: V3_ONION, "xn--mller-kva.example": V3_ONION})
    return relay


@pytest.fixture
def exim(relay: Relay, tmp_path: Path) -> Iterator[Exim]:
    skip_without("exim4", "setpriv")
    exim = Exim(tmp_path / "exim", SENDER, exim_macros(relay), exim_parts())
    yield exim
    exim.stop()


def test_exim_hands_over_what_is_in_the_map(exim: Exim) -> None:
    for domain in (MAPPED, MAPPED.upper()):
        assert "router = onionmx, transport = onionmx_relay" in exim.route_test(f"alice@{domain}")
    for domain in (UNMAPPED, f"sub.{MAPPED}", "xn--a.example"):
        assert "router = clearnet" in exim.route_test(f"alice@{domain}")
    assert "router = local_user" in exim.route_test(f"alice@{SENDER}")


@damaged
def test_exim_defers_when_the_map_cannot_tell(exim: Exim, relay: Relay, damage: Damage) -> None:
    damage(relay.map)
    assert f"alice@{MAPPED} cannot be resolved at this time" in exim.route_test(f"alice@{MAPPED}")
    assert "router = local_user" in exim.route_test(f"alice@{SENDER}")
    exim.start()
    exim.submit(f"carol@{SENDER}", [f"alice@{MAPPED}", f"alice@{SENDER}"], MESSAGE)
    exim.wait_for_log(rf"== alice@{MAPPED} R=onionmx defer .*{relay.map}")
    exim.wait_for_delivered(1)
    assert exim.sent_over_clearnet() == []


def test_exim_finds_an_international_domain_written_out(exim: Exim) -> None:
    with exim.start().connect() as session:
        session.sendmail(f"carol@{SENDER}", ["alice@müller.example"], MESSAGE, mail_options=["SMTPUTF8"])
    exim.wait_for_log(r"== alice@müller\.example R=onionmx T=onionmx_relay defer .*Connection refused")


def test_exim_tries_the_relay_again_within_a_minute(exim: Exim) -> None:
    assert "127.0.0.1  *  F,4d,1m" in exim.run("-brt", "127.0.0.1").stdout
    assert "*  *  F,1h,15m" in exim.run("-brt", f"alice@{MAPPED}").stdout


@pytest.fixture
def postfix(relay: Relay, tmp_path: Path) -> Iterator[PostfixSender]:
    if os.geteuid():
        pytest.skip("Postfix's master runs as root only")
    skip_without("postqueue", "postmap", "setpriv")
    with PostfixSender(tmp_path / "postfix", SENDER, relay) as postfix:
        yield postfix


def test_postfix_hands_over_what_is_in_the_table(postfix: PostfixSender, relay: Relay) -> None:
    domains = (MAPPED, MAPPED.upper(), UNMAPPED, f"sub.{MAPPED}", SENDER)
    for domain in domains:
        postfix.submit(f"carol@{SENDER}", [f"alice@{domain}"], MESSAGE)
    for domain in domains[:2]:
        postfix.wait_for_log(rf"onion/lmtp\S* \w+: to=<alice@{domain}>.*:{relay.lmtp[1]}: Connection refused")
    for domain in domains[2:4]:
        postfix.wait_for_log(rf"discard\S* \w+: to=<alice@{domain}>.* status=sent")
    assert len(postfix.wait_for_delivered(1)) == 1


@pytest.fixture
def open_folder() -> Iterator[Path]:
    """A folder that Postfix's user may search; pytest's own are for the user who runs the tests."""
    with TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def test_postfix_hands_over_through_a_unix_socket(postfix: PostfixSender, relay: Relay, open_folder: Path) -> None:
    """As docs/local-users.md has it for hosts with local users."""
    path = open_folder / "lmtp"
    text = relay.configuration.read_text()
    text = text.replace(f"onion:inet:{relay.lmtp[0]}:{relay.lmtp[1]}", f"onion:unix:{path}")
    text = re.sub(r"lmtp_listen = .*", f'lmtp_listen = ["unix:{path}"]\nunix_mode = "0666"', text)
    relay.configuration.write_text(text)
    postfix.make_table()
    with relay:
        postfix.submit(f"carol@{SENDER}", [f"alice@{MAPPED}"], MESSAGE)
        postfix.wait_for_log(
            rf"onion/lmtp\S* \w+: to=<alice@{MAPPED}>.*relay=\S+\[{path}\].* status=deferred \(host .* said: 451"
        )
        assert postfix.sent_over_clearnet() == []


def test_postfix_finds_an_international_domain_written_out(postfix: PostfixSender) -> None:
    with postfix.connect(LOCAL_SENDERS) as session:
        session.sendmail(f"carol@{SENDER}", ["alice@müller.example"], MESSAGE, mail_options=["SMTPUTF8"])
    postfix.wait_for_log(r"onion/lmtp\S* \w+: to=<alice@müller\.example>.* status=deferred")
    assert postfix.sent_over_clearnet() == []


def test_postfix_sees_a_new_table_without_reload(postfix: PostfixSender, relay: Relay) -> None:
    postfix.submit(f"carol@{SENDER}", [f"alice@{UNMAPPED}"], MESSAGE)
    postfix.wait_for_log(rf"discard\S* \w+: to=<alice@{UNMAPPED}>.* status=sent")
    relay.publish({UNMAPPED: V3_ONION})
    postfix.make_table()
    # trivial-rewrite(8) looks every ten seconds.
    postfix.wait_for_log("transport.* has changed -- restarting")
    postfix.submit(f"carol@{SENDER}", [f"bob@{UNMAPPED}"], MESSAGE)
    postfix.wait_for_log(rf"onion/lmtp\S* \w+: to=<bob@{UNMAPPED}>.* status=deferred")


def test_table_stays_when_the_map_is_damaged(postfix: PostfixSender, relay: Relay) -> None:
    relay.map.write_bytes(b"damaged" * 1000)
    with pytest.raises(subprocess.CalledProcessError):
        postfix.make_table()
    assert postfix.run("postmap", "-q", MAPPED, f"cdb:{relay.folder}/transport").startswith("onion:inet:127.0.0.1:")


@damaged
def test_postfix_sends_nothing_when_the_table_cannot_tell(postfix: PostfixSender, relay: Relay, damage: Damage) -> None:
    damage(relay.folder / "transport.cdb")
    # Until each reply is there Postfix 3.10 takes no more, but for what follows EHLO (smtpd_forbid_unauth_pipelining).
    with closing(postfix.connect(LOCAL_SENDERS)) as session:
        assert session.sock is not None
        # A missing table is answered 451, a damaged one not at all: Postfix stops until it is repaired.
        session.sock.sendall(f"MAIL FROM:<carol@{SENDER}>\r\nRCPT TO:<alice@{MAPPED}>\r\n".encode())
        postfix.wait_for_log(
            r"trivial-rewrite\S* (fatal|error): .*transport\.cdb: (Protocol error|No such file|No such device)"
        )
    assert postfix.sent_over_clearnet() == []


def test_onion_clients_of_postfix_may_send_to_its_own_users_only(postfix: Postfix) -> None:
    with postfix.connect(ONION_CLIENTS) as session:
        session.mail("mallory@elsewhere.example")
        assert session.rcpt("victim@elsewhere.example")[0] == 554
        assert session.rcpt(f"nobody@{SENDER}")[0] == 550
        assert session.rcpt(f"alice@{SENDER}")[0] == 250
