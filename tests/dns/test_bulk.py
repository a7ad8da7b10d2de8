"""The bulk engine gives each domain the answer that the ordinary resolver gives, and no answer twice."""

import asyncio
import time
from collections import Counter
from collections.abc import AsyncGenerator, Iterable, Iterator
from contextlib import aclosing
from itertools import count
from pathlib import Path

import dns.edns
import dns.flags
import dns.message
import dns.rcode
import pytest

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute, Unroutable
from onionmx.config import DnsSection, Resolver
from onionmx.dns.bulk import ask_many, ports
from onionmx.dns.srv import SrvResolver
from onionmx.dns.wire import ask_for
from onionmx.errors import ConfigurationError
from tests.dns.scripted import Query, Reaction, reply, scripted_server
from tests.onions import V2_ONION, make_onion

A, B = make_onion("a"), make_onion("b")
PREFIX = "_onion-mx._tcp."
SOA = "300 IN SOA ns.example.org. host.example.org. 1 2 3 4 60"
WHOLE_TEST = 300.0  # seconds, after which something hangs


def silent(_query: Query) -> None:
    """Say nothing."""


def spoilt(reaction: Reaction, old: bytes, new: bytes) -> Reaction:
    def react(query: Query) -> bytes | None:
        packet = reaction(query)
        return packet and packet.replace(old, new)

    return react


def with_option(query: Query) -> bytes:
    response = dns.message.make_response(query)
    response.flags |= dns.flags.RA
    response.set_rcode(dns.rcode.NXDOMAIN)
    response.use_edns(0, options=[dns.edns.GenericOption(dns.edns.OptionType.NSID, b"ns1")])
    return response.to_wire()


def without_question(query: Query) -> bytes:
    response = dns.message.Message(query.id)
    response.flags |= dns.flags.QR
    response.set_rcode(dns.rcode.FORMERR)
    return response.to_wire()


def record(name: str, *values: str) -> tuple[str, ...]:
    return tuple(f"{PREFIX}{name}. 3600 IN SRV {value}" for value in values)


NOTHING = reply(rcode="NXDOMAIN", authority=(f"org. {SOA}",))
ODD: dict[str, Reaction] = {
    "nxdomain.org": NOTHING,
    "nodata.org": reply(authority=(f"nodata.org. {SOA}",)),
    "no-soa.org": reply(rcode="NXDOMAIN"),
    "empty.org": reply(),
    "found.org": reply(*record("found.org", f"0 5 25 {A}.")),
    "authentic.org": reply(*record("authentic.org", f"0 5 25 {A}."), flags=dns.flags.RA | dns.flags.AD),
    "two.org": reply(*record("two.org", f"9 0 25 {A}.", f"5 0 2525 {B}.")),
    "off.org": reply(*record("off.org", "0 0 0 .")),
    "clear.org": reply(*record("clear.org", "0 0 25 mail.example.org.")),
    "v2.org": reply(*record("v2.org", f"0 0 25 {V2_ONION}.", f"1 0 25 {A}.")),
    "alias.org": reply(f"{PREFIX}alias.org. 60 IN CNAME x.org.", f"x.org. 5 IN SRV 0 0 25 {A}."),
    "dangling.org": reply(f"{PREFIX}dangling.org. 60 IN CNAME x.org.", rcode="NXDOMAIN", authority=(f"org. {SOA}",)),
    "stranger.org": reply(f"{PREFIX}other.org. 60 IN SRV 0 0 25 {A}."),
    "servfail.org": reply(rcode="SERVFAIL"),
    "refused.org": reply(rcode="REFUSED"),
    "badvers.org": reply(rcode="BADVERS"),
    "lame.org": reply(flags=0, authority=("org. 60 IN NS ns.org.",)),
    "referral.org": reply(authority=("org. 60 IN NS ns.org.",)),
    "foreign.org": reply(rcode="NXDOMAIN", authority=(f"net. {SOA}",)),
    "truncated.org": reply(flags=dns.flags.RA | dns.flags.TC),
    "option.org": with_option,
    "upper.org": spoilt(NOTHING, b"\x05upper", b"\x05UPPER"),
    "formerr.org": without_question,
    "long-ttl.org": spoilt(NOTHING, b"\0\0\x01\x2c", b"\x80\0\x01\x2c"),
}
NO_ANSWER: dict[str, Reaction] = {
    "question.org": spoilt(NOTHING, b"\x81\x83", b"\x01\x83"),
    "garbage.org": spoilt(NOTHING, b"\0\x06\0\x01", b"\0\x06\0"),
    "short.org": lambda query: query.to_wire()[:2],
    "silent.org": silent,
}
MIXED = [
    *ODD,
    A,
    V2_ONION,
    "x.onion",
    ".".join(["a" * 60] * 4),
    "none.org",
    "none.org",
    *(f"d{n}.org" for n in range(50)),
]


class Reactions(dict[str, Reaction]):
    """Reactions by domain, and one for all other names."""

    def __init__(self, by_domain: dict[str, Reaction], other: Reaction = NOTHING) -> None:
        super().__init__({PREFIX + domain: reaction for domain, reaction in by_domain.items()})
        self.other = other

    def get(self, name: str, _default: object = None) -> Reaction:
        return super().get(name, self.other)


def settings(*addresses: str, timeout: float = 10.0) -> DnsSection:
    # The scripted server shares the loop, and its buffer holds no more than this.
    return DnsSection(nameservers=addresses, timeout=timeout, retries=0, retry_delay=0, bulk_concurrency=100)


async def collect(answers: AsyncGenerator[Answer, None]) -> list[Answer]:
    async with asyncio.timeout(WHOLE_TEST), aclosing(answers):
        return [answer async for answer in answers]


def ask_all(domains: Iterable[str], settings: DnsSection) -> AsyncGenerator[Answer, None]:
    return ask_many(domains, settings, SrvResolver(settings).ask)


def domain_of(answer: Answer) -> str:
    return answer.route.domain if isinstance(answer, Found) else answer.domain


def test_same_answers_as_the_ordinary_resolver() -> None:
    async def whole() -> tuple[list[Answer], list[Answer]]:
        async with scripted_server(Reactions(ODD)) as (_, address):
            chosen = settings(address, timeout=15.0)  # two of the replies count for the second attempt alone
            ordinary = SrvResolver(chosen)
            bulk = await collect(ask_all(MIXED, chosen))
            expected = []
            for start in range(0, len(MIXED), 10):
                expected += await asyncio.gather(*map(ordinary.ask, MIXED[start : start + 10]))
            return bulk, expected

    bulk, expected = asyncio.run(whole())
    assert sorted(bulk, key=repr) == sorted(expected, key=repr)
    assert Counter(map(type, bulk)).keys() == {Found, NoRoute, Unroutable, CouldNotTell}


def test_no_answer() -> None:
    async def whole() -> list[Answer]:
        async with scripted_server(Reactions(NO_ANSWER)) as (_, address):
            return await collect(ask_all(NO_ANSWER, settings(address, timeout=1.0)))

    answers = asyncio.run(whole())
    assert sorted(map(domain_of, answers)) == sorted(NO_ANSWER)
    assert set(map(type, answers)) == {CouldNotTell}


def test_memory_is_bounded() -> None:
    taken = 0

    def endless() -> Iterator[str]:
        nonlocal taken
        for taken in count(1):
            yield f"d{taken}.org"

    async def whole() -> int:
        async with scripted_server(Reactions({})) as (_, address):
            answers = ask_all(endless(), settings(address))
            async with asyncio.timeout(WHOLE_TEST), aclosing(answers):
                return len([answer async for answer in aislice(answers, 1000)])

    assert asyncio.run(whole()) == 1000
    assert taken < 1000 + 1500  # in the queue of the ordinary resolver, under way, and ready


async def aislice(answers: AsyncGenerator[Answer, None], most: int) -> AsyncGenerator[Answer, None]:
    numbers = iter(range(most - 1))
    async for answer in answers:
        yield answer
        if next(numbers, None) is None:
            return


def test_nobody_listens() -> None:
    async def whole() -> list[Answer]:
        async with scripted_server(Reactions({})) as (_, address):
            pass
        return await collect(ask_all((f"d{n}.org" for n in range(20_000)), settings(address, timeout=0.5)))

    answers = asyncio.run(whole())
    assert len(answers) == len(set(map(domain_of, answers))) == 20_000
    reasons = [answer.reason for answer in answers if isinstance(answer, CouldNotTell)]
    assert len(reasons) == 20_000
    assert "silent for 0.5 s" in reasons[-1]


def test_stall_does_not_hide_that_nobody_listens() -> None:
    async def whole() -> list[Answer]:
        async with scripted_server(Reactions({})) as (_, address):
            pass
        asyncio.get_running_loop().call_later(0.35, time.sleep, 0.5)  # the last attempt and the patience end in it
        return await collect(ask_all(["d.org"], settings(address, timeout=0.5)))

    (answer,) = asyncio.run(whole())
    assert isinstance(answer, CouldNotTell)
    assert "no resolver could answer" in answer.reason
    assert "silent for 0.5 s" in answer.reason


def test_second_resolver_takes_over() -> None:
    async def whole() -> list[Answer]:
        async with scripted_server({}) as (_, gone):
            pass
        async with scripted_server(Reactions({"found.org": ODD["found.org"]})) as (_, address):
            domains = ["found.org", *(f"d{n}.org" for n in range(1000))]
            return await collect(ask_all(domains, settings(gone, address)))

    answers = asyncio.run(whole())
    assert Counter(map(type, answers)) == {Found: 1, NoRoute: 1000}


def test_resolver_that_knows_nothing_is_not_asked_for_all() -> None:
    async def whole() -> tuple[list[Answer], int]:
        async with scripted_server(Reactions({}, reply(rcode="SERVFAIL"))) as (server, address):
            answers = await collect(ask_all((f"d{n}.org" for n in range(20_000)), settings(address)))
            return answers, len(server.questions)

    answers, questions = asyncio.run(whole())
    assert Counter(map(type, answers)) == {CouldNotTell: 20_000}
    assert questions < 15_000
    assert any("in a row with errors" in answer.reason for answer in answers if isinstance(answer, CouldNotTell))


@pytest.mark.parametrize(
    "chosen",
    [
        DnsSection(nameservers=("tls://192.0.2.1#dns.example",), concurrency=7, retry_delay=0),
        DnsSection(nameservers=("192.0.2.1",), through_tor=True, concurrency=7, retry_delay=0),
        DnsSection(nameservers=("192.0.2.1", "tls://192.0.2.1#dns.example"), concurrency=7, retry_delay=0),
    ],
)
def test_private_resolvers_are_asked_by_the_ordinary_one_alone(chosen: DnsSection) -> None:
    asked: Counter[str] = Counter()
    under_way = most = 0

    async def ask(domain: str) -> Answer:
        nonlocal under_way, most
        asked[domain] += 1
        under_way += 1
        most = max(most, under_way)
        await asyncio.sleep(0)
        under_way -= 1
        if domain == "never.org" or (domain == "later.org" and asked[domain] < 3):
            return CouldNotTell(domain, "SERVFAIL")
        return NoRoute(domain, "no SRV record", 5)

    domains = ["never.org", "later.org", *(f"d{n}.org" for n in range(3000))]
    answers = asyncio.run(collect(ask_many(domains, chosen, ask)))
    assert sorted(map(domain_of, answers)) == sorted(domains)
    assert {domain_of(answer) for answer in answers if isinstance(answer, CouldNotTell)} == {"never.org"}
    assert (asked.pop("never.org"), asked.pop("later.org")) == (3, 3)
    assert set(asked.values()) == {1}
    assert most == 7


def descriptors() -> int:
    return len(list(Path("/proc/self/fd").iterdir()))


def test_nothing_stays_open() -> None:
    async def whole() -> None:
        async with scripted_server(Reactions({"silent.org": silent})) as (_, address):
            before = descriptors()
            async with aclosing(ask_all(["silent.org", "d.org", *ODD], settings(address))) as answers:
                await anext(answers)
                assert descriptors() > before
            assert descriptors() == before
            assert len(asyncio.all_tasks()) == 1

    asyncio.run(whole())


def ask_broken(error: Exception) -> list[Answer]:
    async def ask(_domain: str) -> Answer:
        raise error

    async def whole() -> list[Answer]:
        async with scripted_server(Reactions({"found.org": ODD["found.org"]})) as (_, address):
            return await collect(ask_many(["found.org", "d.org"], settings(address), ask))

    return asyncio.run(whole())


def test_fault_of_the_ordinary_resolver_is_one_domain_s(caplog: pytest.LogCaptureFixture) -> None:
    answers = {type(answer): answer for answer in ask_broken(RuntimeError("broken"))}
    assert set(answers) == {CouldNotTell, NoRoute}
    assert "RuntimeError: broken" in answers[CouldNotTell].reason  # type: ignore[union-attr]
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("error", [MemoryError("none left"), ConfigurationError("no resolver")])
def test_what_is_no_fault_of_a_domain_ends_it(error: Exception) -> None:
    with pytest.raises(type(error), match=str(error)):
        ask_broken(error)


def test_error_of_the_list_ends_it() -> None:
    def domains() -> Iterator[str]:
        yield "d.org"
        raise OSError("unreadable")

    async def whole() -> None:
        async with scripted_server(Reactions({})) as (_, address):
            await collect(ask_all(domains(), settings(address)))

    with pytest.raises(OSError, match="unreadable"):
        asyncio.run(whole())


def test_ports_and_ids(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_QUESTIONS", 10)
    numbers = set()

    def react(query: Query) -> bytes | None:
        numbers.add(query.id)
        return NOTHING(query)

    async def whole() -> int:
        names = [f"d{n}.org" for n in range(1000)]
        async with scripted_server(Reactions({}, react)) as (server, address):
            assert len(await collect(ask_all(names, settings(address)))) == 1000
            return len(server.addresses)

    assert asyncio.run(whole()) >= 100
    assert len(numbers) > 900  # of 65536; by chance 992 are different
    assert sum(number & 0x8000 > 0 for number in numbers) > 300


def test_no_id_twice_on_one_port(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ports, "_PORTS", 1)
    monkeypatch.setattr(ports, "_QUESTIONS", 65_536)

    async def whole() -> int:
        async with scripted_server(Reactions({})) as (_, address):
            host, _, port = address.partition(":")
            few = ports.SourcePorts(Resolver(host, int(port)), lambda _port: None)
            questions = [ports.BulkQuestion("d.org", ask_for("d.org"), 0.0)] * 20_000
            asked = 0
            while asked < len(questions):
                asked += few.send(questions, asked)
            (only,) = few
            few.close()
            return len(only.waiting)

    assert asyncio.run(whole()) == 20_000
