"""When to ask for a domain again; no I/O."""

from zlib import crc32

from onionmx.defaults import DAY
from onionmx.sync.judge.rules import Rules
from onionmx.sync.state.record import DomainRecord, LastAnswer
from onionmx.target import Trust

CLOCK_TOLERANCE = 3600.0
"""Seconds by which the clock may go back between two runs before the times in the store count for nothing."""
_JITTER = 0.1  # part of the interval, so that domains that were first asked together do not stay together
LONGEST_STRETCH = 2 * _JITTER + 1
"""Times `max_interval`: no domain is due later than that from now."""
_SIGHTINGS = 8  # of a change, in the time for which it has to be seen; of a first unsigned record as well


def next_question(record: DomainRecord, now: float, rules: Rules) -> float:
    """When a domain is due again, after an answer that was noted in its record.

    Args:
        record: with that answer.
        now: when it came.
        rules: bounds.
    """
    return now + _stretched(_interval(record, now, rules), record.domain)


def next_question_after_none(domain: str, ttl: int | None, now: float, rules: Rules) -> float:
    """The same for a domain that has no onion MX and had none, as nearly all have."""
    return now + _stretched(_bounded(ttl, rules.negative_interval, rules), domain)


def _interval(record: DomainRecord, now: float, rules: Rules) -> float:
    if record.answer is LastAnswer.UNKNOWN:
        exponent = min(record.failures - 1, 20)
        return min(rules.min_interval * 2.0**exponent, max(rules.min_interval, min(DAY, rules.max_interval)))
    is_quiet = record.answer is LastAnswer.NONE and record.established is None
    interval = _bounded(record.ttl, rules.negative_interval if is_quiet else rules.min_interval, rules)
    hold = _hold(record, now, rules)
    return interval if hold is None else min(interval, max(hold / _SIGHTINGS, rules.min_interval))


def _hold(record: DomainRecord, now: float, rules: Rules) -> float | None:
    """The time in which something has to be seen often."""
    if record.pending and not record.pending.is_refused:
        return rules.hold if record.pending.endpoints else rules.hold_removal
    route = record.established
    # A forged first record would otherwise come with the longest TTL, and outlive the attack by it.
    is_fresh = route is not None and route.trust is Trust.UNSIGNED and 0 <= now - route.since < rules.hold
    return rules.hold if is_fresh else None


def _bounded(ttl: int | None, least: float, rules: Rules) -> float:
    return rules.max_interval if ttl is None else min(max(float(ttl), least), rules.max_interval)


def _stretched(interval: float, domain: str) -> float:
    # By a share that is the same at each run and on each host.
    return interval * (1 + _JITTER * crc32(domain.encode()) / 0xFFFFFFFF)
