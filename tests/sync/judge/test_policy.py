"""Each rule of the trust policy."""

import dataclasses

import pytest
from msgspec.structs import replace

from onionmx.answer import Answer, Found, NoRoute
from onionmx.sync.judge.policy import MIN_FAILURES, accept, adopt, judge, refuse
from onionmx.sync.judge.rules import Rules, TrustPolicy
from onionmx.sync.state.record import DomainRecord, LastAnswer, Proof
from onionmx.target import Route, Source, Target, Trust
from tests.mapfile.maps import A, B, C
from tests.sync.world import DAY, HOUR, START, found, none, unknown

DOMAIN = "a.example"
TOFU, SIGNED_ONLY, ANY = (Rules(belief) for belief in (TrustPolicy.TOFU, TrustPolicy.DNSSEC, TrustPolicy.ANY))


class Life:
    """A domain through time."""

    def __init__(self, rules: Rules = TOFU) -> None:
        self.rules = rules
        self.now = START
        self.record = DomainRecord(DOMAIN, START)
        self.events: list[str] = []

    def see(self, answer: Answer, *, after: float = HOUR, times: int = 1) -> "Life":
        for _ in range(times):
            self.now += after
            verdict = judge(self.record, answer, self.now, self.rules)
            self.record = verdict.record
            self.events += [line.event for line in verdict.history]
        return self

    @property
    def onions(self) -> tuple[str, ...]:
        established = self.record.established
        return tuple(onion for onion, _ in established.endpoints) if established else ()


def signed(*onions: str) -> Found:
    return found(DOMAIN, *onions, trust=Trust.DNSSEC)


def unsigned(*onions: str) -> Found:
    return found(DOMAIN, *onions)


def test_first_onion_is_taken() -> None:
    life = Life().see(unsigned(A))
    assert (life.onions, life.events) == ((A,), ["taken"])
    assert life.record.established
    assert life.record.established.trust is Trust.UNSIGNED
    assert life.record.answer is LastAnswer.FOUND


def test_signed_change_is_taken_at_once() -> None:
    life = Life().see(unsigned(A)).see(signed(B))
    assert (life.onions, life.events) == ((B,), ["taken", "changed"])


def test_unsigned_change_waits_until_it_was_seen_steadily() -> None:
    life = Life().see(unsigned(A)).see(unsigned(B))
    assert (life.onions, life.events) == ((A,), ["taken", "pending"])
    life.see(unsigned(B), after=6 * HOUR, times=11)
    assert life.onions == (A,)
    assert "2.75 of 3 days" in life.record.decision
    life.see(unsigned(B), after=6 * HOUR)
    assert (life.onions, life.events[-1], life.record.pending) == ((B,), "changed", None)


def test_first_and_last_sighting_are_not_steady() -> None:
    life = Life().see(unsigned(A)).see(unsigned(B)).see(unsigned(B), after=300 * DAY)
    assert life.onions == (A,)
    life.see(unsigned(B), after=300 * DAY, times=2)
    assert life.onions == (A,)
    assert life.see(unsigned(B), after=DAY).onions == (B,)


@pytest.mark.parametrize("other", [unsigned(C), unsigned(A), none(DOMAIN), unsigned(B, C)])
def test_a_different_answer_counts_against_a_change_and_does_not_end_it(other: Answer) -> None:
    life = Life().see(unsigned(A)).see(unsigned(B), after=6 * HOUR, times=12).see(other, after=6 * HOUR)
    assert life.see(unsigned(B), after=6 * HOUR, times=2).onions == (A,)
    assert life.see(unsigned(B), after=6 * HOUR).onions == (B,)


@pytest.mark.parametrize("other", [unsigned(C), unsigned(A), none(DOMAIN), unsigned(B, C)])
def test_a_change_that_is_seen_no_more_is_withdrawn(other: Answer) -> None:
    life = Life().see(unsigned(A)).see(unsigned(B)).see(other)
    assert "withdrawn" in life.events
    life = Life().see(unsigned(A)).see(unsigned(B), after=6 * HOUR, times=3).see(other, after=6 * HOUR, times=2)
    assert "withdrawn" in life.events


def test_a_failure_does_not() -> None:
    life = Life().see(unsigned(A)).see(unsigned(B), after=6 * HOUR, times=12)
    life.see(unknown(DOMAIN)).see(unsigned(B), after=6 * HOUR)
    assert life.onions == (B,)


def test_signed_change_ends_the_waiting() -> None:
    assert Life().see(unsigned(A)).see(unsigned(B)).see(signed(B)).onions == (B,)


def test_same_onions_in_another_order_or_with_other_priorities_are_no_change() -> None:
    life = Life().see(unsigned(A, B)).see(unsigned(B, A))
    assert life.onions == (B, A)
    assert life.record.pending is None
    target = Target(A, 25, 7, 3), Target(B, 25, 9, 1)
    life.see(Found(Route(DOMAIN, target, Source.SRV, Trust.UNSIGNED, 60)))
    assert (life.onions, life.record.pending) == ((A, B), None)


def test_another_port_or_fewer_onions_are_a_change() -> None:
    life = Life().see(unsigned(A, B)).see(unsigned(A))
    assert life.onions == (A, B)
    assert life.record.pending
    life.see(Found(Route(DOMAIN, (Target(A, 26), Target(B)), Source.SRV, Trust.UNSIGNED, 60)))
    assert life.onions == (A, B)


def test_trust_grows_and_does_not_shrink() -> None:
    life = Life().see(unsigned(A)).see(signed(A))
    assert life.record.established
    assert life.record.established.trust is Trust.DNSSEC
    life.see(unsigned(A))
    assert life.record.established.trust is Trust.DNSSEC
    assert life.onions == (A,)


def test_unsigned_removal_waits_for_its_own_time() -> None:
    life = Life().see(unsigned(A)).see(none(DOMAIN))
    assert life.events[-1] == "pending"
    life.see(none(DOMAIN), after=6 * HOUR, times=7)
    assert life.onions == (A,)
    life.see(none(DOMAIN), after=6 * HOUR)
    assert not life.onions
    assert life.events[-1] == "removed"


def test_signed_removal_is_taken_at_once() -> None:
    life = Life().see(unsigned(A)).see(none(DOMAIN, Trust.DNSSEC))
    assert (life.onions, life.events) == ((), ["taken", "removed"])


def test_after_a_removal_a_record_waits() -> None:
    gone = Life().see(unsigned(A)).see(none(DOMAIN), after=6 * HOUR, times=9)
    assert gone.onions == ()
    record, now = gone.record, gone.now
    for onion in (A, B):
        gone.record, gone.now = record, now
        gone.see(unsigned(onion))
        assert (gone.onions, gone.events[-1]) == ((), "pending")
        assert gone.see(unsigned(onion), after=6 * HOUR, times=12).onions == (onion,)
        gone.record, gone.now = record, now
        assert gone.see(signed(onion)).onions == (onion,)


def test_after_silence_the_old_onions_return_at_once_and_others_wait() -> None:
    gone = Life().see(unsigned(A)).see(unknown(DOMAIN), after=DAY, times=40)
    assert gone.onions == ()
    record = gone.record
    assert gone.see(unsigned(A)).onions == (A,)
    gone.record = record
    assert gone.see(unsigned(B)).onions == ()


def test_a_domain_without_a_record_may_get_its_first_one() -> None:
    life = Life().see(none(DOMAIN)).see(none(DOMAIN)).see(unsigned(A))
    assert (life.onions, life.events) == ((A,), ["taken"])


def test_only_signed_records_count_where_that_is_wanted() -> None:
    life = Life(SIGNED_ONLY).see(unsigned(A))
    assert (life.onions, life.events) == ((), [])
    assert "not signed" in life.record.decision
    life.see(signed(A)).see(unsigned(B), after=DAY, times=100)
    assert (life.onions, life.events) == ((A,), ["taken", "pending"])
    assert "only signed ones count" in life.record.decision
    life.see(none(DOMAIN), after=DAY, times=100)
    assert life.onions == (A,)
    assert life.see(signed(B)).onions == (B,)
    assert life.see(none(DOMAIN, Trust.DNSSEC)).onions == ()


def test_any_record_counts_where_that_is_wanted() -> None:
    life = Life(ANY).see(unsigned(A)).see(unsigned(B))
    assert life.onions == (B,)
    assert life.see(none(DOMAIN)).onions == ()
    assert life.see(unsigned(C)).onions == (C,)


def test_no_time_to_wait_is_no_time() -> None:
    life = Life(dataclasses.replace(TOFU, hold=0.0, hold_removal=0.0)).see(unsigned(A)).see(unsigned(B))
    assert life.onions == (B,)
    assert life.see(none(DOMAIN)).onions == ()


def test_failures_keep_the_route_until_it_is_stale() -> None:
    life = Life().see(unsigned(A)).see(unknown(DOMAIN))
    assert (life.onions, life.record.failures, life.record.answer) == ((A,), 1, LastAnswer.UNKNOWN)
    assert life.record.reason == "answered SERVFAIL"
    life.see(unknown(DOMAIN), after=DAY, times=29)
    assert life.onions == (A,)
    life.see(unknown(DOMAIN), after=DAY)
    assert not life.onions
    assert life.events[-1] == "expired"
    assert "30 days" in life.record.decision


def test_one_answer_ends_a_row_of_failures() -> None:
    life = Life().see(unsigned(A)).see(unknown(DOMAIN), after=DAY, times=29).see(unsigned(A))
    assert (life.record.failures, life.record.failing_since) == (0, 0.0)
    assert life.see(unknown(DOMAIN), after=DAY, times=29).onions == (A,)


def test_a_clock_that_jumps_ages_nothing() -> None:
    life = Life().see(unsigned(A)).see(unsigned(B)).see(unsigned(B), after=3000 * DAY)
    assert life.onions == (A,)
    life.see(unknown(DOMAIN)).see(unknown(DOMAIN), after=3000 * DAY)
    assert life.see(unknown(DOMAIN), times=MIN_FAILURES - 3).onions == (A,)


def test_a_clock_that_is_set_back_brings_nothing_nearer() -> None:
    life = Life().see(unsigned(A)).see(unsigned(B), after=6 * HOUR, times=12)
    life.see(unsigned(B), after=-300 * DAY)
    assert life.onions == (A,)
    assert life.record.due_at <= life.now + 8 * DAY
    assert life.see(unsigned(B), after=6 * HOUR).onions == (B,)
    life.see(unknown(DOMAIN)).see(unknown(DOMAIN), after=-100 * DAY).see(unknown(DOMAIN), times=MIN_FAILURES)
    assert life.onions == (B,)
    assert life.record.failing_since <= life.now


def test_the_operator_accepts_a_change() -> None:
    life = Life().see(unsigned(A)).see(unsigned(B))
    verdict = accept(life.record, life.now)
    assert verdict
    assert verdict.record.established
    assert (verdict.record.established.endpoints, verdict.record.established.trust) == (((B, 25),), Trust.PINNED)
    assert [line.event for line in verdict.history] == ["accepted"]
    life.record = verdict.record
    assert life.see(unsigned(B)).record.pending is None
    assert life.see(unsigned(A)).onions == (B,)


def test_the_operator_accepts_a_removal() -> None:
    life = Life().see(unsigned(A)).see(none(DOMAIN))
    verdict = accept(life.record, life.now)
    assert verdict
    assert verdict.record.established is None
    assert verdict.record.former


def test_the_operator_refuses_a_change() -> None:
    life = Life().see(unsigned(A)).see(unsigned(B))
    verdict = refuse(life.record, life.now)
    assert verdict
    life.record = verdict.record
    assert life.see(unsigned(B), after=DAY, times=100).onions == (A,)
    assert life.record.pending
    assert life.record.pending.is_refused
    assert accept(life.record, life.now)
    life.see(unsigned(C), after=6 * HOUR, times=13)
    assert life.onions == (C,)


def test_a_refused_change_comes_with_a_signature() -> None:
    life = Life().see(unsigned(A)).see(unsigned(B))
    verdict = refuse(life.record, life.now)
    assert verdict
    life.record = verdict.record
    assert life.see(signed(B)).onions == (B,)


def test_a_demand_that_is_known_outlives_the_route() -> None:
    """Else an attacker who denies the record for some days could forge another one afterwards, and hide the policy."""
    life = Life().see(unsigned(A))
    life.record = replace(life.record, requirement="a policy of a year", requirement_expires=life.now + HOUR)
    life.see(none(DOMAIN), after=6 * HOUR, times=20)
    assert (life.onions, life.record.answer) == ((), LastAnswer.NONE)
    assert life.record.requirement == "a policy of a year"
    # That nothing was demanded is not kept: it is asked anew when there is a record again.
    life.record = replace(life.record, requirement="", requirement_expires=life.now)
    assert life.see(none(DOMAIN)).record.requirement_expires == 0.0


def test_nothing_waits() -> None:
    life = Life().see(unsigned(A))
    assert accept(life.record, life.now) is None
    assert refuse(life.record, life.now) is None


def test_an_entry_that_stood_in_the_map_is_established() -> None:
    life = Life()
    life.record = adopt(life.record, ((A, 25),), life.now).record
    assert life.see(unsigned(B)).onions == (A,)


def test_a_domain_that_is_an_onion_needs_no_signature() -> None:
    answer = Found(Route(A, (Target(A),), Source.ONION, Trust.PINNED))
    verdict = judge(DomainRecord(A, START), answer, START, SIGNED_ONLY)
    assert verdict.record.established


def test_denial_without_trust_counts_as_unsigned() -> None:
    life = Life().see(unsigned(A)).see(NoRoute(DOMAIN, "no SRV record", 60))
    assert life.onions == (A,)


def test_a_proof_is_of_the_onions_that_made_it() -> None:
    life = Life().see(unsigned(A, B))
    proof = Proof(((A, 25), (B, 25)), "mta-sts", ("mx.example",), START, START + DAY)
    life.record = replace(life.record, proof=proof)
    assert life.see(unsigned(B, A)).record.proof == proof
    assert life.see(signed(A)).record.proof == proof
    assert life.see(signed(C)).record.proof is None
