"""Questions that nobody on the way can read: DNS over TLS to Unbound, and DNS through a real Tor network."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.mapfile.maps import A, B
from tests.net.certificates import issue

from .conftest import StartNameServers
from .daemon import Daemon, free_ports
from .name_servers import LOOPBACK, NameServers, Zone
from .programs import find_program
from .tor_network import TorNetwork

PREFIX = "_onion-mx._tcp"
SIGNED, UNSIGNED = "private.test", "plain.test"
RESOLVER = "resolver.example"


@pytest.fixture(scope="module")
def servers(name_servers: StartNameServers) -> NameServers:
    return name_servers(
        {SIGNED: Zone(f"{PREFIX} SRV 0 5 25 {A}.", signed=True), UNSIGNED: Zone(f"{PREFIX} SRV 0 5 25 {B}.")}
    )


@pytest.fixture(scope="module")
def tls_port(servers: NameServers, ca_file: Path) -> Iterator[int]:
    """A second Unbound over the same zones, which speaks TLS alone."""
    (port,) = free_ports(1)
    text = (servers.folder / "unbound.conf").read_text()
    text = re.sub(r"(?m)^  port: .*$", f"  port: {port}", text).replace("/unbound.sock", "/unbound-tls.sock")
    folder = ca_file.parent
    text += (
        f'server:\n  tls-port: {port}\n  tls-service-key: "{folder}/key.pem"\n'
        f'  tls-service-pem: "{folder}/certificate.pem"\n'
    )
    configuration = servers.folder / "unbound-tls.conf"
    configuration.write_text(text)
    with Daemon("unbound-tls", [find_program("unbound"), "-d", "-c", configuration], servers.folder) as unbound:
        unbound.wait_for_port(LOOPBACK, port)
        yield port


@pytest.fixture(scope="module")
def ca_file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The CA of the resolver's certificate, which lies beside it."""
    folder = tmp_path_factory.mktemp("tls")
    ca = issue(is_ca=True)
    issue(RESOLVER, ca=ca).write(folder)
    (folder / "ca.pem").write_bytes(ca.pem)
    return folder / "ca.pem"


def lookup(folder: Path, dns: str, *domains: str, socks: str = "127.0.0.1:1") -> tuple[int, list[dict[str, Any]]]:
    """What `onionmx lookup --live` says, and its exit code."""
    configuration = folder / "onionmx.toml"
    configuration.write_text(f'[dns]\nretries = 0\n{dns}\n[tor]\nsocks = "{socks}"\n')
    program = Path(sys.executable).with_name("onionmx")
    command: list[str | Path] = [program, "lookup", "--config", configuration, "--live", "--json", *domains]
    result = subprocess.run(command, capture_output=True, text=True, check=False)
    assert result.stderr == ""
    return result.returncode, json.loads(result.stdout)


def test_dns_over_tls(tmp_path: Path, tls_port: int, ca_file: Path) -> None:
    nameservers = f'["tls://{LOOPBACK}:{tls_port}#{RESOLVER}"]'
    dns = f'nameservers = {nameservers}\ntrusted = {nameservers}\ntls_ca_file = "{ca_file}"'
    code, answers = lookup(tmp_path, dns, SIGNED, UNSIGNED)
    assert code == 0
    assert [(answer["targets"][0]["onion"], answer["trust"]) for answer in answers] == [(A, "dnssec"), (B, "unsigned")]
    assert lookup(tmp_path, dns, f"none.{SIGNED}")[0] == 1


def test_resolver_with_another_name(tmp_path: Path, tls_port: int, ca_file: Path) -> None:
    dns = f'nameservers = ["tls://{LOOPBACK}:{tls_port}#other.example"]\ntls_ca_file = "{ca_file}"'
    code, (answer,) = lookup(tmp_path, dns, SIGNED)
    assert code == 75
    assert "its certificate cannot be trusted: Hostname mismatch" in answer["reason"]


def test_resolver_of_an_unknown_authority(tmp_path: Path, tls_port: int) -> None:
    code, (answer,) = lookup(tmp_path, f'nameservers = ["tls://{LOOPBACK}:{tls_port}#{RESOLVER}"]', SIGNED)
    assert code == 75
    assert "its certificate cannot be trusted" in answer["reason"]


def through_tor(resolver: str, more: str = "") -> str:
    return f'nameservers = ["{resolver}"]\nthrough_tor = true\ntimeout = 60\n{more}'


def test_through_an_exit(tmp_path: Path, servers: NameServers, exit_port: str) -> None:
    dns = through_tor("{}:{}".format(*servers.resolver))
    code, answers = lookup(tmp_path, dns, SIGNED, UNSIGNED, socks=exit_port)
    assert code == 0
    assert [(answer["targets"][0]["onion"], answer["trust"]) for answer in answers] == [
        (A, "unsigned"),
        (B, "unsigned"),
    ], "nobody vouches for what an exit says"


def test_over_tls_through_an_exit(tmp_path: Path, tls_port: int, ca_file: Path, exit_port: str) -> None:
    resolver = f"tls://{LOOPBACK}:{tls_port}#{RESOLVER}"
    dns = through_tor(resolver, f'trusted = ["{resolver}"]\ntls_ca_file = "{ca_file}"')
    code, (answer,) = lookup(tmp_path, dns, SIGNED, socks=exit_port)
    assert (code, answer["trust"]) == (0, "dnssec")


def test_port_for_onions_only(tmp_path: Path, servers: NameServers, tor_network: TorNetwork) -> None:
    socks = "{}:{}".format(*tor_network.client.socks)
    code, (answer,) = lookup(tmp_path, through_tor("{}:{}".format(*servers.resolver)), SIGNED, socks=socks)
    assert code == 75
    assert "tor.socks must name a SocksPort without OnionTrafficOnly" in answer["reason"]


def test_resolver_that_is_an_onion(tmp_path: Path, servers: NameServers, tor_network: TorNetwork) -> None:
    onion = tor_network.add_onion_service({53: servers.resolver})
    tor_network.client.wait_until_reachable(onion, 53)
    code, (answer,) = lookup(tmp_path, through_tor(onion), SIGNED, socks="{}:{}".format(*tor_network.client.socks))
    assert (code, answer["targets"][0]["onion"]) == (0, A)
