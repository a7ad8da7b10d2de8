"""No name under .onion is asked in the open DNS, wherever it comes from: names may come from answers."""

import asyncio

import dns.flags
import pytest

from onionmx.answer import CouldNotTell
from onionmx.authenticate.inquiry import Inquiry
from onionmx.config import AuthenticateSection, Configuration, DnsSection
from onionmx.dns.resolver import make_resolver
from onionmx.dns.srv import SrvResolver
from onionmx.errors import DnsError
from tests.dns.scripted import Reaction, reply, scripted_server
from tests.onions import V3_ONION

NAME = "_onion-mx._tcp.a.example"
AD = dns.flags.RA | dns.flags.AD
ANSWERS: dict[str, dict[str, Reaction]] = {
    "alias of the SRV record": {NAME: reply(f"{NAME}. 60 IN CNAME {V3_ONION}.")},
    "alias below the onion": {NAME: reply(f"{NAME}. 60 IN CNAME _onion-mx._tcp.{V3_ONION}.")},
    "upper case": {NAME: reply(f"{NAME}. 60 IN CNAME {V3_ONION.upper()}.")},
    "MX host": {"a.example": reply(f"a.example. 60 IN MX 10 {V3_ONION}.", flags=AD)},
    "alias of the policy": {"_mta-sts.a.example": reply(f"_mta-sts.a.example. 60 IN CNAME x.{V3_ONION}.")},
    "alias of the policy host": {
        "_mta-sts.a.example": reply('_mta-sts.a.example. 60 IN TXT "v=STSv1; id=1;"'),
        "mta-sts.a.example": reply(f"mta-sts.a.example. 60 IN CNAME y.{V3_ONION}."),
    },
}


@pytest.mark.parametrize("reactions", ANSWERS.values(), ids=list(ANSWERS))
def test_names_from_answers(reactions: dict[str, Reaction]) -> None:
    async def run() -> None:
        async with scripted_server(dict(reactions)) as (server, address):
            settings = DnsSection(nameservers=(address,), timeout=3.0)
            answer = await SrvResolver(settings).ask("a.example")
            inquiry = Inquiry.from_configuration(
                Configuration(dns=settings, authenticate=AuthenticateSection(fetch="direct", timeout=3.0))
            )
            requirement = await inquiry.requirement_of("a.example")
            inquiry.close()
            if NAME in reactions:
                assert isinstance(answer, CouldNotTell)
            if "_mta-sts.a.example" in reactions:
                assert isinstance(requirement, CouldNotTell)
            assert server.questions
            assert not [name for name, _ in server.questions if name.lower().rstrip(".").endswith("onion")]

    asyncio.run(run())


@pytest.mark.parametrize("name", ["onion", f"{V3_ONION}.", f"x.{V3_ONION.upper()}", "short.onion"])
def test_one_place_refuses(name: str) -> None:
    resolver = make_resolver(DnsSection(nameservers=("127.0.0.1:1",)))
    with pytest.raises(DnsError, match="name for Tor"):
        asyncio.run(resolver.resolve(name, "A"))
