"""The judge: what becomes of a domain after an answer of DNS, and after a look at its onion MX; no I/O.

An unsigned answer can be forged by anyone who sits between this host and the name servers of a domain. So a domain that
has a route keeps it until another one is signed, was seen in most of the answers of some days, proves itself by the
domain's own policy, or is accepted by the operator. That it has no onion MX any more is such a change too: forged, it
would lead the mail back to the open internet. What was never in the map is no such route, and gives way at once. What
was signed gives way to a signature, to the operator, or after 30 days. What could not be told changes nothing.

Facts in, verdict out, in this order, for sync and for live lookups alike:

    verdict = judge(record, answer, now, rules)                   # an answer of DNS
    if needs_look(verdict.record, rules):                         # onionmx.sync.judge.entry
        verdict = await proofs.look(verdict.record, now)   # onionmx.sync.judge.proof: asks, and tells the judge
    verdict = settled(verdict.record, now, rules)                 # always, before the record is saved
    entry = entry_of(verdict.record, rules, now)                  # onionmx.sync.judge.entry: route, none, or defers

The record is all that is remembered (`onionmx.sync.state.record`); each verdict has lines for its history. `accept`,
`refuse` and `allow` are the operator's word.
"""

from msgspec.structs import replace

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.clock import Timestamp
from onionmx.onion import Endpoint
from onionmx.sync.judge.entry import noted
from onionmx.sync.judge.looks import judge_doubt
from onionmx.sync.judge.operator import accept, adopt, allow, refuse
from onionmx.sync.judge.rules import Rules, TrustPolicy
from onionmx.sync.judge.schedule import next_question, next_question_after_none
from onionmx.sync.judge.sightings import count, hold_of, is_firm, is_refused, withdrawn
from onionmx.sync.judge.verdict import Verdict, days, dropped, kept, removed, taken
from onionmx.sync.state.record import DomainRecord, Established, HistoryLine, How, LastAnswer, Pending, Removal
from onionmx.target import Trust

__all__ = ["MIN_FAILURES", "UNSIGNED_NOW", "Verdict", "accept", "adopt", "allow", "judge", "refuse", "settled"]

MIN_FAILURES = 10
"""Lookups in a row that must have failed before a route is given up: a clock that jumps ahead does not age them."""
UNSIGNED_NOW = "what was signed is not any more: see whether the domain has given up DNSSEC"
"""Words of a decision that somebody has to look at."""


def judge(record: DomainRecord, answer: Answer, now: Timestamp, rules: Rules) -> Verdict:
    """Decide what becomes of a domain after an answer.

    Args:
        record: what was known.
        now: a clock that goes back or ahead makes no change come earlier.
    """
    if isinstance(answer, NoRoute) and record.established is None and record.pending is None:
        return Verdict(_nothing(record, answer, now, rules))
    match answer:
        case CouldNotTell(_, reason):
            verdict = _not_told(record, reason, now, rules)
        case Found(route):
            told = _told(record, LastAnswer.FOUND, route.ttl, "", now)
            verdict = _found(told, route.endpoints, route.trust or Trust.UNSIGNED, now, rules)
        case NoRoute(_, reason, ttl):
            told = _told(record, LastAnswer.NONE, ttl, reason, now)
            verdict = _none(told, answer.trust or Trust.UNSIGNED, now, rules)
    return replace(verdict, record=replace(verdict.record, due_at=next_question(verdict.record, now, rules)))


def settled(record: DomainRecord, now: Timestamp, rules: Rules) -> Verdict:
    """What follows from a record in which an answer and a look are noted.

    Args:
        record: to be saved.
    """
    verdict = judge_doubt(record, now, rules)
    return replace(verdict, record=noted(verdict.record, rules, now))


def _nothing(record: DomainRecord, answer: NoRoute, now: Timestamp, rules: Rules) -> DomainRecord:
    """There was nothing, and there is nothing. Of a million domains most are like this, and `replace` is slow."""
    return DomainRecord(
        record.domain,
        record.first_seen,
        record.listed,
        next_question_after_none(record.domain, answer.ttl, now, rules),
        LastAnswer.NONE,
        now,
        answer.ttl,
        answer.reason,
        requirement=record.requirement,  # a policy that is known outlives the route (RFC 8461 section 10.2)
        requirement_expires=record.requirement_expires if record.requirement else 0.0,
        decision="no route",
        former=record.former,
        refused=record.refused,
        removal=Removal(How.SIGNED, now) if answer.trust is Trust.DNSSEC else record.removal,
        unknown_since=record.unknown_since,
    )


def _told(record: DomainRecord, answer: LastAnswer, ttl: int | None, reason: str, now: Timestamp) -> DomainRecord:
    return replace(record, answer=answer, asked_at=now, ttl=ttl, reason=reason, failures=0, failing_since=0.0)


def _not_told(record: DomainRecord, reason: str, now: Timestamp, rules: Rules) -> Verdict:
    failures = record.failures + 1
    # A clock that was set back would otherwise leave a beginning that lies ahead.
    since = min(record.failing_since, now) if record.failures else now
    record = replace(
        record,
        answer=LastAnswer.UNKNOWN,
        asked_at=now,
        ttl=None,
        reason=reason,
        failures=failures,
        failing_since=since,
        decision=kept(record, "DNS does not answer"),
    )
    route = record.established
    if route is None or failures < MIN_FAILURES or now - since < rules.max_stale:
        return Verdict(record)
    if route.trust is not Trust.UNSIGNED or record.proof is not None:
        return Verdict(record)  # silence is no word against a signature or a proof
    words = f"DNS has not answered for {days(now - since)} days, {failures} times in a row"
    line = HistoryLine(record.domain, now, "expired", route.endpoints, route.trust, words)
    if route.is_routed is False:
        return Verdict(dropped(record, f"removed: {words}"), (line,))
    return Verdict(removed(record, How.SILENCE, now, f"removed: {words}"), (line,))


def _found(
    record: DomainRecord, endpoints: tuple[Endpoint, ...], trust: Trust, now: Timestamp, rules: Rules
) -> Verdict:
    old = record.established
    signed = trust is not Trust.UNSIGNED
    if old and set(old.endpoints) == set(endpoints):
        return _seen_again(record, replace(old, endpoints=endpoints, last_seen=now), trust, now, rules)
    if not signed and rules.belief is TrustPolicy.DNSSEC and old is None:
        decision = "no route: the record is not signed, and only signed count"
        return Verdict(replace(record, pending=None, rivals=(), decision=decision))
    if signed or (
        not is_refused(record, endpoints)
        and rules.belief is not TrustPolicy.DNSSEC
        and (rules.belief is TrustPolicy.ANY or _is_free(record, endpoints))
    ):
        return taken(record, endpoints, trust, now, f"{trust} record" if old is None else f"changed: {trust} record")
    return _wait(record, endpoints, trust, now, rules)


def _is_free(record: DomainRecord, endpoints: tuple[Endpoint, ...]) -> bool:
    """Whether an unsigned record may be taken at once: nothing was ever routed, or only DNS had been silent."""
    if record.established is not None:
        # `None`: it was taken a moment ago, and nobody has looked at it yet.
        return record.established.is_routed is False
    if record.removal is None:
        return record.former is None
    is_return = record.former is not None and set(record.former.endpoints) == set(endpoints)
    return record.removal.how is How.SILENCE and is_return


def _none(record: DomainRecord, trust: Trust, now: Timestamp, rules: Rules) -> Verdict:
    old = record.established
    signed = trust is not Trust.UNSIGNED
    if old is None:
        if signed:
            lines = withdrawn(record, now)
            decision = "no route: a signed answer says so"
            return Verdict(removed(record, How.SIGNED, now, decision), lines)
        record, _, lines = count(record, None, trust, now, rules)
        decision = kept(record, f"a change waits: {record.pending.reason}") if record.pending else "no route"
        return Verdict(replace(record, decision=decision), lines)
    is_free = rules.belief is TrustPolicy.ANY or (old.is_routed is False and rules.belief is TrustPolicy.TOFU)
    if not signed and (is_refused(record, ()) or not is_free):
        return _wait(record, (), trust, now, rules)
    line = HistoryLine(record.domain, now, "removed", old.endpoints, trust, record.reason)
    if not signed and old.is_routed is False:
        return Verdict(dropped(record, f"removed: {record.reason}"), (line,))
    how = How.SIGNED if signed else How.UNSIGNED
    return Verdict(removed(record, how, now, f"removed: {record.reason}"), (line,))


def _seen_again(record: DomainRecord, seen: Established, trust: Trust, now: Timestamp, rules: Rules) -> Verdict:
    """The same onions. What was signed once does not become less when it is seen unsigned."""
    old = record.established
    better = trust if seen.trust is Trust.UNSIGNED else seen.trust
    if trust is Trust.UNSIGNED:
        record, _, lines = count(record, None, trust, now, rules)
    else:
        lines = withdrawn(record, now)
        record = replace(record, pending=None, rivals=(), told_at=0.0)
    words = []
    if old and seen.endpoints != old.endpoints:
        words.append("the same onions in another order")
    if better is not seen.trust:
        words.append("the same onions, signed now")
    changes = tuple(HistoryLine(record.domain, now, "changed", seen.endpoints, trust, each) for each in words)
    decision = f"as DNS says: {better} record"
    if record.pending:
        decision = f"{decision}; a change waits: {record.pending.reason}"
    established = replace(seen, trust=better)
    record = replace(record, established=established, former=None, removal=None, decision=decision)
    return Verdict(record, (*lines, *changes))


def _wait(record: DomainRecord, endpoints: tuple[Endpoint, ...], trust: Trust, now: Timestamp, rules: Rules) -> Verdict:
    """Keep what is there until the change has been seen for long enough."""
    counted, own, lines = count(record, endpoints, trust, now, rules)
    hold = hold_of(record, endpoints, rules)
    if own and hold is not None and own.steady >= hold:
        return _steady(record, own, now, hold)
    waits = counted.pending
    why = waits.reason if waits else ""
    return Verdict(replace(counted, decision=kept(record, f"a change waits: {why}")), lines)


def _steady(record: DomainRecord, pending: Pending, now: Timestamp, hold: float) -> Verdict:
    words = f"seen steadily for {days(hold)} days"
    if is_firm(record):
        words = f"{words}; {UNSIGNED_NOW}"
    if pending.endpoints:
        return taken(record, pending.endpoints, Trust.UNSIGNED, now, f"unsigned record, {words}")
    endpoints = record.established.endpoints if record.established else ()
    line = HistoryLine(record.domain, now, "removed", endpoints, Trust.UNSIGNED, words)
    return Verdict(removed(record, How.UNSIGNED, now, f"removed: {record.reason}, {words}"), (line,))
