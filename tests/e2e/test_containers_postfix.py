"""Postfix with what deploy/ has for docker-mailserver, mailcow, Mailu and chatmail, applied as each of them does it."""

import os
import subprocess
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from .conftest import skip_without
from .daemon import wait_until
from .exim import ONION_CLIENTS
from .postfix import Postfix
from .programs import PROJECT, find_program
from .relay import ONIONMX, Relay
from .serve_site import Serve
from .tor_network import TorNetwork

DEPLOY = PROJECT / "deploy"
SENDER, RECEIVER = "sender.example", "receiver.example"
SIGNATURE = b"DKIM-Signature: v=1; d=sender.example"
MESSAGE = b"\r\n".join((SIGNATURE, b"From: <alice@sender.example>", b"Subject: out", b"", b"Hello", b""))
CHATMAIL_HEADER_CHECKS = "/^DKIM-Signature:/ IGNORE\n/^Authentication-Results:/ IGNORE\n/^Received:/ IGNORE\n"
"""Of chatmail's lmtp_header_cleanup, which its main.cf sets for all LMTP."""
LOCAL = {r"example\.org": SENDER.replace(".", r"\.")}
NO_MAP = "inline:{ { unused.example = : } }"


@dataclass
class Site:
    """An onion MX, and what the containers would run."""

    mx: Postfix
    onion: str
    relay: Relay
    serve: Serve


@pytest.fixture(scope="module")
def site(tor_network: TorNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Site]:
    if os.geteuid():
        pytest.skip("Postfix's master runs as root only")
    skip_without("postqueue", "postmap", "setpriv")
    folder = tmp_path_factory.mktemp("containers")
    with Postfix(folder / "mx", RECEIVER) as mx:
        onion = tor_network.add_onion_service({25: (ONION_CLIENTS, mx.port)})
        try:
            relay = Relay(folder / "relay", ("localhost", tor_network.client.socks[1]))
            relay.publish({RECEIVER: onion})
            relay.configure_map(f'[map]\ntransport_path = "{relay.folder}/transport.cdb"\n')
            text = relay.configuration.read_text()
            result = f'transport_result = "onion:inet:127.0.0.1:{relay.lmtp[1]}"'
            relay.configuration.write_text(text.replace("[map]\n", f"[map]\n{result}\n", 1))
            command: list[str | Path] = [ONIONMX, "sync", "--config", relay.configuration, "--pins", relay.published]
            subprocess.run(command, check=True, capture_output=True)
            local = f'[local]\ndomains = ["{SENDER}"]'
            serve = Serve(folder / "serve", None, (local,), f"onion:inet:localhost:{relay.lmtp[1]}")
            serve.publish({RECEIVER: onion})
            with relay, serve:
                tor_network.client.wait_until_reachable(onion)
                yield Site(mx, onion, relay, serve)
        finally:
            tor_network.remove_onion_service(onion)


def replaced(text: str, values: Mapping[str, str]) -> str:
    for shown, real in values.items():
        assert shown in text
        text = text.replace(shown, real)
    return text


def here(site: Site) -> dict[str, str]:
    """What differs from the containers: names and ports."""
    return {"onionmx-serve:10027": f"localhost:{site.serve.socketmap[1]}"}


def local_domains(postfix: Postfix, example: Path) -> str:
    """The table of local domains, with that of this Postfix."""
    path = postfix.configuration / example.name
    path.write_text(replaced(example.read_text(), LOCAL))
    return f"regexp:{path}"


def run_script(postfix: Postfix, script: str, interpreter: str) -> None:
    """Run it with a postconf on PATH that is about this Postfix, as in the container; what it warns of is a mistake."""
    programs = postfix.folder / "bin"
    programs.mkdir(exist_ok=True)
    wrapper = programs / "postconf"
    wrapper.write_text(f'#!/bin/sh\nexec {find_program("postconf")} -c {postfix.configuration} "$@"\n')
    wrapper.chmod(0o755)
    environment = os.environ | postfix.environment
    environment["PATH"] = f"{programs}:{os.environ['PATH']}"
    ran = subprocess.run([interpreter], input=script, env=environment, check=False, capture_output=True, text=True)
    assert (ran.returncode, ran.stdout, ran.stderr) == (0, "", "")


def docker_mailserver(postfix: Postfix, site: Site) -> None:
    script = (DEPLOY / "docker-mailserver/user-patches.sh").read_text()
    for _ in range(2):  # once for each start of the container
        run_script(postfix, replaced(script, here(site) | LOCAL), "bash")


def mailcow(postfix: Postfix, site: Site) -> None:
    """Its hook runs first; extra.cf goes to the end of main.cf."""
    for _ in range(2):
        run_script(postfix, (DEPLOY / "mailcow/onionmx.sh").read_text(), "bash")
    local = local_domains(postfix, DEPLOY / "mailcow/custom_transport.pcre")
    maps = {
        "pcre:/opt/postfix/conf/custom_transport.pcre": local,
        "pcre:/opt/postfix/conf/local_transport": NO_MAP,
        "proxy:mysql:/opt/postfix/conf/sql/mysql_relay_ne.cf": NO_MAP,
        "proxy:mysql:/opt/postfix/conf/sql/mysql_transport_maps.cf": NO_MAP,
    }
    extra = replaced((DEPLOY / "mailcow/extra.cf").read_text(), here(site) | maps)
    with (postfix.configuration / "main.cf").open("a") as file:
        file.write(f"\n# User Overrides\n{extra}")


def mailu(postfix: Postfix, site: Site) -> None:
    """As core/postfix/start.py does it: line by line, by a shell."""
    maps = {
        "lmdb:/etc/postfix/transport.map": NO_MAP,
        "socketmap:unix:/tmp/podop.socket:transport": NO_MAP,
        "regexp:/overrides/onionmx-local": local_domains(postfix, DEPLOY / "mailu/onionmx-local"),
    }
    files = {
        "postfix.cf": ("-e", here(site) | maps),
        "postfix.master": ("-Me", {}),
    }
    for name, (option, values) in files.items():
        text = replaced((DEPLOY / "mailu" / name).read_text(), values)
        for line in text.strip().split("\n"):
            if line and not line.startswith("#"):
                run_script(postfix, f'postconf {option} "{line}"\n', "sh")


def chatmail(postfix: Postfix, site: Site) -> None:
    (postfix.configuration / "lmtp_header_cleanup").write_text(CHATMAIL_HEADER_CHECKS)
    values = {
        "example.org": SENDER,
        "127.0.0.1:10026": f"127.0.0.1:{site.relay.lmtp[1]}",
        "/var/lib/onionmx": str(site.relay.folder),
    }
    with (postfix.configuration / "main.cf").open("a") as file:
        file.write(f"lmtp_header_checks = regexp:{postfix.configuration}/lmtp_header_cleanup\n")
    script = replaced((DEPLOY / "chatmail/onionmx-postfix").read_text(), values)
    for _ in range(2):
        run_script(postfix, script, "sh")


APPLIED: dict[str, Callable[[Postfix, Site], None]] = {
    "docker-mailserver": docker_mailserver,
    "mailcow": mailcow,
    "mailu": mailu,
    "chatmail": chatmail,
}


@pytest.mark.parametrize("product", APPLIED)
def test_mail_takes_the_onion_and_all_other_the_old_way(product: str, site: Site, tmp_path: Path) -> None:
    postfix = Postfix(tmp_path / "postfix", SENDER)
    APPLIED[product](postfix, site)
    assert postfix.run("postconf", "-M", "onion/unix").split()[:8] == [
        "onion",
        "unix",
        "-",
        "-",
        "n",
        "-",
        "100",
        "lmtp",
    ]
    before = len(site.mx.delivered())
    with postfix:
        postfix.submit(f"alice@{SENDER}", [f"bob@{RECEIVER}", "carol@elsewhere.example", f"bob@{SENDER}"], MESSAGE)
        copies = site.mx.wait_for_delivered(before + 1)
        assert any(SIGNATURE in copy for copy in copies)
        postfix.wait_for_log(
            rf"postfix/onion/lmtp\[\d+\]: \w+: to=<bob@{RECEIVER}>.* status=sent \(250 2\.0\.0 onion-mx said:"
        )
        postfix.wait_for_delivered(1)  # the local copy
        wait_until(lambda: postfix.sent_over_clearnet() == ["carol@elsewhere.example"], "the way of all other mail")


@pytest.mark.parametrize("product", ["docker-mailserver", "mailcow", "mailu"])
def test_without_lookups_mail_waits_and_local_mail_does_not(product: str, site: Site, tmp_path: Path) -> None:
    postfix = Postfix(tmp_path / "postfix", SENDER)
    APPLIED[product](postfix, site)
    site.serve.stop()
    try:
        with postfix:
            postfix.submit(f"alice@{SENDER}", [f"bob@{SENDER}"], MESSAGE)
            postfix.wait_for_delivered(1)
            with postfix.connect() as session:
                session.mail(f"alice@{SENDER}")
                assert session.rcpt(f"bob@{RECEIVER}")[0] in range(400, 500)
            assert not postfix.sent_over_clearnet()
    finally:
        site.serve.start()
