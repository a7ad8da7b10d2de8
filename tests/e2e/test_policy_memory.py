"""A restart of relay or lookup daemon frees no domain from its MTA-STS policy: real processes, Tor, DNS and servers.

The attacker answers unsigned DNS questions, hides the TXT record and blocks the policy host; he only waits until the
daemon has forgotten. The domain was asked by live lookups alone, so that no map knows it.
"""

import smtplib
import socket
from collections.abc import Iterator
from pathlib import Path
from stat import S_IMODE

import pytest

from tests.authenticate.policy_host import PolicyHost, policy_host
from tests.net.certificates import issue

from .conftest import StartNameServers, skip_without
from .demanding import MX, POLICY, ROOT, STS, onion_servers, policy_hosts, srv, sts_zone
from .exim import Exim
from .name_servers import NameServers, Zone
from .relay import Relay
from .serve_site import Serve
from .tor_network import TorNetwork

HOST = f"mta-sts.{STS}"


class World:
    """Everything around the daemon."""

    def __init__(self, tor: TorNetwork, dns: NameServers, policy: PolicyHost, servers: dict[str, Exim]) -> None:
        self.tor = tor
        self.dns = dns
        self.policy = policy
        self.servers = servers
        self.right, self.evil = servers

    def attack(self) -> None:
        """Lead the record to the attacker's onion, and hide the policy."""
        self.dns.change_zone(STS, Zone(srv("_onion-mx._tcp", self.evil)))
        self.policy.status = 503


@pytest.fixture
def world(tor_network: TorNetwork, name_servers: StartNameServers, tmp_path: Path) -> Iterator[World]:
    skip_without("exim4", "setpriv")
    (tmp_path / "ca.pem").write_bytes(ROOT.pem)
    with (
        onion_servers(tor_network, tmp_path) as servers,
        policy_host(issue(HOST, ca=ROOT), tmp_path) as policy,
        policy_hosts(tor_network, [HOST], policy.address),
    ):
        policy.content = POLICY
        world = World(tor_network, name_servers({STS: Zone("@ MX 10 mx")}), policy, servers)
        world.dns.change_zone(STS, sts_zone(world.right))
        yield world


def send(relay: Relay) -> tuple[int, str]:
    """Hand a message to the relay; code and text of the refusal, or of the end."""
    with smtplib.SMTP(*relay.smtp, timeout=120) as session:
        session.ehlo("mta.sender.example")
        session.mail("me@sender.example")
        code, text = session.rcpt(f"alice@{STS}")
        if code == 250:
            code, text = session.data(b"Subject: a secret\r\n\r\nhello\r\n")
        return code, text.decode()


def test_relay_that_was_restarted_knows_the_policies(world: World, tmp_path: Path) -> None:
    options = (
        f'[authenticate]\nca_file = "{tmp_path}/ca.pem"\n[lookup]\nlive = true',
        '[dns]\nnameservers = ["{}:{}"]'.format(*world.dns.resolver),
    )
    relay = Relay(tmp_path / "relay", world.tor.client.socks, options)
    with relay:
        assert send(relay)[0] == 250
    kept = relay.folder / "policies"
    assert S_IMODE(kept.stat().st_mode) == 0o600
    assert MX in kept.read_text()
    world.attack()
    with relay:
        assert send(relay)[0] == 250, "what was proven stays the route"
    forget_routes(relay.folder)
    with relay:
        code, text = send(relay)
        assert code == 451, text
    assert world.servers[world.evil].delivered() == []


def test_lookup_daemon_that_was_restarted_knows_them_too(world: World, tmp_path: Path) -> None:
    options = (
        "[tor]",
        'socks = "{}:{}"'.format(*world.tor.client.socks),
        "[authenticate]",
        f'ca_file = "{tmp_path}/ca.pem"',
    )
    serve = Serve(tmp_path / "serve", world.dns.resolver, options)
    with serve:
        assert asked(serve) == b"found " + world.right.encode() + b"\n"
    assert MX in (serve.folder / "policies").read_text()
    (serve.folder / "cache").unlink()
    world.attack()
    with serve:
        assert asked(serve) == b"found " + world.right.encode() + b"\n", "what was proven stays the route"
    (serve.folder / "cache").unlink()
    forget_routes(serve.folder)
    with serve:
        assert not asked(serve).startswith(b"found ")


def forget_routes(folder: Path) -> None:
    """Take away what live lookups remember of domains, but for the policies."""
    for path in folder.glob("live.sqlite*"):
        path.unlink()


def asked(serve: Serve) -> bytes:
    """What it answers to Exim."""
    with socket.create_connection(serve.readsocket, timeout=60) as connection:
        connection.sendall(f"route {STS}\n".encode())
        return connection.makefile("rb").readline()
