"""Having onion MXes of unsigned records prove themselves, as far as it is time to."""

from collections.abc import Awaitable, Callable

from msgspec.structs import replace

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.policy_lookup import AsksPolicy
from onionmx.authenticate.demand.requirement import EnforcedPolicy, NotRequired
from onionmx.authenticate.proof.prove import NotProven, Proven
from onionmx.clock import Timestamp
from onionmx.defaults import DAY
from onionmx.onion import Endpoint
from onionmx.sync.judge.looks import (
    candidate,
    changed_by_proof,
    demanding,
    not_required,
    not_told,
    requirement_of,
    shown,
)
from onionmx.sync.judge.verdict import Verdict
from onionmx.sync.state.record import DomainRecord, Proof

LOOK_AGAIN = 3600.0
"""Seconds until a proof or a requirement that could not be found out is looked for again."""
_RENEW_AFTER = 7 * DAY
"""Seconds after which a proof is made again at the latest: a certificate may have been replaced."""

Show = Callable[[EnforcedPolicy, tuple[Endpoint, ...]], Awaitable[Proven | NotProven | CouldNotTell]]
"""Has onion MXes show what is required."""


class Proofs:
    """Keeps requirements and proofs in records up to date.

    Args:
        policy_lookup: finds out what a domain requires.
        show: has onion MXes show it.
    """

    def __init__(self, policy_lookup: AsksPolicy, show: Show) -> None:
        self._policy_lookup = policy_lookup
        self._show = show

    async def look(self, record: DomainRecord, now: Timestamp) -> Verdict:
        """Look, as far as it is time to.

        Args:
            record: with an established route, or a change that waits.
        """
        requirement = requirement_of(record)
        unknown = ""
        if now >= record.requirement_expires or requirement is None:
            match await self._policy_lookup.requirement_of(record.domain, requirement):
                case EnforcedPolicy() as said:
                    requirement = said
                case NotRequired() as none:
                    record, requirement = not_required(record, none), None
                case CouldNotTell(_, unknown):
                    pass
        verdict = Verdict(record)
        if requirement is not None:
            verdict = await self._prove(record, requirement, now)
        if unknown:
            verdict = replace(verdict, record=not_told(verdict.record, unknown))
        return replace(verdict, record=replace(verdict.record, due_at=_due_at(verdict.record, now)))

    async def _prove(self, record: DomainRecord, requirement: EnforcedPolicy, now: Timestamp) -> Verdict:
        if record.established and _is_time(record, requirement, now):
            verdict = shown(record, requirement, await self._show(requirement, record.established.endpoints), now)
        else:
            verdict = Verdict(demanding(record, requirement))
        changed = candidate(verdict.record)
        if changed and (known := requirement_of(verdict.record)) is not None:
            result = await self._show(known, changed)
            if isinstance(result, Proven):
                after = changed_by_proof(verdict.record, known, result, now)
                return Verdict(after.record, (*verdict.history, *after.history))
        return verdict


def _is_time(record: DomainRecord, requirement: EnforcedPolicy, now: Timestamp) -> bool:
    """Whether the onion MX has to show what is required."""
    proof, route, known = record.proof, record.established, requirement_of(record)
    if proof is None or route is None or record.doubt or known is None or known.demand != requirement.demand:
        return True
    return not set(route.endpoints) <= set(proof.endpoints) or not proof.made_at <= now < _renewal(proof)


def _renewal(proof: Proof) -> float:
    return min(proof.made_at + _RENEW_AFTER, (proof.made_at + proof.expires) / 2)


def _due_at(record: DomainRecord, now: Timestamp) -> float:
    times = [record.due_at, record.requirement_expires]
    if record.doubt:
        times.append(0.0)
    elif record.requirement and record.established:
        times.append(_renewal(record.proof) if record.proof else 0.0)
    return max(min(times), min(record.due_at, now + LOOK_AGAIN))
