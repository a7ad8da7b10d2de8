"""Deciding what the next map holds; no I/O."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from enum import StrEnum

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.mapfile.entries import Entries
from onionmx.onion import Endpoint
from onionmx.target import Source, Trust

NOT_LISTED = "it is in no list and not pinned any more"


class Outcome(StrEnum):
    """What becomes of a domain."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    KEPT = "kept"
    UNDECIDED = "undecided"
    """The lookup failed: an entry that was there stays as it was."""
    WITHOUT = "without"
    """No onion MX, before and now."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one domain, and why.

    Attributes:
        domain: in normal form.
        outcome: what becomes of it.
        old: endpoints in the old map; empty where it had none.
        new: endpoints in the new map; empty where it has none.
        source: where the new endpoints come from, if they come from an answer.
        trust: what stands behind them.
        reason: why there is nothing new, in words.
        notes: records that were left out.
    """

    domain: str
    outcome: Outcome
    old: tuple[Endpoint, ...]
    new: tuple[Endpoint, ...]
    source: Source | None = None
    trust: Trust | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Plan:
    """The next map.

    Attributes:
        decisions: one for each domain that was listed, pinned or in the old map, in alphabetical order.
    """

    decisions: tuple[Decision, ...]

    @property
    def entries(self) -> dict[str, tuple[Endpoint, ...]]:
        """Content of the next map, in alphabetical order."""
        return {decision.domain: decision.new for decision in self.decisions if decision.new}

    def count(self, outcome: Outcome) -> int:
        """How many domains have this outcome."""
        return sum(decision.outcome is outcome for decision in self.decisions)


def make_plan(old: Entries, answers: Mapping[str, Answer]) -> Plan:
    """Decide for each domain.

    Args:
        old: the map as it is.
        answers: of pins and lookups; a domain of the old map that has none is removed.
    """
    domains: Iterable[str] = sorted(old.keys() | answers.keys())
    return Plan(tuple(_decide(domain, old.get(domain, ()), answers.get(domain)) for domain in domains))


def _decide(domain: str, old: tuple[Endpoint, ...], answer: Answer | None) -> Decision:
    match answer:
        case Found(route, notes):
            outcome = Outcome.ADDED if not old else Outcome.KEPT if old == route.endpoints else Outcome.CHANGED
            return Decision(domain, outcome, old, route.endpoints, route.source, route.trust, "", notes)
        case CouldNotTell(_, reason):
            return Decision(domain, Outcome.UNDECIDED, old, old, reason=reason)
        case NoRoute(_, reason, _, notes):
            outcome = Outcome.REMOVED if old else Outcome.WITHOUT
            return Decision(domain, outcome, old, (), reason=reason, notes=notes)
        case None:
            return Decision(domain, Outcome.REMOVED, old, (), reason=NOT_LISTED)
