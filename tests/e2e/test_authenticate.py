"""No downgrade: a forged record leads nobody away from a domain with MTA-STS or DANE.

Real name servers, a real HTTPS host for the policy behind a Tor exit, and two real Exims behind onion services: the
one of the domain, and that of an attacker who answers unsigned DNS questions as he likes.
"""

import asyncio
import smtplib
import socket
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import TypeVar

import pytest

from onionmx.answer import CouldNotTell, Found
from onionmx.authenticate.demand.authorities import Authorities
from onionmx.authenticate.demand.policy_lookup import PolicyAnswer, PolicyLookup
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind, NotRequired
from onionmx.authenticate.proof.prove import NotProven, Proven, prove
from onionmx.authenticate.proof.published import publishing_demands
from onionmx.config import AuthenticateSection, Configuration, DnsSection, TorSection, parse_socket
from onionmx.dns.records import RecordResolver
from onionmx.dns.srv import SrvResolver
from onionmx.onion import Endpoint
from onionmx.parts import Parts
from onionmx.target import Trust
from onionmx.tor.socks import SocksConnector
from tests.authenticate.policy_host import PolicyHost, policy_host
from tests.net.certificates import issue

from .conftest import StartNameServers, skip_without
from .demanding import (
    DANE,
    DANE_MX,
    ELSEWHERE,
    MX,
    POLICY,
    RIGHT,
    ROOT,
    STS,
    dane_zone,
    onion_servers,
    srv,
    sts_zone,
)
from .exim import Exim
from .name_servers import NameServers, Zone
from .relay import Relay
from .socks import Address
from .tor_network import TorNetwork

BOGUS = "bogus.test"
PATIENCE = 120.0
"""Seconds: tor may try that long for an onion."""

_T = TypeVar("_T")


class Site:
    """The two servers, DNS, the policy, and somebody who wants to send."""

    def __init__(self, tor: TorNetwork, exit_port: str, dns: NameServers, policy: PolicyHost, folder: Path) -> None:
        self.tor = tor
        self.exit_port = exit_port
        self.dns = dns
        self.policy = policy
        self.ca_file = folder / "ca.pem"
        self.onion = ""
        self.attacker = ""

    def forge(self, onion: str) -> None:
        """Make every unsigned record lead to this onion."""
        self.dns.change_zone(STS, sts_zone(onion))
        self.dns.change_zone(ELSEWHERE, Zone(srv("_onion-mx._tcp", onion)))

    def route(self, domain: str) -> tuple[Endpoint, ...]:
        """Where the record of a domain leads; nobody has signed it."""

        async def ask() -> tuple[Endpoint, ...]:
            resolver = SrvResolver(self._dns_settings)
            answer = await resolver.ask(domain)
            assert isinstance(answer, Found)
            assert answer.route.trust is Trust.UNSIGNED
            return answer.route.endpoints

        return asyncio.run(ask())

    def requirement(self, domain: str, known: EnforcedPolicy | None = None) -> PolicyAnswer:
        """What a domain demands; its policy comes through an exit of Tor."""

        async def ask(connector: SocksConnector) -> PolicyAnswer:
            async def connect(endpoint: Endpoint) -> socket.socket:
                assert endpoint == (f"mta-sts.{STS}", 443)
                return await connector.connect(self.policy.address)

            settings = AuthenticateSection(ca_file=str(self.ca_file))
            policy_lookup = PolicyLookup(settings, RecordResolver(self._dns_settings), connect)
            try:
                return await policy_lookup.requirement_of(domain, known)
            finally:
                policy_lookup.close()

        return _over_tor(parse_socket(self.exit_port), ask)

    def proof(self, domain: str) -> Proven | NotProven | CouldNotTell:
        """What comes of the proof of the onion to which the record leads now."""
        requirement = self.requirement(domain)
        assert isinstance(requirement, EnforcedPolicy)
        authorities = Authorities(str(self.ca_file))
        endpoints = self.route(domain)
        return _over_tor(
            self.tor.client.socks,
            lambda connector: prove(
                requirement, endpoints, connector.connect, authorities, hello="client.example", timeout=PATIENCE
            ),
        )

    @property
    def _dns_settings(self) -> DnsSection:
        return DnsSection(nameservers=("{}:{}".format(*self.dns.resolver),))


def _over_tor(port: Address, work: Callable[[SocksConnector], Awaitable[_T]]) -> _T:
    async def run() -> _T:
        connector = SocksConnector("{}:{}".format(*port), PATIENCE)
        try:
            return await work(connector)
        finally:
            connector.close()

    return asyncio.run(run())


@pytest.fixture(scope="module")
def servers(tor_network: TorNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[dict[str, Exim]]:
    """The Exim of the domains, and the attacker's, by onion."""
    skip_without("exim4", "setpriv")
    with onion_servers(tor_network, tmp_path_factory.mktemp("authenticate")) as found:
        yield found


@pytest.fixture(scope="module")
def site(
    tor_network: TorNetwork,
    name_servers: StartNameServers,
    exit_port: str,
    servers: dict[str, Exim],
    tmp_path_factory: pytest.TempPathFactory,
) -> Iterator[Site]:
    folder = tmp_path_factory.mktemp("policy")
    (folder / "ca.pem").write_bytes(ROOT.pem)
    with policy_host(issue(f"mta-sts.{STS}", ca=ROOT), folder) as policy:
        policy.content = POLICY
        right, attacker = servers
        zones = {
            STS: sts_zone(right),
            DANE: dane_zone(3, RIGHT),
            ELSEWHERE: Zone(srv("_onion-mx._tcp", right)),
            BOGUS: Zone("@ MX 10 mx", bogus=True),
        }
        found = Site(tor_network, exit_port, name_servers(zones), policy, folder)
        found.onion, found.attacker = right, attacker
        yield found


@pytest.fixture(autouse=True)
def honest(site: Site) -> Iterator[None]:
    """Begin with true answers, and end with them."""
    content = site.policy.content
    yield
    site.policy.status, site.policy.content = 200, content
    site.forge(site.onion)
    site.dns.change_zone(DANE, dane_zone(3, RIGHT))


def test_what_domains_demand(site: Site) -> None:
    said = site.requirement(STS)
    assert isinstance(said, EnforcedPolicy)
    assert (said.demand.kind, said.demand.names) == (Kind.MTA_STS, (MX,))
    assert site.policy.requests[-1][1] == f"mta-sts.{STS}"
    said = site.requirement(DANE)
    assert isinstance(said, EnforcedPolicy)
    assert (said.demand.kind, said.demand.names) == (Kind.DANE, (DANE_MX, DANE))
    assert isinstance(site.requirement(ELSEWHERE), NotRequired)
    assert isinstance(site.requirement(BOGUS), CouldNotTell)


@pytest.mark.parametrize("domain", [STS, DANE])
def test_onion_of_the_domain_is_proven(site: Site, domain: str) -> None:
    proof = site.proof(domain)
    assert isinstance(proof, Proven), proof
    assert proof.endpoints == ((site.onion, 25),)


@pytest.mark.parametrize("domain", [STS, DANE])
def test_onion_of_the_attacker_is_not(site: Site, servers: dict[str, Exim], domain: str) -> None:
    site.forge(site.attacker)
    assert site.route(domain) == ((site.attacker, 25),)
    proof = site.proof(domain)
    assert isinstance(proof, NotProven), proof
    assert proof.reason.startswith(site.attacker)
    assert servers[site.attacker].delivered() == []


def test_authority_in_dns(site: Site) -> None:
    site.dns.change_zone(DANE, dane_zone(2, ROOT))
    assert isinstance(site.proof(DANE), Proven)
    site.forge(site.attacker)
    assert isinstance(site.proof(DANE), NotProven)


def test_attacker_who_blocks_the_policy(site: Site) -> None:
    known = site.requirement(STS)
    assert isinstance(known, EnforcedPolicy)
    site.policy.status = 503
    assert isinstance(site.requirement(STS), CouldNotTell)
    site.forge(site.attacker)
    site.dns.change_zone(STS, Zone(srv("_onion-mx._tcp", site.attacker)))  # without the TXT record
    again = site.requirement(STS, known)
    assert isinstance(again, EnforcedPolicy)
    assert again.demand == known.demand


def send(relay: Relay, recipient: str) -> tuple[int, str]:
    """Hand a message to the relay; code and text for it."""
    with smtplib.SMTP(*relay.smtp, timeout=PATIENCE) as session:
        session.ehlo("mta.sender.example")
        session.mail("me@sender.example")
        assert session.rcpt(recipient)[0] == 250
        code, text = session.data(b"Subject: a secret\r\n\r\nhello\r\n")
        return code, text.decode()


def demands(site: Site) -> dict[str, Demand]:
    said = {domain: site.requirement(domain) for domain in (STS, DANE)}
    return {domain: each.demand for domain, each in said.items() if isinstance(each, EnforcedPolicy)}


def test_relay_checks_again(site: Site, servers: dict[str, Exim], tmp_path: Path) -> None:
    options = ("[authenticate]", f'ca_file = "{site.ca_file}"')
    relay = Relay(tmp_path / "relay", site.tor.client.socks, options)
    wanted = demands(site)
    assert wanted.keys() == {STS, DANE}
    with publishing_demands(relay.map, wanted):
        relay.publish(dict.fromkeys(wanted, site.onion))
    with relay:
        for domain in wanted:
            assert send(relay, f"alice@{domain}")[0] == 250
        servers[site.onion].wait_for_delivered(2)
        relay.publish(dict.fromkeys(wanted, site.attacker))
        for domain in wanted:
            code, text = send(relay, f"alice@{domain}")
            assert (code, text.split(" ")[0]) == (451, "4.7.5"), text
        assert "failed: no authority vouches for the certificate" in relay.log_text()
    assert servers[site.attacker].delivered() == []
    assert "secret" not in servers[site.attacker].log_text()
    assert "@sender.example" not in servers[site.attacker].log_text()


def test_relay_that_asks_dns_itself(site: Site, servers: dict[str, Exim], tmp_path: Path) -> None:
    """Routes that are looked up at delivery are held to the same."""
    for onion, code in ((site.attacker, 451), (site.onion, 250)):
        site.forge(onion)
        options = (
            f'[authenticate]\nca_file = "{site.ca_file}"\n[lookup]\nlive = true',
            '[dns]\nnameservers = ["{}:{}"]'.format(*site.dns.resolver),
        )
        relay = Relay(tmp_path / str(code), site.tor.client.socks, options)
        with relay, smtplib.SMTP(*relay.smtp, timeout=PATIENCE) as session:
            session.ehlo("mta.sender.example")
            session.mail("me@sender.example")
            found, text = session.rcpt(f"alice@{DANE}")
            assert found == code, text
            if found == 250:
                assert session.data(b"Subject: a secret\r\n\r\nhello\r\n")[0] == 250
            else:
                assert b"not routed: dane: " in text
    assert servers[site.attacker].delivered() == []


def test_policy_needs_a_port_that_leads_out_of_tor(site: Site) -> None:
    configuration = Configuration(
        dns=DnsSection(nameservers=("{}:{}".format(*site.dns.resolver),)),
        tor=TorSection(socks="{}:{}".format(*site.tor.client.socks)),
    )

    async def ask() -> PolicyAnswer:
        async with Parts(configuration) as parts:
            assert parts.guard
            return await parts.guard.policy_lookup.requirement_of(STS)

    said = asyncio.run(ask())
    assert isinstance(said, CouldNotTell)
    assert "authenticate.socks must name a SocksPort without OnionTrafficOnly" in said.reason
