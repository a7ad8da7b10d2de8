"""What an answer of DNS changes in what is known of a domain; no I/O, and all times are given.

An unsigned answer can be forged by whoever sits between this host and the name servers of a domain. So a domain that
has a route keeps it until another one is signed, has been seen steadily for some days, or is accepted by the operator.
That it has no onion MX any more is such a change too: forged, it would lead the mail back to the open internet.
"""

from msgspec import Struct
from msgspec.structs import replace

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.onion import Endpoint
from onionmx.sync.rules import DAY, Belief, Rules
from onionmx.sync.schedule import next_question, next_question_after_none
from onionmx.sync.state.record import DomainRecord, Established, HistoryLine, LastAnswer, Pending
from onionmx.target import Trust

MIN_FAILURES = 10
"""Lookups in a row that must have failed before a route is given up: a clock that jumps ahead does not age them."""
_SHARE_OF_A_GAP = 0.25  # of `hold`, for which the time between two sightings counts at most: five make it steady


class Verdict(Struct, frozen=True, gc=False):
    """What is known of a domain from now on.

    Attributes:
        record: to be kept in the place of the old one.
        history: what happened to its route.
    """

    record: DomainRecord
    history: tuple[HistoryLine, ...] = ()


def judge(record: DomainRecord, answer: Answer, now: float, rules: Rules) -> Verdict:
    """Decide what becomes of a domain after an answer.

    Args:
        record: what was known.
        answer: what DNS said.
        now: seconds since 1970; a clock that goes back or ahead makes no change come earlier.
        rules: of this domain.
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


def adopt(record: DomainRecord, endpoints: tuple[Endpoint, ...], now: float) -> Verdict:
    """Take the entry that a map has for a domain of which nothing is known: of an older version, or of a lost state."""
    established = Established(endpoints, Trust.UNSIGNED, now, now)
    words = "it stood in the map"
    # Nothing is known of what it demands; it was routed before, and stays so until it is looked at, which is at once.
    return Verdict(
        replace(record, established=established, requirement_expires=now, decision=f"taken over: {words}"),
        (HistoryLine(record.domain, now, "taken", endpoints, Trust.UNSIGNED, words),),
    )


def accept(record: DomainRecord, now: float) -> Verdict | None:
    """Make the change that waits, on the operator's word; `None` where none waits."""
    if record.pending is None:
        return None
    endpoints = record.pending.endpoints
    line = HistoryLine(record.domain, now, "accepted", endpoints, Trust.PINNED, "accepted by the operator")
    if not endpoints:
        return Verdict(_removed(record, "removed: accepted by the operator"), (line,))
    established = Established(endpoints, Trust.PINNED, now, now)
    words = "accepted by the operator"
    return Verdict(replace(record, established=established, former=None, pending=None, decision=words), (line,))


def refuse(record: DomainRecord, now: float) -> Verdict | None:
    """Never make the change that waits, unless it comes signed; `None` where none waits."""
    if record.pending is None:
        return None
    words = "refused by the operator"
    pending = replace(record.pending, is_refused=True, reason=words)
    line = HistoryLine(record.domain, now, "refused", pending.endpoints, pending.trust, words)
    return Verdict(replace(record, pending=pending, decision=_kept(record, f"the change was {words}")), (line,))


def _nothing(record: DomainRecord, answer: NoRoute, now: float, rules: Rules) -> DomainRecord:
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
        decision="no route",
        former=record.former,
    )


def _told(record: DomainRecord, answer: LastAnswer, ttl: int | None, reason: str, now: float) -> DomainRecord:
    return replace(record, answer=answer, asked_at=now, ttl=ttl, reason=reason, failures=0, failing_since=0.0)


def _not_told(record: DomainRecord, reason: str, now: float, rules: Rules) -> Verdict:
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
        decision=_kept(record, "DNS does not answer"),
    )
    if record.established is None or failures < MIN_FAILURES or now - since < rules.max_stale:
        return Verdict(record)
    words = f"DNS has not answered for {_days(now - since)} days, {failures} times in a row"
    line = HistoryLine(record.domain, now, "expired", record.established.endpoints, record.established.trust, words)
    return Verdict(_removed(record, f"removed: {words}"), (line,))


def _found(record: DomainRecord, endpoints: tuple[Endpoint, ...], trust: Trust, now: float, rules: Rules) -> Verdict:
    old = record.established
    if old and set(old.endpoints) == set(endpoints):
        return _seen_again(record, old, endpoints, trust, now)
    signed = trust is not Trust.UNSIGNED
    if not signed and rules.belief is Belief.DNSSEC:
        if old is None:
            record = replace(record, pending=None, decision="no route: the record is not signed, and only signed count")
            return Verdict(record)
        return _wait(record, endpoints, trust, now, None)
    # A domain that had a route once is not seen for the first time.
    known = old or record.former
    is_return = old is None and known is not None and set(known.endpoints) == set(endpoints)
    if known is None or signed or is_return or rules.belief is Belief.ANY:
        return _taken(record, endpoints, trust, now, f"{trust} record" if old is None else f"changed: {trust} record")
    return _wait(record, endpoints, trust, now, rules.hold)


def _none(record: DomainRecord, trust: Trust, now: float, rules: Rules) -> Verdict:
    old = record.established
    if old is None:
        lines = _withdrawn(record, "there is no record any more", now)
        return Verdict(replace(record, pending=None, decision="no route"), lines)
    if trust is Trust.UNSIGNED and rules.belief is not Belief.ANY:
        return _wait(record, (), trust, now, None if rules.belief is Belief.DNSSEC else rules.hold_removal)
    line = HistoryLine(record.domain, now, "removed", old.endpoints, trust, record.reason)
    return Verdict(_removed(record, f"removed: {record.reason}"), (line,))


def _seen_again(
    record: DomainRecord, old: Established, endpoints: tuple[Endpoint, ...], trust: Trust, now: float
) -> Verdict:
    """The same onions. What was signed once does not become less when it is seen unsigned."""
    better = trust if old.trust is Trust.UNSIGNED else old.trust
    established = replace(old, endpoints=endpoints, trust=better, last_seen=now)
    lines = list(_withdrawn(record, "DNS says the same as before again", now))
    if endpoints != old.endpoints:
        lines.append(HistoryLine(record.domain, now, "changed", endpoints, trust, "the same onions in another order"))
    if better is not old.trust:
        lines.append(HistoryLine(record.domain, now, "changed", endpoints, trust, "the same onions, signed now"))
    decision = f"as DNS says: {better} record"
    return Verdict(replace(record, established=established, former=None, pending=None, decision=decision), tuple(lines))


def _wait(
    record: DomainRecord, endpoints: tuple[Endpoint, ...], trust: Trust, now: float, hold: float | None
) -> Verdict:
    """Keep what is there; `hold` is `None` where no time is long enough."""
    old = record.pending
    is_new = old is None or set(old.endpoints) != set(endpoints)
    if old is None or is_new:
        pending = Pending(endpoints, trust, now, now, "")
    else:
        gap = min(max(now - old.last_seen, 0.0), (hold or 0.0) * _SHARE_OF_A_GAP)
        pending = replace(old, endpoints=endpoints, last_seen=now, steady=old.steady + gap)
    if hold is not None and pending.steady >= hold and not pending.is_refused:
        return _steady(record, pending, now, hold)
    pending = replace(pending, reason=pending.reason if pending.is_refused else _why_waiting(pending, hold))
    record = replace(record, pending=pending, decision=_kept(record, f"a change waits: {pending.reason}"))
    if not is_new:
        return Verdict(record)
    lines = _withdrawn(record, "DNS says something else again", now) if old else ()
    return Verdict(record, (*lines, HistoryLine(record.domain, now, "pending", endpoints, trust, pending.reason)))


def _steady(record: DomainRecord, pending: Pending, now: float, hold: float) -> Verdict:
    words = f"seen steadily for {_days(hold)} days"
    if pending.endpoints:
        return _taken(record, pending.endpoints, Trust.UNSIGNED, now, f"unsigned record, {words}")
    line = HistoryLine(record.domain, now, "removed", _endpoints(record.established), Trust.UNSIGNED, words)
    return Verdict(_removed(record, f"removed: {record.reason}, {words}"), (line,))


def _taken(record: DomainRecord, endpoints: tuple[Endpoint, ...], trust: Trust, now: float, words: str) -> Verdict:
    event = "taken" if record.established is None else "changed"
    established = Established(endpoints, trust, now, now)
    # A proof is of the onions that made it.
    proof = record.proof if record.proof and set(endpoints) <= set(record.proof.endpoints) else None
    return Verdict(
        replace(record, established=established, former=None, pending=None, proof=proof, decision=words),
        (HistoryLine(record.domain, now, event, endpoints, trust, words),),
    )


def _removed(record: DomainRecord, decision: str) -> DomainRecord:
    former = record.established or record.former
    return replace(record, established=None, former=former, pending=None, proof=None, decision=decision)


def _withdrawn(record: DomainRecord, words: str, now: float) -> tuple[HistoryLine, ...]:
    if record.pending is None:
        return ()
    return (HistoryLine(record.domain, now, "withdrawn", record.pending.endpoints, record.pending.trust, words),)


def _why_waiting(pending: Pending, hold: float | None) -> str:
    what = "another record" if pending.endpoints else "no record"
    if hold is None:
        return f"unsigned answer of {what}, and only signed ones count"
    return f"unsigned answer of {what}, seen steadily for {_days(pending.steady)} of {_days(hold)} days"


def _kept(record: DomainRecord, why: str) -> str:
    return f"{'the route stays' if record.established else 'no route'}: {why}"


def _endpoints(established: Established | None) -> tuple[Endpoint, ...]:
    return established.endpoints if established else ()


def _days(seconds: float) -> str:
    return f"{seconds / DAY:.3g}"
