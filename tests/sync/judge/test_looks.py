"""What holds for the entry of a domain whatever DNS, the policy host and the onion MX say or fail to say."""

import asyncio
from collections.abc import Iterator

from hypothesis import given
from hypothesis import strategies as st

from onionmx.answer import Answer, CouldNotTell
from onionmx.authenticate.demand.policy_lookup import PolicyAnswer
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind, NotRequired
from onionmx.authenticate.proof.prove import NotProven, Proven, PutOff
from onionmx.defaults import DAY
from onionmx.onion import Endpoint
from onionmx.sync.judge.entry import LONGEST_DEFERRAL, MapEntry, entry_of, needs_look
from onionmx.sync.judge.looks import requirement_of
from onionmx.sync.judge.policy import judge, settled
from onionmx.sync.judge.proof import Proofs
from onionmx.sync.judge.rules import Rules
from onionmx.sync.state.record import DomainRecord
from onionmx.target import Trust
from tests.mapfile.maps import A, B, C
from tests.sync.world import HOUR, START, found, none, unknown

DOMAIN = "a.example"
RULES = Rules()
ANSWERS: list[Answer] = [
    *[found(DOMAIN, A)] * 6,
    found(DOMAIN, B),
    found(DOMAIN, A, B),
    found(DOMAIN, C),
    none(DOMAIN),
    none(DOMAIN, Trust.DNSSEC),
    *[unknown(DOMAIN)] * 3,
]
"""Most are honest; a signed record needs no look."""
SILENCE = CouldNotTell(DOMAIN, "nobody answers")
gaps = st.floats(60.0, DAY / 2)
times = st.integers(1, 10)
demands = st.sampled_from(["mx.example", "mx.example", "mx.example", "other.example", "none", "unknown"])
onions = st.sets(st.sampled_from([A, B, C])) | st.just({A, B})
Steps = list[tuple[int, float, Answer, str, set[str], set[str]]]
steps = st.lists(
    st.tuples(times, gaps, st.sampled_from(ANSWERS), demands, onions, st.builds(set) | onions), max_size=30
)


def repeated(drawn: Steps) -> Iterator[tuple[float, Answer, str, set[str], set[str]]]:
    """Each of the steps as often as it says: what attacks, or fails, does so for a while."""
    for count, *step in drawn:
        yield from [tuple(step)] * count  # type: ignore[misc]


class Step:
    """The world at one moment: what the domain demands, and which onions show it or cannot be asked."""

    def __init__(self, now: float, demands: str, shows: set[str], silent: set[str]) -> None:
        self.now, self.demands, self.shows, self.silent = now, demands, shows, silent
        self.is_refused = self.is_proven = False

    async def requirement_of(self, domain: str, known: EnforcedPolicy | None = None) -> PolicyAnswer:
        del known
        if self.demands == "unknown":
            return SILENCE
        if self.demands == "none":
            return NotRequired(domain, "no policy", self.now + DAY)
        demand = Demand(Kind.MTA_STS, (self.demands,))
        return EnforcedPolicy(domain, demand, self.now + DAY, self.now + DAY)

    async def show(
        self, requirement: EnforcedPolicy, endpoints: tuple[Endpoint, ...]
    ) -> Proven | NotProven | CouldNotTell:
        silent = tuple(each for each in endpoints if each[0] in self.silent)
        proven = tuple(each for each in endpoints if each[0] in self.shows - self.silent)
        if proven:
            self.is_proven = True
            return Proven(proven, ("mx.example",), requirement.expires, (), silent)
        if silent:
            return SILENCE
        self.is_refused = True
        return NotProven("another name")


def after(record: DomainRecord, answer: Answer, step: Step) -> DomainRecord:
    record = judge(record, answer, step.now, RULES).record
    if needs_look(record, RULES):
        record = asyncio.run(Proofs(step, step.show).look(record, step.now)).record
    return settled(record, step.now, RULES).record


@given(steps)
def test_an_entry_leaves_the_map_only_by_what_is_known(
    drawn: Steps,
) -> None:
    now = START
    record = DomainRecord(DOMAIN, START)
    entry = MapEntry(())
    refused_since: float | None = None
    for gap, answer, demands, shows, silent in repeated(drawn):
        now += gap
        step = Step(now, demands, shows, silent)
        before, old, record = record, entry, after(record, answer, step)
        entry = entry_of(record, RULES, now)
        if step.is_refused and refused_since is None:
            refused_since = now
        same = (
            before.established and record.established and (before.established.endpoints == record.established.endpoints)
        )
        if old.endpoints and not entry.endpoints:
            assert not isinstance(answer, CouldNotTell) or step.is_refused
            if same:
                assert step.is_refused
                assert refused_since is not None
                assert now - refused_since >= RULES.hold_removal
        if old.endpoints and entry.endpoints and same and isinstance(answer, CouldNotTell) and not step.is_refused:
            assert set(old.endpoints) <= set(entry.endpoints) or step.is_proven
        if entry.endpoints and record.proof and needs_look(record, RULES) and record.requirement:
            assert requirement_of(record), "a proven route has its demand"
        if record.established is None or (same and step.is_proven):
            refused_since = None


@given(steps)
def test_mail_waits_for_two_days_after_the_first_sight_at_most(
    drawn: Steps,
) -> None:
    now = START
    record = DomainRecord(DOMAIN, START)
    first: float | None = None
    for gap, answer, demands, shows, silent in repeated(drawn):
        now += gap
        step = Step(now, demands, shows, silent)
        record = after(record, answer, step)
        if step.is_proven or demands == "none":
            first = None
        entry = entry_of(record, RULES, now)
        if entry.defers:
            first = now if first is None else first
            assert record.established
            assert now - first < LONGEST_DEFERRAL
        assert not entry_of(record, RULES, now + LONGEST_DEFERRAL).defers


class Captured:
    """The onion of an attacker, in the map before the domain had a policy; the domain's own has the certificate."""

    def __init__(self, said: CouldNotTell | Proven) -> None:
        self.said = said
        self.now = START

    async def requirement_of(self, domain: str, known: EnforcedPolicy | None = None) -> PolicyAnswer:
        del known
        if self.now < START + DAY:
            return NotRequired(domain, "no policy", self.now + HOUR)
        return EnforcedPolicy(domain, Demand(Kind.MTA_STS, ("mx.example",)), self.now + HOUR, self.now + 365 * DAY)

    async def show(
        self, requirement: EnforcedPolicy, endpoints: tuple[Endpoint, ...]
    ) -> Proven | NotProven | CouldNotTell:
        if endpoints[0][0] == A:
            return self.said
        return Proven(endpoints, ("mx.example",), requirement.expires)

    def after(self, hours: int, dns: str, record: DomainRecord | None = None) -> DomainRecord:
        """An hour after another."""
        record = record or DomainRecord(DOMAIN, self.now)
        for _ in range(hours):
            record = judge(record, found(DOMAIN, dns), self.now, RULES).record
            record = asyncio.run(Proofs(self, self.show).look(record, self.now)).record
            record = settled(record, self.now, RULES).record
            self.now += HOUR
        return record


def test_a_captured_onion_cannot_stay_by_putting_off_the_question() -> None:
    world = Captured(PutOff(DOMAIN, "421 4.3.2 later"))
    record = world.after(24, A)
    assert entry_of(record, RULES, world.now).endpoints == ((A, 25),)
    record = world.after(40, B, record)
    assert entry_of(record, RULES, world.now).endpoints == ((A, 25),)  # one day and a half: it could be a fault
    record = world.after(10, B, record)
    assert entry_of(record, RULES, world.now).endpoints == ((B, 25),)


def test_what_cannot_be_reached_stays() -> None:
    """Our own tor may be down."""
    world = Captured(CouldNotTell(DOMAIN, "is tor running?"))
    record = world.after(24, A)
    record = world.after(30 * 24, A, record)
    assert entry_of(record, RULES, world.now).endpoints == ((A, 25),)


def test_what_was_proven_stays_while_it_puts_off_the_question() -> None:
    world = Captured(Proven(((A, 25),), ("mx.example",), START + 365 * DAY))
    record = world.after(48, A)
    assert record.proof
    world.said = PutOff(DOMAIN, "421 4.3.2 later")
    record = world.after(30 * 24, A, record)
    assert entry_of(record, RULES, world.now).endpoints == ((A, 25),)
