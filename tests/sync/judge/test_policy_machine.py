"""What holds for the trust policy whatever DNS says, in whatever order, at whatever times."""

import pytest
from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from msgspec.structs import replace

from onionmx.errors import UsageError
from onionmx.onion import format_endpoint
from onionmx.sync.judge.operator import NO_ROUTE
from onionmx.sync.judge.policy import Verdict, accept, allow, judge, refuse
from onionmx.sync.judge.rules import Rules, TrustPolicy
from onionmx.sync.judge.sightings import is_firm
from onionmx.sync.state.record import DomainRecord, Established
from onionmx.target import Trust
from tests.mapfile.maps import ONIONS
from tests.sync.world import DAY, START, found, none, unknown

DOMAIN = "a.example"
onion_sets = st.lists(st.sampled_from(ONIONS[:3]), min_size=1, max_size=2, unique=True)
gaps = st.one_of(st.floats(1.0, 0.3 * DAY), st.floats(0.3 * DAY, 100 * DAY), st.floats(-50 * DAY, 0.0))


def noted(record: DomainRecord) -> DomainRecord:
    """A record as it is saved: what was taken is in the map."""
    route = record.established
    return replace(record, established=replace(route, is_routed=True)) if route else record


class OneDomain(RuleBasedStateMachine):
    """The onions that decide are compared as sets: an order is no change."""

    belief = TrustPolicy.TOFU

    def __init__(self) -> None:
        super().__init__()
        self.times = Rules(self.belief)
        self.now = START
        self.record = DomainRecord(DOMAIN, START)
        self.before: Established | None = None
        self.is_authorized = True
        self.is_firm = False
        self.refused: set[frozenset[str]] = set()
        self.credit: dict[frozenset[str], float] = {}
        self.said: frozenset[str] | None = None
        self.said_at = START

    def _take(self, verdict: Verdict, *, is_authorized: bool, said: frozenset[str] | None) -> None:
        self.before = self.record.established or self.record.former
        self.is_firm = is_firm(self.record)
        self.record = noted(verdict.record)
        self.is_authorized = is_authorized
        if said is not None:
            hold = self.times.hold if said else self.times.hold_removal
            gap = min(max(self.now - self.said_at, 0.0), hold / 4)
            # No more than this can ever count for it, whatever counts against it.
            self.credit[said] = self.credit.get(said, 0.0) + (gap if said == self.said else 0.0)
            self.said, self.said_at = said, self.now

    @rule(onions=onion_sets, gap=gaps)
    def see_unsigned(self, onions: list[str], gap: float) -> None:
        self.now += gap
        verdict = judge(self.record, found(DOMAIN, *onions), self.now, self.times)
        self._take(verdict, is_authorized=False, said=frozenset(onions))

    @rule(gap=gaps)
    def see_unsigned_none(self, gap: float) -> None:
        self.now += gap
        verdict = judge(self.record, none(DOMAIN), self.now, self.times)
        self._take(verdict, is_authorized=False, said=frozenset())

    @rule(onions=onion_sets, gap=gaps)
    def see_signed(self, onions: list[str], gap: float) -> None:
        self.now += gap
        verdict = judge(self.record, found(DOMAIN, *onions, trust=Trust.DNSSEC), self.now, self.times)
        self._take(verdict, is_authorized=True, said=frozenset(onions))
        assert self.record.established
        assert {onion for onion, _ in self.record.established.endpoints} == set(onions)
        assert self.record.pending is None

    @rule(gap=gaps)
    def see_signed_none(self, gap: float) -> None:
        self.now += gap
        verdict = judge(self.record, none(DOMAIN, Trust.DNSSEC), self.now, self.times)
        self._take(verdict, is_authorized=True, said=frozenset())
        assert self.record.established is None

    @rule(gap=gaps)
    def fail(self, gap: float) -> None:
        self.now += gap
        old = self.record
        verdict = judge(self.record, unknown(DOMAIN), self.now, self.times)
        self._take(verdict, is_authorized=False, said=None)
        if self.record.established != old.established:
            assert self.record.failures >= 10
            assert self.now - self.record.failing_since >= self.times.max_stale
            assert old.established
            assert old.established.trust is Trust.UNSIGNED
            assert old.proof is None
        self.is_authorized = True

    @precondition(lambda self: self.record.pending)
    @rule()
    def accept(self) -> None:
        waiting = [each for each in (self.record.pending, *self.record.rivals) if each]
        name = ""
        if len(waiting) > 1:
            with pytest.raises(UsageError, match="several changes wait"):
                accept(self.record, self.now)
            name = ",".join(format_endpoint(each) for each in waiting[-1].endpoints) or NO_ROUTE
        verdict = accept(self.record, self.now, name)
        assert verdict
        if name == NO_ROUTE:
            assert verdict.record.established is None
        elif name:
            assert verdict.record.established
            assert verdict.record.established.endpoints == waiting[-1].endpoints
        self._take(verdict, is_authorized=True, said=None)
        self.refused.clear()  # those that are left are looked for in the record

    @precondition(lambda self: self.record.pending)
    @rule()
    def refuse(self) -> None:
        verdict = refuse(self.record, self.now)
        assert verdict
        waiting = [each for each in (self.record.pending, *self.record.rivals) if each]
        self.refused |= {frozenset(onion for onion, _ in each.endpoints) for each in waiting}
        self._take(verdict, is_authorized=False, said=None)

    @precondition(lambda self: self.record.refused)
    @rule()
    def allow(self) -> None:
        verdict = allow(self.record, self.now)
        assert verdict
        self.refused.clear()
        self._take(verdict, is_authorized=False, said=None)

    @invariant()
    def no_unsigned_answer_changes_an_established_route_before_its_time(self) -> None:
        if self.is_authorized or self.before is None:
            return
        now = self.record.established
        old = frozenset(onion for onion, _ in self.before.endpoints)
        new = frozenset(onion for onion, _ in now.endpoints) if now else frozenset()
        is_removal = not new and self.record.former != self.before
        if (new and new != old) or is_removal:
            assert self.belief is TrustPolicy.TOFU
            assert new not in self.refused
            hold = self.times.hold if new else self.times.hold_removal
            assert self.credit[new] >= (30 * DAY if self.is_firm else hold) - 1e-3
            assert self.said == new
            self.credit.clear()

    @invariant()
    def the_record_agrees_with_itself(self) -> None:
        record = self.record
        if record.established:
            assert record.established.endpoints
            assert record.former is None
        waiting = [frozenset(each.endpoints) for each in (record.pending, *record.rivals) if each]
        assert len(set(waiting)) == len(waiting) <= 6
        if record.established:
            assert frozenset(record.established.endpoints) not in waiting
        assert record.proof is None
        if record.asked_at is not None:
            assert record.asked_at < record.due_at <= record.asked_at + 1.1 * self.times.max_interval
            assert record.decision


class OneDomainOfSignedOnes(OneDomain):
    belief = TrustPolicy.DNSSEC


TestTofu = OneDomain.TestCase
TestSignedOnly = OneDomainOfSignedOnes.TestCase
TestTofu.settings = TestSignedOnly.settings = settings(stateful_step_count=60)
