"""The operator's word on a domain; no I/O."""

from msgspec.structs import replace

from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy
from onionmx.clock import Timestamp
from onionmx.domain import shown
from onionmx.errors import UsageError
from onionmx.onion import Endpoint, format_endpoint
from onionmx.sync.judge.looks import end_doubt
from onionmx.sync.judge.verdict import Verdict, kept, removed, replace_route
from onionmx.sync.state.record import DomainRecord, Established, HistoryLine, How, Pending, Proof
from onionmx.target import Trust


def adopt(
    record: DomainRecord, endpoints: tuple[Endpoint, ...], now: Timestamp, demand: Demand | None = None
) -> Verdict:
    """Take the entry that a map has for a domain of which nothing is known: of an older version, or of a lost state.

    Args:
        endpoints: of the entry.
        demand: what the file beside the map has; `None` for nothing.
    """
    established = Established(endpoints, Trust.UNSIGNED, now, now, is_routed=True)
    words = "it was in the map"
    if demand is not None:
        # It was in the map only because it had shown this. For how long that holds is not known: it is asked at once.
        policy = EnforcedPolicy(record.domain, demand, now, now)
        proof = Proof(endpoints, str(demand.kind), demand.names, now, now)
        record = replace(record, requirement=policy.to_text(), proof=proof)
    # Else nothing is known of what it demands; it was routed before, and stays so until it is looked at, at once too.
    return Verdict(
        replace(record, established=established, requirement_expires=now, decision=f"taken over: {words}"),
        (HistoryLine(record.domain, now, "taken", endpoints, Trust.UNSIGNED, words),),
    )


NO_ROUTE = "none"
"""Names the removal among the changes that wait, as in the pins."""


def accept(record: DomainRecord, now: Timestamp, onions: str = "") -> Verdict | None:
    """Make the change that waits, on the operator's word; `None` where none waits. That it was refused counts no more.

    Args:
        onions: all that the change leads to, as `choices` has them, or `NO_ROUTE`; empty where only one waits.

    Raises:
        UsageError: several wait, and none is named; or not the named one.
    """
    words = "accepted by the operator"
    record = _chosen(record, onions)
    if record.pending is None:
        if record.doubt is None:
            return None
        line = HistoryLine(record.domain, now, "accepted", (), None, words)
        return Verdict(end_doubt(record, f"removed: {words}"), (line,))
    endpoints = record.pending.endpoints
    line = HistoryLine(record.domain, now, "accepted", endpoints, Trust.PINNED, words)
    wanted = set(endpoints)
    refused = tuple(other for other in record.refused if set(other) != wanted and not set(other) & wanted)
    record = replace(record, refused=refused)
    if not endpoints:
        return Verdict(removed(record, How.OPERATOR, now, f"removed: {words}"), (line,))
    established = Established(endpoints, Trust.PINNED, now, now, is_routed=True)
    return Verdict(replace(replace_route(record, established), decision=words), (line,))


def choices(record: DomainRecord) -> list[str]:
    """The words by which the operator accepts each change that waits."""
    names = [_name(each.endpoints) for each in _waiting(record)]
    return [f"{record.domain}={name}" for name in names or ([NO_ROUTE] if record.doubt else [])]


def _waiting(record: DomainRecord) -> list[Pending]:
    return [each for each in (record.pending, *record.rivals) if each]


def _name(endpoints: tuple[Endpoint, ...]) -> str:
    return ",".join(sorted(map(format_endpoint, endpoints))) or NO_ROUTE


def _chosen(record: DomainRecord, onions: str) -> DomainRecord:
    """With the named change in front: an attacker who forges one must not have the operator accept it for another.

    So all its onions have to be named: a forged change may lead to the right onion too.
    """
    waiting = _waiting(record)
    if not onions:
        if len(waiting) > 1:
            raise UsageError(f"{record.domain}: several changes wait: expected one of {', '.join(choices(record))}")
        return record
    wanted = ",".join(sorted(onions.split(",")))
    found = next((each for each in waiting if _name(each.endpoints) == wanted), None)
    if found is None and not (onions == NO_ROUTE and record.doubt and not waiting):
        known = ", ".join(choices(record)) or "nothing"
        raise UsageError(f"{record.domain}: no change to {shown(onions)} waits: see `onionmx sync --pending`: {known}")
    if found is None:
        return record
    return replace(record, pending=found, rivals=tuple(each for each in waiting if each is not found))


def refuse(record: DomainRecord, now: Timestamp) -> Verdict | None:
    """Keep what is there, whatever waits; `None` where nothing waits.

    It holds until `allow` takes it back: a refused change, or another one to an onion of it, needs a signature.
    """
    words = "refused by the operator"
    waiting = _waiting(record)
    if not waiting and record.doubt is None:
        return None
    changes = [each.endpoints for each in waiting]
    known = [set(other) for other in record.refused]
    refused = (*record.refused, *(endpoints for endpoints in changes if set(endpoints) not in known))
    stopped = [replace(each, is_refused=True, steady=0.0, reason=words) for each in waiting]
    doubt = record.doubt and replace(record.doubt, is_refused=True, steady=0.0, reason=words)
    lines = [HistoryLine(record.domain, now, "refused", each.endpoints, each.trust, words) for each in waiting]
    if doubt and record.doubt and not record.doubt.is_refused:
        lines.append(HistoryLine(record.domain, now, "refused", (), None, f"an end for want of a proof {words}"))
    record = replace(
        record,
        pending=stopped[0] if stopped else None,
        rivals=tuple(stopped[1:]),
        doubt=doubt,
        keeps_unproven=record.keeps_unproven or doubt is not None,
        refused=refused,
        decision=kept(record, f"the change was {words}"),
    )
    return Verdict(record, tuple(lines))


def allow(record: DomainRecord, now: Timestamp) -> Verdict | None:
    """Take back all that was refused: such a change waits as any other; `None` where nothing is refused."""
    if not record.refused and not record.keeps_unproven and not (record.doubt and record.doubt.is_refused):
        return None
    words = "the operator takes the refusal back"
    changes = record.refused or ((),)
    pending, *rivals = (
        replace(each, is_refused=False, reason=words) if each else None for each in (record.pending, *record.rivals)
    )
    record = replace(
        record,
        refused=(),
        keeps_unproven=False,
        pending=pending,
        rivals=tuple(each for each in rivals if each),
        doubt=record.doubt and replace(record.doubt, is_refused=False, reason=words),
        decision=kept(record, words),
    )
    return Verdict(record, tuple(HistoryLine(record.domain, now, "allowed", each, None, words) for each in changes))
