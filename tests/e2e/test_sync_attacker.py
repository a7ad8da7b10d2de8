"""A day on which an attacker answers every unsigned DNS question, as `onionmx sync` and the map see it.

Real name servers, real policies over HTTPS, real Exims with certificates behind onion services, and the command itself
with its state and its map, run every four hours of a clock that is set ahead. What the relay does at delivery is in
test_authenticate.py.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

import pytest

from onionmx.mapfile.cdb import COULD_NOT_TELL, DEFERS
from tests.authenticate.policy_host import PolicyHost, policy_host
from tests.net.certificates import issue

from .conftest import StartNameServers, skip_without
from .demanding import (
    DANE,
    ELSEWHERE,
    MX,
    POLICY,
    RIGHT,
    ROOT,
    STS,
    dane_zone,
    onion_servers,
    policy_hosts,
    srv,
    sts_zone,
)
from .exim import Exim
from .name_servers import NameServers, Zone
from .sync_host import SyncHost
from .tor_network import TorNetwork

PLAIN = "plain.test"
SIGNED = "signed.test"
ESTABLISHED = (PLAIN, STS, DANE, SIGNED)
FORGED = (PLAIN, STS, DANE)
"""Those of them that an attacker of unsigned answers can lie about."""
NEW = "new.test"
"""Has MTA-STS in mode enforce, no onion MX, and was never asked for before the attack."""
LATE = "late.test"
"""The same; its policy cannot be read either."""
HOUR = 3600.0
EVERY = 4  # hours
DAY = 24 // EVERY  # runs
POLICY_HOSTS = [f"mta-sts.{domain}" for domain in (STS, NEW, LATE)]


class World(NamedTuple):
    """What is outside of the host."""

    tor: TorNetwork
    dns: NameServers
    policy: PolicyHost
    servers: dict[str, Exim]
    folder: Path

    @property
    def right(self) -> str:
        return next(iter(self.servers))

    @property
    def evil(self) -> str:
        return list(self.servers)[1]

    def be_honest(self) -> None:
        """Answer the truth."""
        record = srv("_onion-mx._tcp", self.right)
        self.policy.status = 200
        self.dns.change_zone(PLAIN, Zone(record))
        self.dns.change_zone(ELSEWHERE, Zone(record))
        self.dns.change_zone(SIGNED, Zone(record, signed=True))
        self.dns.change_zone(STS, sts_zone(self.right))
        for domain in (NEW, LATE):
            self.dns.change_zone(domain, sts_zone())

    def forge(self) -> None:
        """Lead every unsigned record to the attacker, and hide what can be hidden."""
        record = Zone(srv("_onion-mx._tcp", self.evil))
        for zone in (PLAIN, ELSEWHERE, STS):
            self.dns.change_zone(zone, record)
        for domain in (NEW, LATE):
            self.dns.change_zone(domain, sts_zone(self.evil))

    def host(self, folder: Path) -> SyncHost:
        """A host that has found the established routes."""
        host = SyncHost(
            folder / "host",
            self.dns.resolver,
            tables=(
                '[tor]\nsocks = "{}:{}"\n'.format(*self.tor.client.socks)
                + f'[authenticate]\nca_file = "{self.folder}/ca.pem"\n'
            ),
        )
        host.name_domains(*ESTABLISHED)
        host.output("sync")
        assert host.entries == dict.fromkeys(ESTABLISHED, ((self.right, 25),))
        return host


@pytest.fixture(scope="module")
def world(
    tor_network: TorNetwork, name_servers: StartNameServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[World]:
    skip_without("exim4", "setpriv")
    folder = tmp_path_factory.mktemp("attacker")
    (folder / "ca.pem").write_bytes(ROOT.pem)
    with (
        onion_servers(tor_network, folder) as servers,
        policy_host(issue(*POLICY_HOSTS, ca=ROOT), folder) as policy,
        policy_hosts(tor_network, POLICY_HOSTS, policy.address),
    ):
        policy.content = POLICY
        unsigned = dict.fromkeys([PLAIN, ELSEWHERE, STS, NEW, LATE], Zone("@ MX 10 mx"))
        zones = unsigned | {DANE: dane_zone(3, RIGHT), SIGNED: Zone("@ MX 10 mx", signed=True)}
        yield World(tor_network, name_servers(zones), policy, servers, folder)


@pytest.fixture(autouse=True)
def honest(world: World) -> None:
    world.be_honest()


@pytest.fixture
def host(world: World, tmp_path: Path) -> SyncHost:
    return world.host(tmp_path)


def test_the_day(world: World, host: SyncHost) -> None:
    before = host.map.read_bytes()
    host.name_domains(*ESTABLISHED, NEW)
    world.forge()
    for run in range(DAY):
        host.pass_time(EVERY * HOUR)
        if run == DAY // 2:
            # He is also between Tor's exit and the policies.
            world.policy.status = 503
            host.name_domains(*ESTABLISHED, NEW, LATE)
        summary = host.told("sync")
        assert summary["asked"] >= len(FORGED), run
        assert summary["waiting"] == len(FORGED), run
        if run < DAY // 2:
            assert host.map.read_bytes() == before, run
        else:
            assert host.entries == dict.fromkeys(ESTABLISHED, ((world.right, 25),)) | {LATE: DEFERS}, run
    assert world.servers[world.evil].delivered() == []

    for domain in FORGED:
        assert_kept(host, world, domain)
    for domain, in_map, words in (
        (NEW, "no entry", "no authority vouches for the certificate"),
        (LATE, f"mail waits ({COULD_NOT_TELL})", "answered 503"),
    ):
        text = host.output("explain", domain)
        assert f"  map         {in_map}" in text
        assert words in text

    pending = {each["domain"]: each for each in host.told("sync", "--pending")}
    assert set(pending) == set(FORGED)
    for each in pending.values():
        assert each["established"]["endpoints"] == [[world.right, 25]]
        assert each["pending"]["endpoints"] == [[world.evil, 25]]
    assert host.output("sync", "--pending").endswith("3 waiting, 0 refused\n")

    world.be_honest()
    host.pass_time(EVERY * HOUR)
    host.output("sync")
    assert host.map.read_bytes() == before
    # One honest answer does not outweigh a day of forging. His records of domains that had none were never routed.
    assert {each["domain"] for each in host.told("sync", "--pending")} == set(FORGED)


def assert_kept(host: SyncHost, world: World, domain: str) -> None:
    """What `explain` tells of a domain of which the attacker says something else."""
    text = host.output("explain", domain)
    assert f"  map         {world.right}\n" in text
    assert "  because     the route stays: a change waits: unsigned answer of another record, seen steadily for" in text
    assert f"  waiting     {world.evil}, since 20" in text
    assert f"`onionmx sync --accept-change {domain}` takes the change" in text
    if domain != PLAIN:
        kind, shown = ("mta-sts", MX) if domain == STS else ("dane", "TLSA 3 0 1 ")
        assert re.search(rf"^  demands     {kind}: \S.*; looked at again at 20", text, re.MULTILINE)
        assert re.search(
            rf"^  proof       {kind}: {shown}.* by {world.right}, shown 20.*, until 20", text, re.MULTILINE
        )


def test_a_change_that_is_signed(world: World, host: SyncHost) -> None:
    """It is taken at once, while unsigned ones wait; nothing is demanded of it, and it cannot be forged."""
    world.forge()
    world.dns.change_zone(SIGNED, Zone(srv("_onion-mx._tcp", world.evil), signed=True))
    host.output("sync", "--all")
    assert host.entries == dict.fromkeys(FORGED, ((world.right, 25),)) | {SIGNED: ((world.evil, 25),)}
    assert f" changed {world.evil}: changed: dnssec record\n" in host.output("explain", SIGNED)
