"""What the map has for a domain of which something is known; no I/O."""

from dataclasses import dataclass

from msgspec.structs import replace

from onionmx.clock import Timestamp
from onionmx.defaults import DAY
from onionmx.onion import Endpoint
from onionmx.sync.judge.rules import Rules, TrustPolicy
from onionmx.sync.state.record import DomainRecord
from onionmx.target import Trust

NOT_LISTED = "it is in no list and not pinned any more"
LONGEST_DEFERRAL = 2 * DAY
"""Seconds for which the mail of a domain waits at most while it cannot be told whether its record is to be believed."""


@dataclass(frozen=True, slots=True)
class MapEntry:
    """The entry of a domain in the map.

    Attributes:
        endpoints: in the order in which they are tried; none where the map has no onion.
        why: there is none, or why some of the onions are left out; else empty.
        defers: the map has the value that lets the domain's mail wait.
    """

    endpoints: tuple[Endpoint, ...]
    why: str = ""
    defers: bool = False


def entry_of(record: DomainRecord, rules: Rules, now: Timestamp) -> MapEntry:
    """What the map has for a domain that is neither pinned nor local.

    Args:
        record: what is known of it.
        now: a domain that defers does so for some time only.
    """
    if not record.listed:
        return MapEntry((), NOT_LISTED)
    entry = _entry(record, rules)
    if not entry.endpoints and _is_unknown(record, rules) and now < record.defers_until:
        return MapEntry((), f"{entry.why}; its mail waits until that is known, for 2 days at most", defers=True)
    return entry


def needs_look(record: DomainRecord, rules: Rules) -> bool:
    """Whether it matters what the domain demands of its MX."""
    if not rules.authenticates or rules.belief is TrustPolicy.DNSSEC:
        return False
    route = record.established
    return record.pending is not None if route is None else route.trust is Trust.UNSIGNED


def noted(record: DomainRecord, rules: Rules, now: Timestamp) -> DomainRecord:
    """Note whether a route has ever been in the map, and for how long its domain defers where that cannot be told."""
    route = record.established
    if route is not None:
        is_routed = bool(route.is_routed) or bool(_entry(record, rules).endpoints)
        if is_routed is not route.is_routed:
            record = replace(record, established=replace(route, is_routed=is_routed))
        if is_routed and route.trust is Trust.UNSIGNED and not (rules.authenticates or record.requirement_expires):
            # Nobody asks what it demands now. Who begins to later keeps it in the map until that is known.
            record = replace(record, requirement_expires=now)
    if not _is_unknown(record, rules):
        return replace(record, defers_until=0.0) if record.defers_until else record
    # From the first sight on, whatever record comes after it: else a forger could let the mail wait for ever.
    since = min(record.unknown_since or now, now)
    until = since + LONGEST_DEFERRAL
    return replace(record, unknown_since=since, defers_until=until if now < until else 0.0)


def _entry(record: DomainRecord, rules: Rules) -> MapEntry:
    if record.established is None:
        return MapEntry((), record.reason or record.decision)
    endpoints = record.established.endpoints
    if record.established.trust is not Trust.UNSIGNED:
        return MapEntry(endpoints)
    if rules.belief is TrustPolicy.DNSSEC:
        return MapEntry((), "the record is not signed, and only signed ones count")
    return _proven(record, endpoints) if rules.authenticates else MapEntry(endpoints)


def _is_unknown(record: DomainRecord, rules: Rules) -> bool:
    """Whether it cannot be told if the onions of the record are to be believed."""
    if record.established is None or not needs_look(record, rules) or _entry(record, rules).endpoints:
        return False
    return bool(record.unknown) or not (record.requirement or record.requirement_expires)


def _proven(record: DomainRecord, endpoints: tuple[Endpoint, ...]) -> MapEntry:
    proof = record.proof
    if not record.requirement:
        # The third answer: a domain of which that is not known may demand something.
        unknown = "it is not known yet whether the domain demands a certificate of its MX (MTA-STS, DANE)"
        return MapEntry(endpoints) if record.requirement_expires else MapEntry((), record.unknown or unknown)
    if proof is None:
        return MapEntry((), record.unknown or "its onion MX has not shown a certificate that the domain would accept")
    # Proven once it stays, with its demand, for the relay asks again; see onionmx.sync.judge.looks for its end.
    proven = tuple(endpoint for endpoint in endpoints if endpoint in proof.endpoints)
    if len(proven) == len(endpoints):
        return MapEntry(proven)
    left_out = "onion MXes that have not shown a certificate that the domain would accept are left out"
    return MapEntry(proven, left_out if proven else "its onion MXes have not shown a certificate that it would accept")
