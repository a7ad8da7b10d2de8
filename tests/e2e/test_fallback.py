"""Mail for a dead onion waits, leaves over the open internet after the time of its rule, and comes back by itself."""

import os
import re
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path

import pytest

from onionmx.fallback.writing import read_released, write_released
from onionmx.routing.files import LOOK_INTERVAL
from tests.fallback.test_released import FAULTS as RELEASED_FAULTS
from tests.mapfile.maps import A

from .conftest import skip_without
from .daemon import Daemon, free_ports, wait_until
from .dns_logger import DnsLogger
from .exim import LOCAL_SENDERS, ONION_CLIENTS, Exim
from .postfix import Postfix
from .relay import ONIONMX, Relay
from .relay_site import exim_macros, exim_parts
from .serve_site import Serve
from .tor_network import TorNetwork

SENDER = "sender.example"
ALIVE, DEAD, NEVER = "alive.example", "dead.example", "never.example"
AFTER = 60.0
"""Seconds; the shortest time of a rule."""
MESSAGE = f"From: <carol@{SENDER}>\r\nSubject: a test\r\n\r\nHello\r\n".encode()


class Site:
    """An Exim that sends through the relay, one onion MX that answers, one that does not, and the open internet."""

    def __init__(self, tor: TorNetwork, folder: Path, started: ExitStack) -> None:
        self.alive = started.enter_context(Exim(folder / "alive", ALIVE))
        self.clearnet = started.enter_context(Exim(folder / "clearnet", DEAD))
        self.dead = Exim(folder / "dead", DEAD)
        started.callback(self.dead.stop)
        (nobody,) = free_ports(1)
        onions = {}
        for domain, port in ((ALIVE, self.alive.port), (DEAD, self.dead.port), (NEVER, nobody)):
            onions[domain] = tor.add_onion_service({25: (ONION_CLIENTS, port)})
            started.callback(tor.remove_onion_service, onions[domain])
        rules, self.released = folder / "rules", folder / "released.cdb"
        rules.write_text(f"* after 1m\n{NEVER} never\n")
        settings = (f'rules = "{rules}"', f'released = "{self.released}"', "probe_interval = 2")
        self.relay = Relay(folder / "relay", tor.client.socks, ["[fallback]", *settings])
        self.relay.publish(onions)
        started.enter_context(self.relay)
        clearnet = f"""
clearnet:
  driver = smtp
  hosts = {LOCAL_SENDERS}
  port = {self.clearnet.port}
  hosts_override
  allow_localhost
"""
        macros = {**exim_macros(self.relay), "ONIONMX_RELEASED": str(self.released)}
        parts = exim_parts() | {"transport/30_clearnet": clearnet}
        self.exim = started.enter_context(Exim(folder / "exim", SENDER, macros, parts))
        tor.client.wait_until_reachable(onions[ALIVE])

    def send(self, domain: str) -> None:
        """Give the sender a message for a domain."""
        self.exim.submit(f"carol@{SENDER}", [f"alice@{domain}"], MESSAGE)

    def lookup(self, domain: str) -> subprocess.CompletedProcess[str]:
        """What `onionmx lookup` says of a domain."""
        command: list[str | Path] = [ONIONMX, "lookup", "--config", self.relay.configuration, domain]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    def wait_for_relay(self, words: str) -> None:
        """Wait until the relay's log has these words."""
        wait_until(lambda: words in self.relay.log_text(), f"{words!r} in the relay's log", 240)


@pytest.fixture
def site(tor_network: TorNetwork, tmp_path: Path) -> Iterator[Site]:
    skip_without("exim4", "setpriv")
    tmp_path.chmod(0o755)
    with ExitStack() as started:
        yield Site(tor_network, tmp_path, started)


def test_mail_for_a_dead_onion_waits_leaves_and_comes_back(site: Site) -> None:
    begin = time.monotonic()
    for domain in (ALIVE, DEAD, NEVER):
        site.send(domain)
    site.alive.wait_for_delivered(1)
    site.exim.wait_for_log(rf"== alice@{DEAD} R=onionmx .*defer")
    site.exim.wait_for_log(rf"== alice@{NEVER} R=onionmx .*defer")
    site.exim.run_queue()
    assert site.clearnet.delivered() == []
    assert site.lookup(DEAD).returncode == 0

    site.wait_for_relay(f"{DEAD}: released: ")
    assert time.monotonic() - begin >= AFTER
    assert read_released(site.released).domains == (DEAD,)
    found = site.lookup(DEAD)
    assert found.returncode == 1
    assert "released" in found.stdout + found.stderr
    assert site.lookup(NEVER).returncode == 0

    site.exim.run_queue()
    assert len(site.clearnet.wait_for_delivered(1)) == 1
    assert len(site.exim.queue()) == 1, "that of the domain with `never`"

    site.dead.start()
    site.wait_for_relay(f"{DEAD}: no longer released: one of its onion MXes has answered")
    site.send(DEAD)
    assert len(site.dead.wait_for_delivered(1)) == 1
    assert len(site.clearnet.delivered()) == 1
    assert f"{NEVER}: released" not in site.relay.log_text()

    site.relay.stop()
    assert read_released(site.released).domains == ()


def test_postfix_leaves_relayhost_and_transport_as_they_are(tmp_path: Path) -> None:
    if os.geteuid():
        pytest.skip("Postfix's master runs as root only")
    skip_without("postqueue", "postmap", "exim4", "setpriv")
    write_released(tmp_path / "released.cdb", (DEAD, "xn--bcher-kva.example"))
    with Exim(tmp_path / "relayhost", "relayhost.example", {"MAIN_RELAY_TO_DOMAINS": "*"}) as relayhost:
        onion = "lmtp:inet:127.0.0.1:9"
        main = (
            f"transport_maps = cdb:{tmp_path}/released inline:{{ {{ {DEAD} = {onion} }}"
            f" {{ {NEVER} = {onion} }} {{ bücher.example = {onion} }} }}\n"
            f"default_transport = smtp\nrelayhost = [{LOCAL_SENDERS}]:{relayhost.port}\n"
        )
        with Postfix(tmp_path / "postfix", SENDER, main, "smtp unix - - n - - smtp\n") as postfix:
            for domain in (DEAD, NEVER):
                postfix.submit(f"carol@{SENDER}", [f"alice@{domain}"], MESSAGE)
            with postfix.connect() as session:
                session.sendmail(f"carol@{SENDER}", ["alice@bücher.example"], MESSAGE, mail_options=["SMTPUTF8"])
            by = rf"relay={LOCAL_SENDERS}\[{LOCAL_SENDERS}\]:{relayhost.port}"
            postfix.wait_for_log(rf"to=<alice@{DEAD}>, {by}.* status=sent")
            postfix.wait_for_log(rf"to=<alice@bücher\.example>, {by}")
            postfix.wait_for_log(rf"to=<alice@{NEVER}>.* status=deferred \(connect to 127\.0\.0\.1")


def test_exim_with_the_table_believes_a_file_of_the_last_hour(tmp_path: Path) -> None:
    skip_without("exim4", "setpriv")
    tmp_path.chmod(0o755)
    released = tmp_path / "released.cdb"
    relay = Relay(tmp_path / "relay", ("127.0.0.1", 9))
    relay.publish({DEAD: A, ALIVE: A, "xn--bcher-kva.example": A})
    macros = {**exim_macros(relay), "ONIONMX_RELEASED": str(released)}
    exim = Exim(tmp_path / "exim", SENDER, macros, exim_parts())

    def router_of(domain: str) -> str:
        found = re.search(r"router = (\w+)", exim.route_test(f"alice@{domain}"))
        return found[1] if found else "none"

    assert "cannot be resolved at this time" in exim.route_test(f"alice@{DEAD}"), "there is no file"
    write_released(released, (DEAD, A, "xn--bcher-kva.example"))
    assert router_of(DEAD) == router_of("xn--bcher-kva.example") == router_of("elsewhere.example") == "clearnet"
    assert router_of(ALIVE) == router_of(A) == "onionmx"
    write_released(released, (DEAD,), age=3700)
    assert router_of(DEAD) == "onionmx"
    in_an_hour = time.time() + 3600
    os.utime(released, (in_an_hour, in_an_hour))
    assert router_of(DEAD) == "onionmx", "the clock was put back"
    assert router_of("elsewhere.example") == "clearnet"
    write_released(released, ())
    assert router_of(DEAD) == "onionmx"
    released.write_bytes(b"damaged")
    assert "cannot be resolved at this time" in exim.route_test(f"alice@{DEAD}")
    released.unlink()
    assert "router = local_user" in exim.route_test(f"alice@{SENDER}")


def ask_all(address: tuple[str, int], domains: Sequence[str]) -> list[bytes]:
    """The first word of each answer to socketmap requests, which are sent one behind the other."""
    requests = b"".join(b"%d:%s," % (len(key), key) for key in (f"x {domain}".encode() for domain in domains))
    words = []
    with socket.create_connection(address, timeout=120) as connection, connection.makefile("rb") as stream:
        sending = threading.Thread(target=connection.sendall, args=(requests,))
        sending.start()
        for _ in domains:
            digits = b""
            while (byte := stream.read(1)) != b":":
                assert byte, "the daemon has closed the connection"
                digits += byte
            words.append(stream.read(int(digits) + 1).split(b" ")[0])
        sending.join()
    return words


def test_without_rules_nothing_is_no_route_and_nothing_is_asked(tmp_path: Path) -> None:
    """Ten thousand lookups of domains with onions, with a map that cannot be read, and files of others as released."""
    if os.geteuid():
        pytest.skip("port 53 is for root only")
    skip_without("unshare")
    released = tmp_path / "released.cdb"
    serve = Serve(tmp_path / "serve", options=("[fallback]", f'released = "{released}"'))
    serve.publish({DEAD: A, ALIVE: A})
    with DnsLogger(tmp_path) as logger:
        daemon = Daemon("serve", [*logger.wrap, *serve.command], tmp_path)
        with daemon:
            daemon.wait_for_log("lookups ready")
            faults = [*RELEASED_FAULTS.values()]
            domains = [DEAD, ALIVE] * (10_000 // 2 // (len(faults) + 1) + 1)
            for fault in faults:
                if released.is_dir():
                    released.rmdir()
                released.unlink(missing_ok=True)
                write_released(released, (DEAD,))
                fault(released)
                until = time.monotonic() + 2 * LOOK_INTERVAL  # it must have looked at the file meanwhile
                while time.monotonic() < until:
                    assert set(ask_all(serve.socketmap, domains)) == {b"OK"}
            serve.map.unlink()
            serve.map.write_bytes(b"damaged")
            wait_until(lambda: ask_all(serve.socketmap, [DEAD]) == [b"TEMP"], "a look at the map")
            assert set(ask_all(serve.socketmap, domains)) == {b"TEMP"}
        assert logger.asked == []
