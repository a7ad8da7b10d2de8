"""When requirements and proofs are looked at, and what becomes of them."""

import asyncio

from msgspec.structs import replace

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.policy_lookup import PolicyAnswer
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind, NotRequired
from onionmx.authenticate.proof.prove import NotProven, Proven
from onionmx.onion import Endpoint
from onionmx.sync.judge.entry import entry_of
from onionmx.sync.judge.looks import requirement_of
from onionmx.sync.judge.policy import Verdict, allow, refuse, settled
from onionmx.sync.judge.proof import LOOK_AGAIN, Proofs
from onionmx.sync.judge.rules import Rules
from onionmx.sync.state.record import DomainRecord, Established
from onionmx.target import Trust
from tests.mapfile.maps import A, B
from tests.sync.world import DAY, HOUR, START

DOMAIN = "a.example"
BOTH = ((A, 25), (B, 25))
DEMAND = Demand(Kind.MTA_STS, ("mx.example",))


class Outside:
    """The domain and its onion MXes, as a test has them."""

    def __init__(self) -> None:
        self.said: PolicyAnswer = EnforcedPolicy(DOMAIN, DEMAND, START + DAY, START + 100 * DAY)
        self.shown: Proven | NotProven | CouldNotTell = Proven(BOTH, ("mx.example",), START + 80 * DAY)
        self.known: list[EnforcedPolicy | None] = []
        self.asked_to_show: list[tuple[Endpoint, ...]] = []
        self.record = DomainRecord(
            DOMAIN,
            START,
            due_at=START + 7 * DAY,
            established=Established(BOTH, Trust.UNSIGNED, START, START),
            decision="unsigned record",
        )

    async def requirement_of(self, domain: str, known: EnforcedPolicy | None = None) -> PolicyAnswer:
        assert domain == DOMAIN
        self.known.append(known)
        return self.said

    async def show(
        self, requirement: EnforcedPolicy, endpoints: tuple[Endpoint, ...]
    ) -> Proven | NotProven | CouldNotTell:
        assert requirement.domain == DOMAIN
        self.asked_to_show.append(endpoints)
        return self.shown

    def look(self, now: float = START) -> Verdict:
        looked = asyncio.run(Proofs(self, self.show).look(self.record, now))
        verdict = settled(looked.record, now, Rules())
        self.record = verdict.record
        return Verdict(self.record, (*looked.history, *verdict.history))

    def routed(self, now: float = START) -> tuple[Endpoint, ...]:
        return entry_of(self.record, Rules(), now).endpoints


def test_nothing_is_demanded() -> None:
    outside = Outside()
    outside.said = NotRequired(DOMAIN, "no policy", START + DAY)
    assert outside.look().history == ()
    assert outside.routed() == BOTH
    assert outside.asked_to_show == []
    assert outside.record.due_at == START + DAY


def test_demanded_and_shown() -> None:
    outside = Outside()
    assert [line.event for line in outside.look().history] == ["proven"]
    assert outside.routed() == BOTH
    assert requirement_of(outside.record) == outside.said
    assert outside.record.proof
    assert outside.record.proof.expires == START + 80 * DAY
    assert "mta-sts: showed a certificate for mx.example" in outside.record.decision
    assert outside.record.due_at == START + DAY


def test_neither_is_looked_at_again_before_its_time() -> None:
    outside = Outside()
    outside.look()
    outside.look(START + 6 * HOUR)
    assert len(outside.known) == len(outside.asked_to_show) == 1
    outside.look(START + DAY)
    assert len(outside.known) == 2
    assert outside.known[1] == outside.said
    assert len(outside.asked_to_show) == 1
    assert outside.look(START + 7 * DAY).history == ()
    assert len(outside.asked_to_show) == 2


def test_a_short_proof_is_renewed_in_the_middle() -> None:
    outside = Outside()
    outside.shown = Proven(BOTH, ("mx.example",), START + 10 * HOUR)
    outside.look()
    assert outside.record.due_at == START + 5 * HOUR
    outside.look(START + 5 * HOUR)
    assert len(outside.asked_to_show) == 2


def test_another_demand_or_another_onion_needs_another_proof() -> None:
    outside = Outside()
    outside.look()
    outside.said = EnforcedPolicy(DOMAIN, Demand(Kind.MTA_STS, ("other.example",)), START + 2 * DAY, START + 100 * DAY)
    outside.look(START + DAY)
    assert len(outside.asked_to_show) == 2
    route = Established(((A, 2525),), Trust.UNSIGNED, START, START)
    outside.record = replace(outside.record, established=route)
    outside.look(START + DAY + HOUR)
    assert outside.asked_to_show[-1] == ((A, 2525),)


def test_shown_by_some() -> None:
    outside = Outside()
    outside.shown = Proven(BOTH[:1], ("mx.example",), START + 80 * DAY, (f"{B}: it does not offer STARTTLS",))
    outside.look()
    assert outside.routed() == BOTH[:1]
    assert "it does not offer STARTTLS" in outside.record.decision


def test_not_shown() -> None:
    outside = Outside()
    outside.shown = NotProven("the certificate is for evil.example; expected mx.example")
    assert [line.event for line in outside.look().history] == ["unproven"]
    assert outside.routed() == ()
    assert outside.record.due_at == START + LOOK_AGAIN
    assert outside.look(START + HOUR).history == ()
    outside.shown = Proven(BOTH, ("mx.example",), START + 80 * DAY)
    outside.look(START + 2 * HOUR)
    assert outside.routed() == BOTH


def test_silence_ends_no_proof() -> None:
    outside = Outside()
    outside.look()
    outside.shown = CouldNotTell(DOMAIN, "no descriptor found")
    outside.look(START + 8 * DAY)
    assert outside.routed(START + 8 * DAY) == BOTH
    assert "no proof could be had: no descriptor found" in outside.record.decision
    outside.said = CouldNotTell(DOMAIN, "its policy cannot be read")
    outside.look(START + 400 * DAY)
    assert outside.routed(START + 400 * DAY) == BOTH
    assert requirement_of(outside.record)


def test_one_of_two_that_is_silent_stays_proven() -> None:
    outside = Outside()
    outside.look()
    outside.shown = Proven(BOTH[:1], ("mx.example",), START + 80 * DAY, (f"{B}: no descriptor",), BOTH[1:])
    outside.look(START + 8 * DAY)
    assert outside.routed() == BOTH


def test_a_wrong_certificate_ends_an_earlier_proof_when_it_has_been_seen_for_the_time_of_a_removal() -> None:
    outside = Outside()
    outside.look()
    outside.shown = NotProven("it has expired")
    now = START + 8 * DAY
    for _ in range(8):
        verdict = outside.look(now)
        assert outside.routed() == BOTH
        assert requirement_of(outside.record) == outside.said
        now += 6 * HOUR
    assert "it has expired" in verdict.record.decision
    proven = outside.record
    assert [line.event for line in outside.look(now).history] == ["unproven"]
    assert outside.routed() == ()
    outside.record, outside.shown = proven, Proven(BOTH, ("mx.example",), START + 80 * DAY)
    outside.look(now)
    assert outside.record.doubt is None


def test_a_refused_end_for_want_of_a_proof_stays_refused_after_a_proof() -> None:
    outside = Outside()
    outside.look()
    good, outside.shown = outside.shown, NotProven("it has expired")
    outside.look(START + 8 * DAY)
    verdict = refuse(outside.record, START + 8 * DAY)
    assert verdict
    outside.record, outside.shown = verdict.record, good
    outside.look(START + 9 * DAY)
    assert (outside.record.doubt, outside.record.keeps_unproven) == (None, True)
    outside.shown = NotProven("it has expired")
    for day in range(17, 30):
        outside.look(START + day * DAY)
        assert outside.routed() == BOTH
    allowed = allow(outside.record, START + 30 * DAY)
    assert allowed
    outside.record = allowed.record
    assert allow(outside.record, START + 30 * DAY) is None
    for hour in range(12, 84, 12):
        outside.look(START + 30 * DAY + hour * HOUR)
    assert outside.routed() == ()


def test_another_policy_counts_when_it_is_met_or_when_the_time_of_a_removal_is_over() -> None:
    outside = Outside()
    outside.look()
    first = outside.said
    outside.said = EnforcedPolicy(DOMAIN, Demand(Kind.MTA_STS, ("evil.example",)), START + 9 * DAY, START + 400 * DAY)
    outside.shown = NotProven("no such name")
    for hour in range(24):
        outside.look(START + DAY + hour * HOUR)
        assert (requirement_of(outside.record), outside.routed()) == (first, BOTH)
    outside.said, outside.shown = first, Proven(BOTH, ("mx.example",), START + 80 * DAY)
    outside.look(START + 2 * DAY + HOUR)
    assert (requirement_of(outside.record), outside.routed(), outside.record.doubt) == (first, BOTH, None)


def test_what_is_demanded_cannot_be_told() -> None:
    outside = Outside()
    told, outside.said = outside.said, CouldNotTell(DOMAIN, "SERVFAIL")
    outside.look()
    assert outside.routed() == ()
    assert "could not be told: SERVFAIL" in outside.record.decision
    assert outside.record.due_at == START + LOOK_AGAIN
    outside.said = told
    outside.look(START + HOUR)
    outside.said = CouldNotTell(DOMAIN, "SERVFAIL")
    outside.look(START + 2 * DAY)
    assert outside.routed(START + 2 * DAY) == BOTH
    assert requirement_of(outside.record) == told


def test_a_requirement_that_cannot_be_read_is_found_out_again() -> None:
    outside = Outside()
    outside.record = replace(outside.record, requirement="{", requirement_expires=START + 50 * DAY)
    outside.look()
    assert outside.known == [None]
    assert requirement_of(outside.record) == outside.said


def test_what_is_demanded_no_more() -> None:
    outside = Outside()
    outside.look()
    outside.said = NotRequired(DOMAIN, "mode none", START + 2 * DAY)
    outside.look(START + DAY)
    assert outside.record.proof is None
    assert outside.routed() == BOTH
