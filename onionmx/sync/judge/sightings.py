"""Changes that wait until they have been seen for long enough; no I/O.

What counts is the share of the answers, not that no other came between: else one forged answer now and then would keep
a captured domain for ever. The time between two answers in a row that say the same counts for what they say; the time
before an answer that says anything else counts against it. So a change that is seen in well over two thirds of the
answers comes, one that is seen in less does not, and one that is seen in all comes after `hold`.
"""

from collections.abc import Callable

from msgspec.structs import replace

from onionmx.clock import Timestamp
from onionmx.onion import Endpoint
from onionmx.sync.judge.rules import Rules, TrustPolicy
from onionmx.sync.judge.verdict import days
from onionmx.sync.state.record import DomainRecord, HistoryLine, How, Pending
from onionmx.target import Trust

FIRM_HOLD = 30 * 86400.0
"""Seconds for which only unsigned answers must have been seen before they move what was signed."""
_MOST_RIVALS = 4  # changes that wait beside the one that was seen most
_SHARE_OF_A_GAP = 0.25  # of `hold`, for which the time between two sightings counts at most: five make it steady

Hold = Callable[[tuple[Endpoint, ...]], float | None]


def is_firm(record: DomainRecord) -> bool:
    """Whether a signature vouches for the route, or for there being none."""
    if record.established:
        return record.established.trust is Trust.DNSSEC
    return record.removal is not None and record.removal.how is How.SIGNED


def is_refused(record: DomainRecord, endpoints: tuple[Endpoint, ...]) -> bool:
    """Whether the operator has refused a change: this one, or another one to one of its onions."""
    route = record.established or record.former
    own = set(route.endpoints) if route else set()
    wanted = set(endpoints)
    return any(set(other) == wanted or (set(other) - own) & wanted for other in record.refused)


def hold_of(record: DomainRecord, endpoints: tuple[Endpoint, ...], rules: Rules) -> float | None:
    """For how long an unsigned change must have been seen, in seconds; `None` where no time is long enough."""
    if rules.belief is TrustPolicy.DNSSEC or is_refused(record, endpoints):
        return None
    hold = rules.hold if endpoints else rules.hold_removal
    return max(hold, FIRM_HOLD) if is_firm(record) else hold


def count(
    record: DomainRecord, said: tuple[Endpoint, ...] | None, trust: Trust, now: Timestamp, rules: Rules
) -> tuple[DomainRecord, Pending | None, tuple[HistoryLine, ...]]:
    """Count an answer for the change that it says, and against all others.

    Args:
        record: what was known.
        said: the endpoints, empty for no record; `None` where the answer says what is there already.
        trust: what vouches for it.
        now: a clock that goes back or ahead makes nothing come earlier.

    Returns:
        The record with all changes that wait; the one that was said; what happened to them.
    """
    told_at = record.told_at or (record.pending.last_seen if record.pending else now)
    own: Pending | None = None
    others: list[Pending] = []
    lines: list[HistoryLine] = []
    for each in filter(None, (record.pending, *record.rivals)):
        gap = _gap(record, each, now - told_at, rules)
        if said is not None and set(each.endpoints) == set(said):
            steady = each.steady + (gap if each.last_seen == told_at else 0.0)
            own = replace(each, endpoints=said, last_seen=now, steady=steady)
        elif each.steady > gap:
            others.append(replace(each, steady=each.steady - gap))
        else:
            lines.append(_withdrawn(record, each, now))
    if said is not None:
        is_new = own is None
        own = own or Pending(said, trust, now, now, "")
        own = _described(record, own, rules)
        if is_new:
            lines.append(HistoryLine(record.domain, now, "pending", said, trust, own.reason))
    waiting = sorted((_described(record, each, rules) for each in others), key=_weight, reverse=True)[:_MOST_RIVALS]
    if own is not None:
        waiting = sorted((own, *waiting), key=_weight, reverse=True)
    first, rest = (waiting[0], tuple(waiting[1:])) if waiting else (None, ())
    return replace(record, pending=first, rivals=rest, told_at=now if first else 0.0), own, tuple(lines)


def said_now(record: DomainRecord) -> Pending | None:
    """The change that DNS said last, where it waits."""
    return next((each for each in (record.pending, *record.rivals) if each and each.last_seen == record.told_at), None)


def withdrawn(record: DomainRecord, now: Timestamp) -> tuple[HistoryLine, ...]:
    """The events of an end of all that waits."""
    return tuple(_withdrawn(record, each, now) for each in (record.pending, *record.rivals) if each)


def _withdrawn(record: DomainRecord, pending: Pending, now: Timestamp) -> HistoryLine:
    return HistoryLine(record.domain, now, "withdrawn", pending.endpoints, pending.trust, "DNS says something else")


def _gap(record: DomainRecord, pending: Pending, seconds: float, rules: Rules) -> float:
    if hold_of(record, pending.endpoints, rules) is None:
        return 0.0
    longest = (rules.hold if pending.endpoints else rules.hold_removal) * _SHARE_OF_A_GAP
    return min(max(seconds, 0.0), longest)


def _weight(pending: Pending) -> tuple[bool, float, float]:
    return not pending.is_refused, pending.steady, pending.last_seen


def _described(record: DomainRecord, pending: Pending, rules: Rules) -> Pending:
    other = "another record" if record.established else "a record"
    what = other if pending.endpoints else "no record"
    hold = hold_of(record, pending.endpoints, rules)
    is_refused_now = is_refused(record, pending.endpoints)
    if is_refused_now:
        reason = "refused by the operator"
    elif hold is None:
        reason = f"unsigned answer of {what}, and only signed ones count"
    else:
        reason = f"unsigned answer of {what}, seen steadily for {days(pending.steady)} of {days(hold)} days"
        if is_firm(record):
            reason += ", because a signed answer says otherwise"
    return replace(pending, is_refused=is_refused_now, reason=reason)
