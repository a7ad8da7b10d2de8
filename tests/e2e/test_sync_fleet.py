"""Two hosts that run `onionmx sync` with one store: a real server over TLS, set up as docs/sync.md says."""

import re
import signal
from collections.abc import Iterator
from contextlib import closing
from hashlib import sha256
from pathlib import Path

import pytest

from onionmx.defaults import DAY
from onionmx.errors import EXIT_TEMPORARY, StateError
from onionmx.sync.state.valkey.lock import LOCK
from tests.mapfile.maps import A, B, C
from tests.net.certificates import issue

from .conftest import StartNameServers
from .daemon import wait_until
from .demanding import srv
from .name_servers import NameServers, Zone
from .programs import PROJECT
from .sync_host import SyncHost
from .valkey import LOOPBACK, PASSWORD, ValkeyServer

SIGNED = "signed.test"
CHANGING = "changing.test"
WITHOUT = "without.test"
ROUTES = dict.fromkeys((CHANGING, SIGNED), ((A, 25),))
USER = "onionmx"


def documented(password: str) -> list[str]:
    """The configuration of the server in docs/sync.md, with this password."""
    (block,) = re.findall(
        r"^    # valkey\.conf.*\n((?:    .*\n)+)", (PROJECT / "docs/sync.md").read_text(), re.MULTILINE
    )
    lines = [
        line.strip().replace("#SHA256", f"#{sha256(password.encode()).hexdigest()}") for line in block.splitlines()
    ]
    assert any(line.startswith(f"user {USER} on #") for line in lines)
    return lines


@pytest.fixture
def server(tmp_path: Path) -> Iterator[ValkeyServer]:
    ca = issue(is_ca=True)
    certificate, key = issue(LOOPBACK, ca=ca).write(tmp_path)
    ca_file = tmp_path / "ca.pem"
    ca_file.write_bytes(ca.pem)
    # The port and the files of TLS are the test's own.
    lines = [line for line in documented(PASSWORD) if not line.startswith(("port", "tls-"))]
    with ValkeyServer((certificate, key, ca_file), lines, USER) as server:
        yield server


@pytest.fixture(scope="module")
def servers(name_servers: StartNameServers) -> NameServers:
    return name_servers({SIGNED: Zone("@ MX 10 mx", signed=True), CHANGING: Zone(""), WITHOUT: Zone("")})


@pytest.fixture
def dns(servers: NameServers) -> NameServers:
    lead(servers, SIGNED, A)
    lead(servers, CHANGING, A)
    return servers


def lead(dns: NameServers, domain: str, onion: str) -> None:
    dns.change_zone(domain, Zone(srv("_onion-mx._tcp", onion), signed=domain == SIGNED))


@pytest.fixture
def hosts(server: ValkeyServer, dns: NameServers, tmp_path: Path) -> tuple[SyncHost, SyncHost]:
    """Two hosts, of which the first has asked, and the second has its map from the store."""
    first, second = (SyncHost(tmp_path / name, dns.resolver, server.setting) for name in ("first", "second"))
    for host in (first, second):
        host.pins.unlink()  # a host without the file takes the pins of the others
        host.name_domains(SIGNED, CHANGING, WITHOUT)
    assert first.told("sync")["asked"] == 3
    assert second.told("sync")["asked"] == 0
    assert second.map.read_bytes() == first.map.read_bytes()
    assert first.entries == ROUTES
    return first, second


def test_one_of_them_asks(server: ValkeyServer, dns: NameServers, hosts: tuple[SyncHost, SyncHost]) -> None:
    first, second = hosts
    lead(dns, SIGNED, B)
    dns.unbound.signal(signal.SIGSTOP)
    try:
        asking = first.start("sync", "--all", "--json")
        with closing(server.server()) as client:
            wait_until(lambda: client.ask("GET", LOCK) is not None, "the first host has the lock")
        text = second.output("sync", "--all")
        summary = second.told("sync", "--all")
        changed = second.run("sync", "--accept-change", CHANGING)
    finally:
        dns.unbound.signal(signal.SIGCONT)
    printed, complaints = asking.communicate()
    assert (asking.returncode, complaints) == (0, "")
    assert '"asked": 3' in printed
    assert '"led_elsewhere": false' in printed

    assert text.endswith(f"; {second.map}; another sync is asking DNS, this one only built the map\n")
    assert (summary["led_elsewhere"], summary["asked"]) == (True, 0)
    assert changed.returncode == EXIT_TEMPORARY
    assert re.match(r"onionmx: another run is at work on valkeys://.*; nothing was changed", changed.stderr)

    assert first.entries == ROUTES | {SIGNED: ((B, 25),)}
    assert second.entries == ROUTES
    summary = second.told("sync")
    assert (summary["asked"], summary["published"]) == (0, True)
    assert second.map.read_bytes() == first.map.read_bytes()


def test_a_word_on_one_host_counts_on_both(dns: NameServers, hosts: tuple[SyncHost, SyncHost]) -> None:
    first, second = hosts
    lead(dns, CHANGING, B)
    assert second.told("sync", "--all")["waiting"] == 1
    (waiting,) = first.told("sync", "--pending")
    assert (waiting["domain"], waiting["pending"]["endpoints"]) == (CHANGING, [[B, 25]])
    assert first.entries == ROUTES
    first.output("sync", "--accept-change", CHANGING)
    assert first.entries == ROUTES | {CHANGING: ((B, 25),)}
    assert second.entries == ROUTES
    assert second.told("sync")["asked"] == 0
    assert second.map.read_bytes() == first.map.read_bytes()
    assert second.told("sync", "--pending") == []
    assert "accepted by the operator" in second.output("explain", CHANGING)


def test_pins_of_one_host_hold_on_both(hosts: tuple[SyncHost, SyncHost]) -> None:
    first, second = hosts
    first.pins.write_text(f"{CHANGING} none\n{WITHOUT} {C}\n")
    for host in hosts:
        host.output("sync")
        assert host.entries == {SIGNED: ((A, 25),), WITHOUT: ((C, 25),)}
    assert "because     the operator pinned it to none" in second.output("explain", CHANGING)
    assert second.map.read_bytes() == first.map.read_bytes()


def delivery(domain: str) -> str:
    return (
        f"2026-05-01 12:34:56 1s2Abc-000001-2z => user@{domain} R=dnslookup T=remote_smtp "
        f'H=mx.{domain} [192.0.2.1] C="250 OK"\n'
    )


def test_domains_of_the_logs_of_both(server: ValkeyServer, dns: NameServers, tmp_path: Path) -> None:
    """Each host has its own logs; whichever asks, asks for what is in any of them."""
    hosts = []
    for name, domains in (("first", (SIGNED,)), ("second", (CHANGING, WITHOUT, CHANGING))):
        log = tmp_path / f"{name}.log"
        log.write_text("".join(map(delivery, domains)))
        host = SyncHost(tmp_path / name, dns.resolver, f'logs = ["{log}"]\n{server.setting}')
        host.name_domains()
        hosts.append(host)
    first, second = hosts
    assert second.told("sync", "--dry-run")["listed"] == 2
    assert first.told("sync")["listed"] == 1
    summary = second.told("sync")
    assert (summary["listed"], summary["asked"], summary["entries"]) == (3, 2, 2)
    assert summary["outgoing"] == {"recipients": 3, "with_route": 2, "share": 2 / 3}
    summary = first.told("sync")
    assert (summary["listed"], summary["asked"], summary["outgoing"]["recipients"]) == (3, 0, 1)
    assert first.map.read_bytes() == second.map.read_bytes()
    # A host that was taken away is remembered for as long as a domain to which no mail goes any more.
    first.pass_time(366 * DAY)
    with (tmp_path / "first.log").open("a") as opened:
        opened.write(delivery(SIGNED))
    summary = first.told("sync")
    assert summary["listed"] == 1
    assert second.told("sync", "--dry-run")["listed"] == 3


def test_without_the_store_each_keeps_its_map(server: ValkeyServer, hosts: tuple[SyncHost, SyncHost]) -> None:
    before = [host.map.read_bytes() for host in hosts]
    server.stop()
    for host, commands in zip(hosts, (["", "--all", f"--accept-change={CHANGING}", "--status"], [""]), strict=True):
        for command in commands:
            result = host.run("sync", *command.split())
            assert result.returncode == EXIT_TEMPORARY
            assert re.fullmatch(
                r"onionmx: state valkeys://.*: the server cannot be reached \(.*\); the map of this host stays\n",
                result.stderr,
            )
        assert f"{A}" in host.output("map", "get", SIGNED)
    assert [host.map.read_bytes() for host in hosts] == before
    server.start()
    for host in hosts:
        assert host.told("sync")["published"] is False
        assert "3 listed: 2 with an onion MX, 1 without" in host.output("sync", "--status")


def test_a_wrong_password(server: ValkeyServer, hosts: tuple[SyncHost, SyncHost]) -> None:
    server.password_file.write_text("wrong\n")
    result = hosts[0].run("sync")
    assert result.returncode == EXIT_TEMPORARY
    assert "check user and password, in sync.store_password_file" in result.stderr


@pytest.mark.parametrize(
    "command",
    ["FLUSHALL", "KEYS *", "CONFIG GET *", "GET other", "ACL LIST", "SHUTDOWN", "PUBLISH a b", "SORT onionmx:a"],
)
def test_the_user_may_do_nothing_else(server: ValkeyServer, command: str) -> None:
    with closing(server.server()) as client, pytest.raises(StateError, match="the server forbids it"):
        client.ask(*command.split())
