"""Why the map has what it has for a domain, and what would change that; no I/O but reading."""

from dataclasses import dataclass

from onionmx.clock import Timestamp
from onionmx.defaults import DAY
from onionmx.domain import Domain
from onionmx.mapfile.cdb import DEFERS
from onionmx.mapfile.domains import local_answer
from onionmx.onion import SUFFIX, Endpoint
from onionmx.sync.build import Base, source_of
from onionmx.sync.judge.entry import entry_of, needs_look
from onionmx.sync.judge.policy import MIN_FAILURES
from onionmx.sync.judge.rules import Rules, TrustPolicy
from onionmx.sync.judge.sightings import FIRM_HOLD, hold_of, is_firm
from onionmx.sync.judge.verdict import days
from onionmx.sync.state.record import DomainRecord, HistoryLine, How, LastAnswer
from onionmx.sync.state.store import Store
from onionmx.target import Source, Trust


@dataclass(frozen=True, slots=True)
class Explanation:
    """All that decides about the entry of a domain.

    Attributes:
        published: what the map has now; `None` where it has no entry.
        endpoints: what it would have if it was written now; none for no entry.
        source: where these come from; `None` where there are none.
        trust: what vouches for them.
        belief: which records are believed of this domain.
        why: one line: the reason for these endpoints, or for none.
        what_would_change_it: one line each.
        record: all that is remembered; `None` where the domain was never listed.
        history: of its route, the oldest event first.
    """

    domain: Domain
    published: tuple[Endpoint, ...] | None
    endpoints: tuple[Endpoint, ...]
    source: Source | None
    trust: Trust | None
    belief: TrustPolicy
    why: str
    what_would_change_it: tuple[str, ...]
    record: DomainRecord | None
    history: tuple[HistoryLine, ...]


def explain(
    domain: Domain, published: tuple[Endpoint, ...] | None, store: Store, base: Base, now: Timestamp
) -> Explanation:
    """Explain the entry of a domain, or that it has none.

    Args:
        published: what the map has.
        base: pins, local domains and rules.

    Raises:
        StateError: the store cannot be read.
    """
    record = store.get([domain]).get(domain)
    rules = base.rules_of(domain)
    endpoints: tuple[Endpoint, ...] = ()
    if domain in base.local:
        why, changes = local_answer(domain).reason, ["take it out of local.domains and local.file"]
    elif domain in base.pins:
        endpoints = base.pins[domain]
        why = "the operator pinned it" if endpoints else "the operator pinned it to none"
        changes = ["change or remove its line in the file of pins"]
    elif record is None:
        why, changes = "it is in no list and not pinned, and never was", ["put it into a list of domains, or pin it"]
    else:
        entry = entry_of(record, rules, now)
        endpoints = DEFERS if entry.defers else entry.endpoints
        why = entry.why or record.decision
        if entry.why and record.listed and needs_look(record, rules) and record.decision not in entry.why:
            # What is missing is said; what came of looking for it is in the decision.
            why = f"{entry.why}: {record.decision}"
        changes = list(_changes(record, rules)) if record.listed else ["put it into a list of domains, or pin it"]
    source, trust = source_of(domain, record, base) if endpoints else (None, None)
    return Explanation(
        domain,
        published,
        endpoints,
        source,
        trust,
        rules.belief,
        why,
        tuple(changes),
        record,
        tuple(store.history(domain)),
    )


def _changes(record: DomainRecord, rules: Rules) -> list[str]:
    found = []
    if record.pending:
        found += _of_pending(record, rules)
    if record.doubt:
        by_hand = f"`onionmx sync --accept-change {record.domain}` ends it now, --refuse-change keeps the route"
        what = "refused" if record.doubt.is_refused else f"for {days(rules.hold_removal)} days in all"
        found.append(f"no proof ({what}) removes the route, a new proof ends the doubt; {by_hand}")
    if (record.refused and not record.pending) or (record.keeps_unproven and not record.doubt):
        found.append(f"a change was refused: `onionmx sync --allow-change {record.domain}` takes that back")
    if record.established is None and not record.pending:
        signed = "a signed SRV record" if rules.belief is TrustPolicy.DNSSEC else "an SRV record"
        found.append(f"{signed} that leads to an onion{_after_removal(record, rules)}")
    elif record.established and not record.pending:
        found.append(_of_route(record, rules))
    is_held = record.established and (record.established.trust is not Trust.UNSIGNED or record.proof)
    if record.established and record.answer is LastAnswer.UNKNOWN and not is_held:
        found.append(
            f"DNS that does not answer for {rules.max_stale / DAY:g} days and {MIN_FAILURES} times removes the route"
        )
    if record.established and record.requirement and rules.authenticates:
        found.append(f"it demands a certificate: {'the proof ends or fails' if record.proof else 'a proof'}")
    return [*found, "a pin overrides DNS"]


def _after_removal(record: DomainRecord, rules: Rules) -> str:
    """What a removal asks of a record that comes after it."""
    endpoints = record.former.endpoints if record.former else ((SUFFIX, 0),)
    if record.removal is None or rules.belief is not TrustPolicy.TOFU:
        return ""
    if record.removal.how is How.SILENCE:
        return ", at once if it is the old one"
    hold = days(hold_of(record, endpoints, rules) or rules.hold)
    why = {How.SIGNED: "a signed answer", How.OPERATOR: "the operator", How.UNSIGNED: "DNS"}[record.removal.how]
    return f"; unsigned it must be seen for {hold} days, because {why} said that there is none"


def _of_route(record: DomainRecord, rules: Rules) -> str:
    match rules.belief:
        case TrustPolicy.ANY:
            return "any other record is taken at once"
        case TrustPolicy.DNSSEC:
            return "a signed change is taken at once, an unsigned one only by `onionmx sync --accept-change`"
        case TrustPolicy.TOFU:
            if is_firm(record):
                return f"a signed change is taken at once, an unsigned one when seen for {FIRM_HOLD / DAY:g} days"
            return (
                f"a signed change is taken at once, an unsigned one when it has been seen for {rules.hold / DAY:g} "
                f"days, the end of the record for {rules.hold_removal / DAY:g}"
            )


def _of_pending(record: DomainRecord, rules: Rules) -> list[str]:
    assert record.pending  # noqa: S101 -- the caller has looked
    by_hand = f"`onionmx sync --accept-change {record.domain}`"
    if record.pending.is_refused:
        allow = f"`onionmx sync --allow-change {record.domain}` takes the refusal back"
        return [f"the change was refused; {by_hand} makes it anyway, and so does a signature; {allow}"]
    refuse = f"`onionmx sync --refuse-change {record.domain}` keeps what is there"
    if rules.belief is TrustPolicy.DNSSEC:
        return [f"{by_hand}, or a signature, takes the change; {refuse}"]
    hold = hold_of(record, record.pending.endpoints, rules) or 0.0
    left = max(0.0, hold - record.pending.steady) / DAY
    return [f"DNS saying so for {left:.3g} more days, a signature, or {by_hand} takes the change; {refuse}"]
