"""What it changes that an onion MX showed a certificate, or did not; no I/O.

What is in the map leaves it only because of something that is known: that the onion MX was asked and does not have what
the domain demands, or that it was reached and has never shown it; each time for as long as the end of a record has to
be seen. Until then the demand that was met stays too, so that nobody undercuts it with another policy.
"""

from msgspec.structs import replace

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.requirement import EnforcedPolicy, NotRequired, RequirementError, parse_requirement
from onionmx.authenticate.proof.prove import NotProven, Proven, PutOff
from onionmx.clock import Timestamp
from onionmx.defaults import DAY
from onionmx.onion import Endpoint
from onionmx.sync.judge.rules import Rules
from onionmx.sync.judge.sightings import is_firm, is_refused, said_now
from onionmx.sync.judge.verdict import Verdict, days, kept, taken
from onionmx.sync.state.record import DomainRecord, Doubt, HistoryLine, How, Proof
from onionmx.target import Trust

_LONGEST_GAP = DAY / 2  # between two looks; more counts as this much


def requirement_of(record: DomainRecord) -> EnforcedPolicy | None:
    """The requirement in a record; one that cannot be read counts for none, and is found out again."""
    if not record.requirement:
        return None
    try:
        return parse_requirement(record.requirement)
    except RequirementError:
        return None


def demanding(record: DomainRecord, requirement: EnforcedPolicy) -> DomainRecord:
    """A record with what the domain demands now."""
    return replace(record, requirement=requirement.to_text(), requirement_expires=requirement.look_at)


def not_required(record: DomainRecord, said: NotRequired) -> DomainRecord:
    """The domain demands nothing."""
    return replace(
        record,
        requirement="",
        requirement_expires=said.look_at,
        proof=None,
        doubt=None,
        unknown="",
        unknown_since=0.0,
    )


def not_told(record: DomainRecord, why: str) -> DomainRecord:
    """What the domain demands could not be told; what is known of it stays."""
    words = f"what it demands of its MX could not be told: {why}"
    decision = f"{record.decision}; {words}" if record.decision else words
    is_known = record.requirement or record.requirement_expires
    return replace(record, unknown="" if is_known else words, decision=decision)


def shown(
    record: DomainRecord, requirement: EnforcedPolicy, result: Proven | NotProven | CouldNotTell, now: Timestamp
) -> Verdict:
    """What the onion MXes of the route showed.

    Args:
        record: with an established route.
        requirement: what the domain demands now.
    """
    kind = str(requirement.demand.kind)
    match result:
        case Proven():
            return _proven(record, requirement, result, now)
        case NotProven(reason):
            return _not_proven(record, requirement, f"{kind}: {reason}", now)
        case PutOff(_, reason) if _is_in_map(record) and record.proof is None and not _is_met(record, requirement):
            # What was never proven must not stay for as long as it puts off the question.
            return _doubted(record, requirement, f"{kind}: puts off the question: {reason}", now)
        case CouldNotTell(_, reason):
            words = f"{kind}: no proof could be had: {reason}"
            decision = f"{record.decision}; {words}"
            if _is_in_map(record) and not _is_met(record, requirement):
                return Verdict(replace(record, decision=decision, requirement_expires=now))
            unknown = "" if record.proof else words
            return Verdict(replace(demanding(record, requirement), unknown=unknown, decision=decision))


def candidate(record: DomainRecord) -> tuple[Endpoint, ...]:
    """The onions of a change that may prove themselves now, and be taken at once if they do; none where there are none.

    Not those of a change against a signature or the operator's word; and only by a demand that is not in doubt, for he
    who can forge a record can forge a policy.
    """
    waits = said_now(record)
    by_operator = record.removal is not None and record.removal.how is How.OPERATOR
    if not waits or not waits.endpoints or is_refused(record, waits.endpoints):
        return ()
    return () if is_firm(record) or by_operator or record.doubt else waits.endpoints


def changed_by_proof(record: DomainRecord, requirement: EnforcedPolicy, result: Proven, now: Timestamp) -> Verdict:
    """A change whose onions have proved themselves is taken at once."""
    waits = said_now(record)
    if waits is None or is_refused(record, waits.endpoints):
        return Verdict(record)
    kind = str(requirement.demand.kind)
    words = f"unsigned record, at once: {kind}: showed a certificate for {', '.join(result.names)}"
    proof = Proof(result.endpoints, kind, result.names, now, result.expires)
    verdict = taken(record, waits.endpoints, Trust.UNSIGNED, now, "; ".join((words, *result.left_out)))
    return replace(verdict, record=replace(verdict.record, proof=proof, unknown_since=0.0))


def end_doubt(record: DomainRecord, decision: str) -> DomainRecord:
    """The route is not proven any more, and the demand that it does not meet holds."""
    requirement = record.doubt.requirement if record.doubt else record.requirement
    return replace(record, requirement=requirement, proof=None, doubt=None, keeps_unproven=False, decision=decision)


def judge_doubt(record: DomainRecord, now: Timestamp, rules: Rules) -> Verdict:
    """End the doubt about a route where it has lasted for long enough."""
    doubt = record.doubt
    if doubt is None or doubt.is_refused or record.established is None:
        return Verdict(record)
    if doubt.steady < rules.hold_removal:
        words = f"not proven for {days(doubt.steady)} of {days(rules.hold_removal)} days: {doubt.reason}"
        return Verdict(replace(record, decision=kept(record, words)))
    words = f"not routed: not proven for {days(rules.hold_removal)} days: {doubt.reason}"
    line = HistoryLine(record.domain, now, "unproven", record.established.endpoints, None, words)
    return Verdict(end_doubt(record, words), (line,))


def _proven(record: DomainRecord, requirement: EnforcedPolicy, result: Proven, now: Timestamp) -> Verdict:
    kind = str(requirement.demand.kind)
    old = record.proof
    route = record.established.endpoints if record.established else ()
    # What was proven once does not go because it could not be asked.
    still = {each for each in result.unknown if old and each in old.endpoints}
    endpoints = tuple(each for each in route if each in result.endpoints or each in still)
    words = f"{kind}: showed a certificate for {', '.join(result.names)}"
    proof = Proof(endpoints, kind, result.names, now, result.expires)
    is_news = old is None or set(old.endpoints) != set(endpoints) or old.names != result.names
    lines = [HistoryLine(record.domain, now, "proven", endpoints, None, words)] if is_news else []
    decision = "; ".join((record.decision, words, *result.left_out))
    record = demanding(record, requirement)
    return Verdict(
        replace(record, proof=proof, doubt=None, unknown="", unknown_since=0.0, decision=decision), tuple(lines)
    )


def _not_proven(record: DomainRecord, requirement: EnforcedPolicy, words: str, now: Timestamp) -> Verdict:
    endpoints = record.established.endpoints if record.established else ()
    if _is_in_map(record):
        return _doubted(record, requirement, words, now)
    is_news = words not in record.decision
    lines = (HistoryLine(record.domain, now, "unproven", endpoints, None, words),) if is_news else ()
    record = demanding(record, requirement)
    return Verdict(replace(record, proof=None, unknown="", decision=f"not routed: {words}"), lines)


def _doubted(record: DomainRecord, requirement: EnforcedPolicy, words: str, now: Timestamp) -> Verdict:
    old = record.doubt
    endpoints = record.established.endpoints if record.established else ()
    lines: tuple[HistoryLine, ...] = ()
    if old is None:
        reason = "refused by the operator" if record.keeps_unproven else words
        doubt = Doubt(now, now, reason, requirement.to_text(), is_refused=record.keeps_unproven)
        lines = (HistoryLine(record.domain, now, "doubted", endpoints, None, words),)
    else:
        gap = 0.0 if old.is_refused else min(max(now - old.last_seen, 0.0), _LONGEST_GAP)
        reason = old.reason if old.is_refused else words
        doubt = replace(old, last_seen=now, reason=reason, requirement=requirement.to_text(), steady=old.steady + gap)
    decision = kept(record, f"a change waits: {doubt.reason}")
    if _is_met(record, requirement):
        record = demanding(record, requirement)
    else:
        record = replace(record, requirement_expires=now)  # asked again at the next look
    return Verdict(replace(record, doubt=doubt, decision=decision), lines)


def _is_met(record: DomainRecord, requirement: EnforcedPolicy) -> bool:
    """Whether the demand is the one that the record has already."""
    known = requirement_of(record)
    return known is not None and known.demand == requirement.demand


def _is_in_map(record: DomainRecord) -> bool:
    """Whether the route has been in the map until now."""
    route = record.established
    if route is None or not route.is_routed:
        return False
    return bool(record.requirement_expires) if not record.requirement else record.proof is not None
