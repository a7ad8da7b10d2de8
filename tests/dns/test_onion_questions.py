"""No name under .onion is asked in the open DNS, wherever it comes from: names may come from answers."""

import asyncio
import re
import string
from contextlib import suppress

import dns.asyncbackend
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rdatatype
import dns.rrset
import dns.update
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.policy_lookup import PolicyAnswer
from onionmx.config import AuthenticateSection, Configuration, DnsSection
from onionmx.dns.choice import choose
from onionmx.dns.leaving import check_message, check_name
from onionmx.dns.nameserver import PlainNameserver
from onionmx.dns.records import RecordResolver
from onionmx.dns.resolver import DnsResolver
from onionmx.dns.srv import SrvResolver
from onionmx.dns.wire import ask_for
from onionmx.errors import DnsError
from onionmx.parts import Parts
from onionmx.publish.authority import World, ask_authority
from tests.dns.scripted import Query, Reaction, reply, scripted_server
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


async def demanded(settings: DnsSection) -> PolicyAnswer:
    """What a.example demands, asked with these resolvers."""
    authenticate = AuthenticateSection(fetch="direct", timeout=30.0)
    async with Parts(Configuration(dns=settings, authenticate=authenticate)) as parts:
        assert parts.guard
        return await parts.guard.policy_lookup.requirement_of("a.example")


@pytest.mark.parametrize("reactions", ANSWERS.values(), ids=list(ANSWERS))
def test_names_from_answers(reactions: dict[str, Reaction]) -> None:
    async def run() -> None:
        async with scripted_server(dict(reactions)) as (server, address):
            settings = DnsSection(nameservers=(address,), timeout=30.0)
            answer = await SrvResolver(settings).ask("a.example")
            requirement = await demanded(settings)
            if NAME in reactions:
                assert isinstance(answer, CouldNotTell)
            if "_mta-sts.a.example" in reactions:
                assert isinstance(requirement, CouldNotTell)
            assert server.questions
            assert not [name for name, _ in server.questions if name.lower().rstrip(".").endswith("onion")]

    asyncio.run(run())


@pytest.mark.parametrize("name", ["onion", f"{V3_ONION}.", f"x.{V3_ONION.upper()}", "short.onion"])
def test_one_place_refuses(name: str) -> None:
    resolver = DnsResolver(DnsSection(nameservers=("127.0.0.1:1",)))
    with pytest.raises(DnsError, match="name for Tor"):
        asyncio.run(resolver.resolve(name, "A"))


def spelled(name: bytes) -> st.SearchStrategy[str]:
    """Ways to write a label: upper and lower case, and escapes (RFC 1035 section 5.1)."""
    ways = [
        st.sampled_from([chr(each), chr(each).upper(), f"\\{each:03d}", f"\\{ord(chr(each).upper()):03d}"])
        for each in name
    ]
    return st.tuples(*ways).map("".join)


labels = st.one_of(
    st.sampled_from(["a", "example", "_25", "*", "x\\.y", "mta-sts", "-", V3_ONION.partition(".")[0]]),
    st.binary(min_size=1, max_size=20).map(lambda octets: "".join(f"\\{each:03d}" for each in octets)),
)
# What shows a name of Tor in one label is not told to the root servers either.
tops = st.one_of(
    spelled(b"onion"),
    st.builds("{}\\.{}".format, labels, spelled(b"onion")),
    st.builds("{}{}".format, spelled(b"onion"), st.sampled_from(["\\000", "\\032", "\\.", "\\010"])),
    st.sampled_from(["\uff4f\uff4e\uff49\uff4f\uff4e", "\u24denion"]),
)
onions = st.builds(
    lambda front, top, dot: ".".join([*front, top]) + dot,
    st.lists(labels, max_size=3),
    tops,
    st.sampled_from(["", "."]),
)


def shows_onion(name: dns.name.Name) -> bool:
    """Whether those who hear this question learn a name of Tor; looked for in another way than the check does."""
    end = name.labels[-2].decode("latin-1").lower() if len(name.labels) > 1 else ""
    return any(part == "onion" for part in re.split(r"[^\w-]+", end, flags=re.ASCII))


class Heard:
    """Every question, of any kind, that a name server on loopback gets over UDP."""

    def __init__(self) -> None:
        self.names: list[dns.name.Name] = []

    def answer(self, query: Query) -> bytes:
        self.names.append(query.question[0].name)
        response = dns.message.make_response(query)
        response.flags |= dns.flags.RA | dns.flags.AA
        return response.to_wire()


class HearsAll(dict[str, Reaction]):
    """The same reaction to each name."""

    def __init__(self, heard: Heard) -> None:
        super().__init__()
        self._heard = heard

    def get(self, _name: str, _default: object = None) -> Reaction:
        return self._heard.answer


async def ask_in_each_way(name: str, settings: DnsSection, port: int) -> None:
    """Ask for a name by all that asks for names which others chose."""
    with suppress(DnsError, dns.exception.DNSException, UnicodeError):
        await DnsResolver(settings).resolve(name, "A", search=False)
    with suppress(DnsError):
        await RecordResolver(settings).ask(name, "TXT")
    with suppress(dns.exception.DNSException, UnicodeError):
        absolute = dns.name.from_text(name)
        with suppress(DnsError):
            await World(settings).zone_of(absolute)
        with suppress(DnsError):
            await ask_authority("127.0.0.1", port, absolute, dns.rdatatype.SRV, 30.0)
        request = dns.message.make_query(absolute, "A")
        assert isinstance(request, dns.message.QueryMessage)
        choice = choose(settings)
        backend = dns.asyncbackend.get_default_backend()
        with suppress(DnsError):
            nameserver = PlainNameserver(choice.resolvers[0], choice)
            await nameserver.async_query(request, 30.0, None, 0, False, backend)  # noqa: FBT003 -- dnspython's


@given(onions)
def test_no_spelling_leaves(name: str) -> None:
    async def run() -> list[dns.name.Name]:
        heard = Heard()
        async with scripted_server(HearsAll(heard)) as (_, address):
            settings = DnsSection(nameservers=(address,), timeout=30.0)
            await ask_in_each_way(name, settings, int(address.rpartition(":")[2]))
        return heard.names

    assert not [asked for asked in asyncio.run(run()) if shows_onion(asked)]


@given(st.lists(labels, max_size=3), tops, st.sampled_from(["CNAME", "MX"]))
def test_no_spelling_of_an_answer_is_asked_for(front: list[str], top: str, kind: str) -> None:
    try:
        target = dns.name.from_text(".".join([*front, top]))
    except dns.exception.DNSException:
        return
    heard = Heard()

    def lead_there(query: Query) -> bytes:
        heard.names.append(query.question[0].name)
        asked = query.question[0]
        response = dns.message.make_response(query)
        response.flags |= AD
        data = target.to_text() if kind == "CNAME" else f"10 {target}"
        if kind == "CNAME" or asked.rdtype == dns.rdatatype.MX:
            response.answer = [dns.rrset.from_text(asked.name, 60, "IN", kind, data)]
        return response.to_wire()

    heard.answer = lead_there  # type: ignore[method-assign]

    async def run() -> None:
        async with scripted_server(HearsAll(heard)) as (_, address):
            settings = DnsSection(nameservers=(address,), timeout=30.0)
            await SrvResolver(settings).ask("a.example")
            await demanded(settings)

    asyncio.run(run())
    assert heard.names
    assert not [asked for asked in heard.names if shows_onion(asked)]


@given(
    st.lists(st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=20), max_size=3),
    st.sampled_from(["onion", "ONION", "oNioN"]),
)
def test_plain_questions_in_bulk(front: list[str], top: str) -> None:
    with pytest.raises(DnsError, match="name for Tor"):
        ask_for(".".join([*front, top]))
    assert ask_for(".".join([*front, f"x{top}"]))
    assert ask_for(".".join([*front, top, "example"]))


@given(onions)
def test_updates(name: str) -> None:
    try:
        absolute = dns.name.from_text(name)
    except (dns.exception.DNSException, UnicodeError):
        return
    update = dns.update.UpdateMessage("example.org")
    update.update.append(dns.rrset.from_text(absolute, 60, "IN", "A", "192.0.2.1"))
    if shows_onion(absolute):
        with pytest.raises(DnsError, match="name for Tor"):
            check_message(update)
    with pytest.raises(DnsError, match="name for Tor"):
        check_message(dns.message.make_query(dns.name.from_text(f"a.{V3_ONION}"), "A"))


def test_names_that_only_look_so_may_leave() -> None:
    for name in ("onion.example", "xonion", "myonion.", "onions.", "onion-.", "onion_.", "."):
        check_name(name)
