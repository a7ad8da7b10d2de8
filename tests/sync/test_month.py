"""Thirty days of an attacker, for each of the ways in which trust on first use could be turned against a domain."""

import asyncio
import random
from collections.abc import Callable
from pathlib import Path

import pytest

from onionmx.answer import Answer, CouldNotTell
from onionmx.authenticate.demand.policy_lookup import PolicyAnswer
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind
from onionmx.authenticate.proof.prove import NotProven, Proven
from onionmx.authenticate.proof.published import PublishedDemands
from onionmx.mapfile.cdb import DEFERS
from onionmx.onion import Endpoint
from onionmx.sync.judge.policy import UNSIGNED_NOW, Verdict, accept, allow, judge, refuse, settled
from onionmx.sync.judge.proof import Proofs
from onionmx.sync.judge.rules import Rules
from onionmx.sync.state.record import DomainRecord
from onionmx.target import Trust
from tests.mapfile.maps import A, B, C
from tests.onions import make_onion
from tests.sync.world import DAY, HOUR, START, NoDemands, World, found, none

DOMAIN = "bank.example"
EVIL = make_onion("evil")
JUNK = [make_onion(f"junk {number}") for number in range(5)]
STEP = 3 * HOUR
DEMAND = Demand(Kind.MTA_STS, ("mx.example",))
REQUIREMENT = EnforcedPolicy(DOMAIN, DEMAND, START + DAY, START + 400 * DAY)
FORGED = EnforcedPolicy(DOMAIN, Demand(Kind.MTA_STS, ("nowhere.invalid",)), START + DAY, START + 400 * DAY, "2")
Word = Callable[[DomainRecord, float], Verdict | None]


class Life:
    """A domain that demands nothing, asked every three hours."""

    def __init__(self, first: Answer) -> None:
        self.now = START
        self.record = DomainRecord(DOMAIN, START)
        self.see(first)

    def see(self, answer: Answer) -> None:
        self.now += STEP
        looked = asyncio.run(NoDemands().look(judge(self.record, answer, self.now, Rules()).record, self.now))
        self.record = settled(looked.record, self.now, Rules()).record

    def month(self, answer: Callable[[int], Answer], days: int = 30) -> None:
        for number in range(1, days * 8 + 1):
            self.see(answer(number))

    def say(self, word: Word) -> None:
        verdict = word(self.record, self.now)
        assert verdict
        self.record = verdict.record

    def onions(self) -> tuple[str, ...]:
        route = self.record.established
        return tuple(onion for onion, _ in route.endpoints) if route else ()


@pytest.mark.parametrize("every", [2, 3, 4, 10])
def test_a_share_of_forged_answers_never_moves_a_route(every: int) -> None:
    life = Life(found(DOMAIN, A))
    for forged in (found(DOMAIN, EVIL), none(DOMAIN), found(DOMAIN, A, EVIL)):
        life.month(lambda number, forged=forged: forged if number % every == 0 else found(DOMAIN, A))  # type: ignore[misc]
        assert life.onions() == (A,)


def test_a_share_drawn_at_random_never_moves_a_route() -> None:
    for seed in range(30):
        drawn = random.Random(seed)
        life = Life(found(DOMAIN, A))
        life.month(lambda _number: found(DOMAIN, EVIL if drawn.random() < 0.4 else A))  # noqa: B023
        assert life.onions() == (A,), seed


@pytest.mark.parametrize("honest", [found(DOMAIN, B), none(DOMAIN)])
@pytest.mark.parametrize("every", [5, 15, 23])
def test_a_captured_domain_is_freed_by_most_of_the_answers(honest: Answer, every: int) -> None:
    life = Life(found(DOMAIN, EVIL))
    life.month(lambda number: found(DOMAIN, EVIL) if number % every == 0 else honest)
    assert EVIL not in life.onions()


def test_junk_does_not_keep_a_captured_domain_either() -> None:
    life = Life(found(DOMAIN, EVIL))
    life.month(lambda number: found(DOMAIN, JUNK[number % 5]) if number % 6 == 0 else found(DOMAIN, B), days=10)
    assert life.onions() == (B,)


def test_a_refusal_holds_until_it_is_taken_back() -> None:
    life = Life(found(DOMAIN, A))
    life.month(lambda _: found(DOMAIN, EVIL), days=1)
    life.say(refuse)
    life.month(lambda number: found(DOMAIN, A) if number < 3 else found(DOMAIN, EVIL))
    life.month(lambda number: found(DOMAIN, EVIL if number % 2 else C))
    life.month(lambda _: found(DOMAIN, EVIL, A))
    assert life.onions() == (A,)
    life.say(allow)
    life.month(lambda _: found(DOMAIN, EVIL), days=4)
    assert life.onions() == (EVIL,)
    assert allow(life.record, life.now) is None


def test_a_refused_removal_holds_and_a_signature_ends_it() -> None:
    life = Life(found(DOMAIN, A))
    life.see(none(DOMAIN))
    life.say(refuse)
    life.month(lambda _: none(DOMAIN))
    assert life.onions() == (A,)
    life.see(none(DOMAIN, Trust.DNSSEC))
    assert life.onions() == ()


@pytest.mark.parametrize("onion", [A, EVIL])
def test_what_the_operator_removed_does_not_return_by_one_answer(onion: str) -> None:
    life = Life(found(DOMAIN, A))
    life.see(none(DOMAIN))
    life.say(accept)
    life.month(lambda number: found(DOMAIN, onion) if number % 10 == 0 else none(DOMAIN))
    assert life.onions() == ()
    life.month(lambda _: found(DOMAIN, onion), days=4)
    assert life.onions() == (onion,)


@pytest.mark.parametrize("first", [found(DOMAIN, A), found(DOMAIN, A, trust=Trust.DNSSEC), none(DOMAIN)])
def test_a_signed_denial_is_remembered(first: Answer) -> None:
    life = Life(first)
    life.see(none(DOMAIN, Trust.DNSSEC))
    life.month(lambda _: found(DOMAIN, EVIL), days=29)
    assert life.onions() == ()
    life.see(found(DOMAIN, B, trust=Trust.DNSSEC))
    assert life.onions() == (B,)


@pytest.mark.parametrize("forged", [found(DOMAIN, EVIL), none(DOMAIN)])
def test_what_was_signed_moves_after_thirty_days_and_loudly(forged: Answer) -> None:
    life = Life(found(DOMAIN, A, trust=Trust.DNSSEC))
    life.month(lambda _: forged, days=30)
    assert life.onions() == (A,)
    life.month(lambda _: forged, days=1)
    assert A not in life.onions()
    life = Life(found(DOMAIN, A, trust=Trust.DNSSEC))
    verdict = Verdict(life.record)
    for _ in range(31 * 8):
        life.now += STEP
        verdict = judge(verdict.record, forged, life.now, Rules())
        if verdict.record.established != life.record.established and A not in str(verdict.record.established):
            break
    assert UNSIGNED_NOW in verdict.record.decision
    assert any(UNSIGNED_NOW in line.words for line in verdict.history)


class Policies:
    """A domain with a policy, and what its onion MX shows."""

    def __init__(self) -> None:
        self.said: PolicyAnswer = REQUIREMENT
        self.shown: Proven | NotProven | CouldNotTell | None = None

    async def requirement_of(self, domain: str, known: EnforcedPolicy | None = None) -> PolicyAnswer:
        del domain, known
        return self.said

    async def show(
        self, requirement: EnforcedPolicy, endpoints: tuple[Endpoint, ...]
    ) -> Proven | NotProven | CouldNotTell:
        if self.shown is not None:
            return self.shown
        proven = tuple(each for each in endpoints if each[0] in {A, B} and requirement.demand == DEMAND)
        return Proven(proven, ("mx.example",), START + 20 * DAY) if proven else NotProven("another name")


@pytest.fixture
def policies() -> Policies:
    return Policies()


@pytest.fixture
def world(tmp_path: Path, policies: Policies) -> World:
    world = World(tmp_path)
    world.lists = [DOMAIN]
    world.answers[DOMAIN] = found(DOMAIN, A)
    world.prover = Proofs(policies, policies.show)
    return world


def days(world: World, count: float) -> None:
    for _ in range(int(count * 8)):
        world.pass_time(STEP)
        world.run()


def demand_of(world: World) -> Demand | None:
    demands = PublishedDemands(world.map)
    try:
        return demands.get(DOMAIN)
    finally:
        demands.close()


def test_one_forged_first_record_keeps_nobody_out(world: World) -> None:
    world.answers[DOMAIN] = found(DOMAIN, EVIL)
    world.run()
    assert world.entries == {}
    for number in range(240):
        world.pass_time(STEP)
        world.answers[DOMAIN] = found(DOMAIN, EVIL if number % 23 == 22 else A)
        world.run()
        assert world.entries == {DOMAIN: ((A, 25),)}


def test_a_change_that_proves_itself_is_taken_at_once(world: World, policies: Policies) -> None:
    world.run()
    world.answers[DOMAIN] = found(DOMAIN, B)
    world.pass_time(2 * DAY)
    world.run()
    assert world.entries == {DOMAIN: ((B, 25),)}
    # A policy that is forged together with the record proves nothing.
    policies.said = FORGED
    policies.shown = Proven(((EVIL, 25),), ("nowhere.invalid",), START + 20 * DAY)
    world.answers[DOMAIN] = found(DOMAIN, EVIL)
    forged = policies.show

    async def show(requirement: EnforcedPolicy, endpoints: tuple[Endpoint, ...]) -> Proven | NotProven | CouldNotTell:
        is_his = endpoints == ((EVIL, 25),) and requirement.demand == FORGED.demand
        return await forged(requirement, endpoints) if is_his else NotProven("another name")

    world.prover = Proofs(policies, show)
    days(world, 1)
    assert world.entries == {DOMAIN: ((B, 25),)}


@pytest.mark.parametrize(
    ("said", "shown"),
    [
        (CouldNotTell(DOMAIN, "its policy cannot be read"), None),
        (REQUIREMENT, CouldNotTell(DOMAIN, "no descriptor found")),
        (CouldNotTell(DOMAIN, "SERVFAIL"), CouldNotTell(DOMAIN, "tor is down")),
    ],
)
def test_what_was_proven_stays_with_its_demand_whatever_cannot_be_told(
    world: World, policies: Policies, said: PolicyAnswer, shown: CouldNotTell | None
) -> None:
    world.run()
    policies.said, policies.shown = said, shown
    days(world, 30)
    assert world.entries == {DOMAIN: ((A, 25),)}
    assert demand_of(world) == DEMAND


def test_not_proven_waits_like_a_removal(world: World, policies: Policies) -> None:
    world.run()
    world.pass_time(8 * DAY)
    policies.shown = NotProven("it has expired")
    world.run()
    days(world, 1.75)
    assert (world.entries, demand_of(world)) == ({DOMAIN: ((A, 25),)}, DEMAND)
    assert "not proven for" in world.record(DOMAIN).decision
    days(world, 0.5)
    assert (world.entries, demand_of(world)) == ({}, None)
    policies.shown = None
    days(world, 0.25)
    assert (world.entries, demand_of(world)) == ({DOMAIN: ((A, 25),)}, DEMAND)


def test_a_forged_policy_removes_nothing_in_a_day_and_leaves_nothing_behind(world: World, policies: Policies) -> None:
    world.run()
    policies.said = FORGED
    days(world, 1.5)
    assert (world.entries, demand_of(world)) == ({DOMAIN: ((A, 25),)}, DEMAND)
    policies.said = REQUIREMENT
    days(world, 2)
    assert world.record(DOMAIN).doubt is None
    assert (world.entries, demand_of(world)) == ({DOMAIN: ((A, 25),)}, DEMAND)


def test_a_domain_that_cannot_be_judged_defers_for_two_days_however_long_it_is_attacked(
    world: World, policies: Policies
) -> None:
    policies.said = CouldNotTell(DOMAIN, "its policy cannot be read")
    deferred = 0
    for number in range(240):
        forged: list[Answer] = [found(DOMAIN, EVIL), found(DOMAIN, JUNK[number % 5]), none(DOMAIN)]
        world.answers[DOMAIN] = forged[number % 3]
        world.run()
        assert set(world.entries.values()) <= {DEFERS}
        deferred += DOMAIN in world.entries
        world.pass_time(STEP)
    assert 1 <= deferred * STEP <= 2 * DAY


def test_a_domain_without_a_seen_record_is_never_deferred(world: World, policies: Policies) -> None:
    policies.said = CouldNotTell(DOMAIN, "its policy cannot be read")
    world.answers[DOMAIN] = none(DOMAIN)
    days(world, 30)
    assert world.entries == {}


def test_the_removals_of_one_attacker_keep_nobody_waiting(tmp_path: Path) -> None:
    world = World(tmp_path)
    honest = [f"h{number}.example" for number in range(39)]
    evil = [f"e{number}.example" for number in range(10)]
    world.lists = honest + evil
    world.answers = {name: found(name, A, trust=Trust.DNSSEC) for name in world.lists}
    world.run()
    world.answers |= {name: none(name, Trust.DNSSEC) for name in evil}
    for day in range(30):
        world.answers[honest[day]] = found(honest[day], B, trust=Trust.DNSSEC)
        world.answers.pop(honest[30 + day % 9])
        world.pass_time(DAY)
        summary = world.run()
        assert world.entries[honest[day]] == ((B, 25),)
        world.answers[honest[30 + day % 9]] = found(honest[30 + day % 9], A, trust=Trust.DNSSEC)
        assert summary.held == 10
    assert set(evil) <= set(world.entries)
