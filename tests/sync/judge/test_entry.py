"""What the map has for a domain."""

import pytest
from msgspec.structs import replace

from onionmx.sync.judge.entry import entry_of, needs_look, noted
from onionmx.sync.judge.rules import Rules, TrustPolicy
from onionmx.sync.state.record import DomainRecord, Established, Proof
from onionmx.target import Trust
from tests.mapfile.maps import A, B
from tests.sync.world import DAY, START

RULES = Rules()
BOTH = ((A, 25), (B, 25))
ROUTE = Established(BOTH, Trust.UNSIGNED, START, START)
PLAIN = DomainRecord("a.example", START, established=ROUTE, requirement_expires=START + DAY)
ENFORCED = replace(PLAIN, requirement="{}")
PROOF = Proof(BOTH, "mta-sts", ("mx.example",), START, START + DAY)


def test_as_established() -> None:
    assert entry_of(PLAIN, RULES, START).endpoints == BOTH
    assert entry_of(replace(PLAIN, listed=False), RULES, START).endpoints == ()
    assert entry_of(DomainRecord("a.example", START, reason="no SRV record"), RULES, START).why == "no SRV record"


@pytest.mark.parametrize("trust", [Trust.DNSSEC, Trust.PINNED])
def test_what_is_signed_or_accepted_by_hand_needs_nothing_else(trust: Trust) -> None:
    record = replace(ENFORCED, established=replace(ROUTE, trust=trust))
    for belief in TrustPolicy:
        assert entry_of(record, Rules(belief), START).endpoints == BOTH
    assert not needs_look(record, RULES)


def test_unsigned_where_only_signed_count() -> None:
    assert entry_of(PLAIN, Rules(TrustPolicy.DNSSEC), START).endpoints == ()
    assert not needs_look(PLAIN, Rules(TrustPolicy.DNSSEC))


def test_not_before_it_is_known_what_the_domain_demands() -> None:
    record = replace(PLAIN, requirement_expires=0.0)
    assert "not known yet" in entry_of(record, RULES, START).why
    assert needs_look(record, RULES)
    assert entry_of(record, Rules(authenticates=False), START).endpoints == BOTH


def test_proof() -> None:
    assert entry_of(ENFORCED, RULES, START).endpoints == ()
    assert entry_of(ENFORCED, Rules(TrustPolicy.ANY), START).endpoints == ()
    assert entry_of(replace(ENFORCED, proof=PROOF), RULES, START).endpoints == BOTH
    assert entry_of(replace(ENFORCED, proof=PROOF), RULES, START + 400 * DAY).endpoints == BOTH
    partly = entry_of(replace(ENFORCED, proof=replace(PROOF, endpoints=BOTH[1:])), RULES, START)
    assert (partly.endpoints, "left out" in partly.why) == (BOTH[1:], True)
    other = replace(ENFORCED, proof=replace(PROOF, endpoints=((A, 26),)))
    assert entry_of(other, RULES, START).endpoints == ()
    assert entry_of(ENFORCED, Rules(authenticates=False), START).endpoints == BOTH


def test_what_cannot_be_told_defers_for_two_days_after_the_first_sight() -> None:
    unknown = replace(PLAIN, requirement_expires=0.0)
    record = noted(unknown, RULES, START)
    assert (record.defers_until, record.established and record.established.is_routed) == (START + 2 * DAY, False)
    entry = entry_of(record, RULES, START + DAY)
    assert (entry.defers, entry.endpoints) == (True, ())
    assert "its mail waits" in entry.why
    for now in (START + DAY, START + 2 * DAY):
        record = noted(record, RULES, now)
    assert not entry_of(record, RULES, START + 2 * DAY).defers
    # Another record does not begin it anew, nor one after an answer of none.
    other = replace(record, established=Established(BOTH[:1], Trust.UNSIGNED, START + 3 * DAY, START + 3 * DAY))
    assert not entry_of(noted(other, RULES, START + 3 * DAY), RULES, START + 3 * DAY).defers
    proof_unknown = replace(ENFORCED, unknown="mta-sts: no proof could be had")
    assert entry_of(noted(proof_unknown, RULES, START), RULES, START).defers


def test_a_domain_without_a_seen_record_never_defers() -> None:
    record = noted(DomainRecord("a.example", START, unknown="SERVFAIL", unknown_since=START), RULES, START)
    assert not entry_of(replace(record, defers_until=START + DAY), RULES, START).defers
