"""What domains demand, from scripted DNS answers and policies."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field, replace

import dns.flags
import pytest

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.dane import dane_requirement
from onionmx.authenticate.demand.fetch import FetchError
from onionmx.authenticate.demand.policy import Mode, Policy, PolicyError
from onionmx.authenticate.demand.policy_lookup import PolicyAnswer, PolicyLookup
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind, NotRequired
from onionmx.authenticate.demand.sts import GRACE, RETRY, sts_requirement
from onionmx.authenticate.demand.tlsa import Tlsa
from onionmx.config import AuthenticateSection, DnsSection
from onionmx.dns.records import RecordResolver
from onionmx.onion import Endpoint
from tests.dns.scripted import Reaction, reply, scripted_server

DOMAIN = "example.org"
NOW = 1_000_000.0
DAY = 86400.0
SOA = "example.org. 900 IN SOA ns.example.org. h.example.org. 1 3600 600 86400 900"
SIGNED = dns.flags.RA | dns.flags.AD

TXT = reply('_mta-sts.example.org. 600 IN TXT "v=STSv1; id=1;"')
NO_TXT = reply(authority=(SOA,))
ENFORCE = Policy(Mode.ENFORCE, ("mx.example.org", "*.example.net"), 10 * int(DAY))
STS = Demand(Kind.MTA_STS, ENFORCE.patterns, server_name="mx.example.org")
KNOWN = EnforcedPolicy(DOMAIN, STS, NOW - 600, NOW + 5 * DAY, "1", fetched=NOW - DAY / 2)

DIGEST = "aa" * 32
MX = reply("example.org. 3600 IN MX 10 mx.example.org.", flags=SIGNED)
ADDRESS = reply("mx.example.org. 3600 IN A 192.0.2.1", flags=SIGNED)
TLSA = reply(f"_25._tcp.mx.example.org. 1200 IN TLSA 3 1 1 {DIGEST}", flags=SIGNED)
RECORD = Tlsa(3, 1, 1, bytes.fromhex(DIGEST))
DANE = {"example.org": MX, "mx.example.org": ADDRESS, "_25._tcp.mx.example.org": TLSA}


@dataclass
class Policies:
    """Serves policies, or an error."""

    what: Policy | Exception | None = None
    fetched: list[str] = field(default_factory=list)

    async def __call__(self, domain: str) -> Policy | None:
        self.fetched.append(domain)
        if isinstance(self.what, Exception):
            raise self.what
        return self.what


def ask(
    reactions: dict[str, Reaction],
    question: Callable[[RecordResolver], Awaitable[PolicyAnswer]],
    trusted: tuple[str, ...] = ("loopback",),
) -> PolicyAnswer:
    """Ask with a resolver that answers like this."""

    async def run() -> PolicyAnswer:
        async with scripted_server(reactions) as (_, address):
            settings = DnsSection(nameservers=(address,), trusted=trusted, timeout=30.0)
            questions = RecordResolver(settings)
            try:
                return await question(questions)
            finally:
                questions.close()

    return asyncio.run(run())


def sts(txt: Reaction, policies: Policies, known: EnforcedPolicy | None = None) -> PolicyAnswer:
    return ask(
        {"_mta-sts.example.org": txt}, lambda questions: sts_requirement(DOMAIN, questions, policies, known, NOW)
    )


def dane(changes: dict[str, Reaction], trusted: tuple[str, ...] = ("loopback",)) -> PolicyAnswer:
    return ask(DANE | changes, lambda questions: dane_requirement(DOMAIN, questions, NOW), trusted)


class TestMtaSts:
    def test_enforce(self) -> None:
        said = sts(TXT, Policies(ENFORCE))
        assert said == EnforcedPolicy(DOMAIN, STS, NOW + 600, NOW + 10 * DAY, "1", NOW)

    def test_only_wildcards_ask_for_no_name(self) -> None:
        said = sts(TXT, Policies(replace(ENFORCE, patterns=("*.example.net",))))
        assert isinstance(said, EnforcedPolicy)
        assert not said.demand.server_name

    @pytest.mark.parametrize("txt", [NO_TXT, reply(rcode="NXDOMAIN"), reply('_mta-sts.example.org. 600 IN TXT "x"')])
    def test_not_announced(self, txt: Reaction) -> None:
        policies = Policies(ENFORCE)
        assert isinstance(sts(txt, policies), NotRequired)
        assert policies.fetched == []

    def test_negative_answer_says_how_long(self) -> None:
        assert sts(NO_TXT, Policies()) == NotRequired(DOMAIN, "no MTA-STS policy in DNS", NOW + 900)

    @pytest.mark.parametrize("mode", [Mode.NONE, Mode.TESTING])
    @pytest.mark.parametrize("known", [None, replace(KNOWN, identifier="0")])
    def test_other_modes(self, mode: Mode, known: EnforcedPolicy | None) -> None:
        """The host itself may take a policy back, also one that is still known."""
        said = sts(TXT, Policies(replace(ENFORCE, mode=mode)), known)
        assert said == NotRequired(DOMAIN, f"its MTA-STS policy has mode {mode}", NOW + 600)

    def test_host_has_none(self) -> None:
        assert isinstance(sts(TXT, Policies(None)), NotRequired)

    @pytest.mark.parametrize("error", [FetchError("blocked"), PolicyError("nonsense")])
    def test_announced_and_not_there(self, error: Exception) -> None:
        """An attacker who forges the record of the onion could as well block the policy."""
        said = sts(TXT, Policies(error))
        assert isinstance(said, CouldNotTell)
        assert str(error) in said.reason

    @pytest.mark.parametrize("txt", [reply(rcode="SERVFAIL"), reply(rcode="REFUSED")])
    def test_dns_fails(self, txt: Reaction) -> None:
        said = sts(txt, Policies(ENFORCE))
        assert isinstance(said, CouldNotTell)
        assert "_mta-sts.example.org TXT" in said.reason

    @pytest.mark.parametrize(
        ("txt", "policy"),
        [
            (NO_TXT, None),
            (reply(rcode="NXDOMAIN"), None),
            (reply(rcode="SERVFAIL"), None),
            (reply('_mta-sts.example.org. 600 IN TXT "v=STSv1; id=2;"'), FetchError("blocked")),
            (reply('_mta-sts.example.org. 600 IN TXT "v=STSv1; id=2;"'), None),
            (TXT, None),
        ],
    )
    def test_a_known_policy_holds(self, txt: Reaction, policy: Exception | None) -> None:
        said = sts(txt, Policies(policy), KNOWN)
        assert isinstance(said, EnforcedPolicy)
        assert (said.demand, said.expires, said.identifier) == (STS, KNOWN.expires, "1")

    @pytest.mark.parametrize("known", [replace(KNOWN, expires=NOW), replace(KNOWN, demand=Demand(Kind.NAME, ("x",)))])
    def test_until_its_time_is_over(self, known: EnforcedPolicy) -> None:
        assert isinstance(sts(NO_TXT, Policies(), known), NotRequired)

    @pytest.mark.parametrize("txt", [NO_TXT, reply(rcode="SERVFAIL")])
    def test_after_its_time_its_host_still_has_the_word(self, txt: Reaction) -> None:
        ended = replace(KNOWN, expires=NOW - DAY)
        said = sts(txt, Policies(ENFORCE), ended)
        assert isinstance(said, EnforcedPolicy)
        assert (said.expires, said.identifier) == (NOW + 10 * DAY, "1")
        said = sts(txt, Policies(FetchError("blocked")), ended)
        assert isinstance(said, CouldNotTell)
        assert "has ended, and cannot be fetched again: blocked" in said.reason

    def test_long_after_its_time_nothing_is_fetched(self) -> None:
        policies = Policies(FetchError("gone"))
        assert isinstance(sts(NO_TXT, policies, replace(KNOWN, expires=NOW - GRACE)), NotRequired)
        assert policies.fetched == []

    @pytest.mark.parametrize("txt", [TXT, NO_TXT, reply(rcode="SERVFAIL")])
    def test_fetched_every_day_announced_or_not(self, txt: Reaction) -> None:
        policies = Policies(ENFORCE)
        said = sts(txt, policies, replace(KNOWN, fetched=NOW - DAY))
        assert isinstance(said, EnforcedPolicy)
        assert (said.expires, said.fetched, said.identifier) == (NOW + 10 * DAY, NOW, "1")
        assert policies.fetched == [DOMAIN]

    def test_host_alone_takes_a_policy_back(self) -> None:
        known = replace(KNOWN, fetched=NOW - DAY)
        assert isinstance(sts(NO_TXT, Policies(replace(ENFORCE, mode=Mode.NONE)), known), NotRequired)

    @pytest.mark.parametrize("answer", [FetchError("blocked"), PolicyError("nonsense"), None])
    def test_policy_that_cannot_be_fetched_again_stands_and_that_is_told(self, answer: Exception | None) -> None:
        for txt in (TXT, NO_TXT):
            said = sts(txt, Policies(answer), replace(KNOWN, fetched=NOW - DAY))
            assert isinstance(said, EnforcedPolicy)
            assert (said.demand, said.expires) == (STS, KNOWN.expires)
            assert said.look_at <= NOW + RETRY
            assert said.trouble == (str(answer) if answer else "its host says that it has none")

    def test_trouble_is_over_with_the_next_policy(self) -> None:
        said = sts(TXT, Policies(ENFORCE), replace(KNOWN, fetched=NOW - DAY, trouble="blocked"))
        assert isinstance(said, EnforcedPolicy)
        assert not said.trouble

    def test_clock_that_was_set_back(self) -> None:
        policies = Policies(ENFORCE)
        sts(TXT, policies, replace(KNOWN, fetched=NOW + 300 * DAY, expires=NOW + 600 * DAY))
        assert policies.fetched == [DOMAIN]

    @pytest.mark.parametrize(
        ("known", "is_fetched"),
        [
            (KNOWN, False),
            (replace(KNOWN, identifier="0"), True),
            (replace(KNOWN, fetched=NOW - DAY), True),
            (replace(KNOWN, fetched=0.0), True),
            (replace(KNOWN, expires=NOW + DAY / 5), True),
        ],
    )
    def test_fetched_only_when_due(self, known: EnforcedPolicy, is_fetched: bool) -> None:  # noqa: FBT001
        policies = Policies(ENFORCE)
        said = sts(TXT, policies, known)
        assert isinstance(said, EnforcedPolicy)
        assert bool(policies.fetched) is is_fetched
        assert said.expires == (NOW + 10 * DAY if is_fetched else KNOWN.expires)


class TestDane:
    def test_record_of_the_mx(self) -> None:
        demand = Demand(Kind.DANE, ("mx.example.org", "example.org"), (RECORD,), "mx.example.org")
        assert dane({}) == EnforcedPolicy(DOMAIN, demand, NOW + 1200, NOW + 1200)

    def test_one_of_several_mx(self) -> None:
        more = reply(
            "example.org. 3600 IN MX 5 other.example.net.", "example.org. 3600 IN MX 10 mx.example.org.", flags=SIGNED
        )
        unsigned = reply("other.example.net. 3600 IN A 192.0.2.2")
        said = dane({"example.org": more, "other.example.net": unsigned})
        assert isinstance(said, EnforcedPolicy)
        assert said.demand.names == ("mx.example.org", "example.org")

    def test_alias_of_the_mx(self) -> None:
        alias = reply(
            "mx.example.org. 3600 IN CNAME real.example.org.", "real.example.org. 3600 IN A 192.0.2.1", flags=SIGNED
        )
        tlsa = reply(f"_25._tcp.real.example.org. 1200 IN TLSA 3 1 1 {DIGEST}", flags=SIGNED)
        nothing = reply(authority=(SOA,), flags=SIGNED)
        changes = {
            "mx.example.org": alias,
            "_25._tcp.real.example.org": tlsa,
            "_25._tcp.mx.example.org": nothing,
        }
        said = dane(changes)
        assert isinstance(said, EnforcedPolicy)
        assert said.demand.names == ("real.example.org", "example.org")

    @pytest.mark.parametrize("host", ["\\200" * 20 + ".example.org", "a\\032b.example.org", "*.example.org"])
    def test_host_that_no_certificate_can_name(self, host: str) -> None:
        """Its label has 20 octets in DNS and 80 in text, which is no name to ask a TLS server for."""
        alias = reply(f"mx.example.org. 60 IN CNAME {host}.", f"{host}. 60 IN A 192.0.2.1", flags=SIGNED)
        mx = reply(f"example.org. 60 IN MX 1 {host}.", "example.org. 60 IN MX 9 mx.example.org.", flags=SIGNED)
        said = dane({"example.org": mx, "mx.example.org": alias})
        assert isinstance(said, EnforcedPolicy)
        assert said.demand.names == ("mx.example.org", "example.org")
        assert said.demand.server_name == "mx.example.org"

    def test_not_more_records_than_are_looked_at(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("onionmx.authenticate.demand.dane.MOST_RECORDS", 4)
        many = [f"_25._tcp.mx.example.org. 60 IN TLSA 3 1 1 {number:064x}" for number in range(12)]
        demands = set()
        for written in (many, many[::-1]):
            said = dane({"_25._tcp.mx.example.org": reply(*written, flags=SIGNED)})
            assert isinstance(said, EnforcedPolicy)
            assert len(said.demand.tlsa) == 4
            demands.add(said.demand)
        assert len(demands) == 1, "the same ones each time"

    def test_no_mx(self) -> None:
        """Then the domain is its own MX (RFC 5321 section 5.1)."""
        tlsa = reply(f"_25._tcp.example.org. 1200 IN TLSA 2 0 1 {DIGEST}", flags=SIGNED)
        nothing = reply(authority=(SOA,), flags=SIGNED)
        said = dane({"example.org": nothing, "_25._tcp.example.org": tlsa})
        assert isinstance(said, EnforcedPolicy)
        assert said.demand.names == ("example.org",)

    @pytest.mark.parametrize(
        "changes",
        [
            {"example.org": reply("example.org. 3600 IN MX 10 mx.example.org.")},
            {"example.org": reply("example.org. 3600 IN MX 0 .", flags=SIGNED)},
            {"mx.example.org": reply("mx.example.org. 3600 IN A 192.0.2.1")},
            {"_25._tcp.mx.example.org": reply(f"_25._tcp.mx.example.org. 60 IN TLSA 3 1 1 {DIGEST}")},
            {"_25._tcp.mx.example.org": reply(f"_25._tcp.mx.example.org. 60 IN TLSA 1 1 1 {DIGEST}", flags=SIGNED)},
            {"_25._tcp.mx.example.org": reply(rcode="NXDOMAIN", authority=(SOA,), flags=SIGNED)},
        ],
    )
    def test_none(self, changes: dict[str, Reaction]) -> None:
        assert isinstance(dane(changes), NotRequired)

    @pytest.mark.parametrize("name", DANE)
    def test_question_that_cannot_be_answered(self, name: str) -> None:
        said = dane({name: reply(rcode="SERVFAIL")})
        assert isinstance(said, CouldNotTell)
        assert name in said.reason

    def test_unsigned_mx_need_not_be_asked_for(self) -> None:
        """Some servers of unsigned zones fail when they are asked for TLSA (RFC 7672 section 2.2.2)."""
        address = reply("mx.example.org. 3600 IN A 192.0.2.1")
        said = dane({"mx.example.org": address, "_25._tcp.mx.example.org": reply(rcode="SERVFAIL")})
        assert isinstance(said, NotRequired)

    def test_resolver_that_is_not_believed(self) -> None:
        said = dane({}, trusted=())
        assert isinstance(said, NotRequired)
        assert "no resolver is believed" in said.reason


def look_up(reactions: dict[str, Reaction], mode: str = "when-required") -> PolicyAnswer:
    """Ask for everything; no policy host can be reached."""

    async def unreachable(_endpoint: Endpoint) -> socket.socket:
        raise FetchError("nobody is there")

    async def question(questions: RecordResolver) -> PolicyAnswer:
        settings = AuthenticateSection(mode=mode)  # type: ignore[arg-type]
        return await PolicyLookup(settings, questions, unreachable, lambda: NOW).requirement_of(DOMAIN)

    return ask(reactions, question)


class TestPolicyLookup:
    def test_dane_comes_first(self) -> None:
        said = look_up(DANE | {"_mta-sts.example.org": TXT})
        assert isinstance(said, EnforcedPolicy)
        assert said.demand.kind is Kind.DANE

    def test_mta_sts_does_not_mend_dane(self) -> None:
        said = look_up(DANE | {"_25._tcp.mx.example.org": reply(rcode="SERVFAIL"), "_mta-sts.example.org": NO_TXT})
        assert isinstance(said, CouldNotTell)
        assert said.reason.startswith("DANE: ")

    def test_policy_that_cannot_be_fetched(self) -> None:
        said = look_up({"_mta-sts.example.org": TXT})
        assert isinstance(said, CouldNotTell)
        assert "nobody is there" in said.reason

    def test_neither(self) -> None:
        said = look_up({"example.org": MX, "_mta-sts.example.org": NO_TXT})
        assert isinstance(said, NotRequired)
        assert "no MTA-STS" in said.reason
        assert "no DANE" in said.reason

    @pytest.mark.parametrize(
        ("mx", "names"),
        [
            (MX, ("example.org", "mx.example.org")),
            (reply("example.org. 60 IN MX 1 mx.evil.example."), ("example.org",)),
        ],
    )
    def test_always_asks_for_a_name(self, mx: Reaction, names: tuple[str, ...]) -> None:
        """Names of MX count only where they are signed: others may be the attacker's."""
        said = look_up({"example.org": mx, "_mta-sts.example.org": NO_TXT}, "always")
        assert isinstance(said, EnforcedPolicy)
        assert (said.demand.kind, said.demand.names) == (Kind.NAME, names)


def test_whatever_comes_up_is_could_not_tell(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    async def dane_of(*_given: object) -> PolicyAnswer:
        raise UnicodeError("label too long")

    monkeypatch.setattr("onionmx.authenticate.demand.policy_lookup.dane_requirement", dane_of)
    said = look_up({})
    assert isinstance(said, CouldNotTell)
    assert "UnicodeError: label too long" in said.reason
    assert "Traceback" in caplog.text
