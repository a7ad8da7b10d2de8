"""DNS through Tor's SOCKS port, with a stand-in for Tor."""

import asyncio
from pathlib import Path

import pytest

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.config import DnsSection, TorSection
from onionmx.target import Trust
from onionmx.tor.resolver import srv_resolver
from tests.dns.scripted import reply, scripted_streams
from tests.dns.test_stream import GOOD, NAME, RESOLVER, VALIDATED, A
from tests.net.certificates import issue
from tests.onions import make_onion
from tests.tor.forwarding import forwarding

ONION = make_onion("resolver")


def test_questions_take_the_socks_port_and_one_connection() -> None:
    async def run() -> None:
        async with forwarding() as (tor, socks), scripted_streams({NAME: VALIDATED}) as (server, port):
            settings = DnsSection(nameservers=(f"127.0.0.1:{port}",), through_tor=True)
            resolver = srv_resolver(settings, TorSection(socks=socks))
            answer = await resolver.ask("example.org")
            assert isinstance(answer, Found)
            assert answer.route.endpoints == ((A, 25),)
            assert answer.route.trust is Trust.UNSIGNED, "it is the loopback of the exit"
            assert isinstance(await resolver.ask("example.net"), NoRoute)
            assert tor.targets == [("127.0.0.1", port)]
            assert tor.users[0][0] == b"127.0.0.1", "on circuits of its own"
            assert len(server.questions) == 2
            resolver.close()

    asyncio.run(run())


def test_resolver_that_is_an_onion() -> None:
    async def run() -> None:
        async with scripted_streams({NAME: GOOD}) as (_, port), forwarding() as (tor, socks):
            tor.names[ONION] = "127.0.0.1", port
            settings = DnsSection(nameservers=(ONION,), through_tor=True)
            resolver = srv_resolver(settings, TorSection(socks=socks))
            assert isinstance(await resolver.ask("example.org"), Found)
            assert tor.targets == [(ONION, 53)]
            resolver.close()

    asyncio.run(run())


def test_tls_through_tor(tmp_path: Path) -> None:
    ca = issue(is_ca=True)
    (tmp_path / "ca.pem").write_bytes(ca.pem)

    async def run() -> None:
        context = issue(RESOLVER, ca=ca).context(tmp_path)
        async with forwarding() as (tor, socks), scripted_streams({NAME: VALIDATED}, context) as (_, port):
            nameservers = (f"tls://127.0.0.1:{port}#{RESOLVER}",)
            settings = DnsSection(
                nameservers=nameservers, trusted=nameservers, through_tor=True, tls_ca_file=str(tmp_path / "ca.pem")
            )
            resolver = srv_resolver(settings, TorSection(socks=socks))
            answer = await resolver.ask("example.org")
            assert isinstance(answer, Found)
            assert answer.route.trust is Trust.DNSSEC
            assert tor.targets == [("127.0.0.1", port)]
            resolver.close()

    asyncio.run(run())


def ask(socks: str, nameserver: str = "192.0.2.1") -> Answer:
    async def run() -> Answer:
        settings = DnsSection(nameservers=(nameserver,), through_tor=True, timeout=30)
        resolver = srv_resolver(settings, TorSection(socks=socks))
        answer = await resolver.ask("example.org")
        resolver.close()
        return answer

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("number", "nameserver", "why"),
    [
        (0x01, "192.0.2.1", "192.0.2.1 port 53 through tor: tor gave a general failure"),
        (0x02, "192.0.2.1", "tor.socks must name a SocksPort without OnionTrafficOnly"),
        (0x04, "192.0.2.1", "tor found no exit that reaches it"),
        (0x05, "192.0.2.1", "it refused the connection"),
        (0xF0, ONION, "no descriptor found"),
    ],
)
def test_what_tor_says_is_could_not_tell(number: int, nameserver: str, why: str) -> None:
    async def run() -> Answer:
        async with forwarding(number) as (_, socks):
            return await asyncio.to_thread(ask, socks, nameserver)

    answer = asyncio.run(run())
    assert isinstance(answer, CouldNotTell)
    assert why in answer.reason
    assert "\n" not in answer.reason


def test_tor_is_not_there() -> None:
    answer = ask("127.0.0.1:1")
    assert isinstance(answer, CouldNotTell)
    assert "tor's SOCKS port does not answer" in answer.reason


def test_resolver_that_hangs_up() -> None:
    async def run() -> None:
        async with forwarding() as (_, socks), scripted_streams({NAME: reply(rcode="SERVFAIL")}) as (server, port):
            settings = DnsSection(nameservers=(f"127.0.0.1:{port}",), through_tor=True, timeout=30)
            resolver = srv_resolver(settings, TorSection(socks=socks))
            answer = await resolver.ask("example.org")
            assert isinstance(answer, CouldNotTell)
            assert "through tor: answered SERVFAIL" in answer.reason
            server.hang_up()
            server.reactions[NAME] = GOOD
            assert isinstance(await resolver.ask("example.org"), Found)
            resolver.close()

    asyncio.run(run())
