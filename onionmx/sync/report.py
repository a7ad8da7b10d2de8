"""What a run did, as values."""

from dataclasses import dataclass, field
from enum import StrEnum

from onionmx.clock import Timestamp
from onionmx.domain import Domain
from onionmx.onion import Endpoint
from onionmx.sync.lists.outgoing import Outgoing
from onionmx.target import Source, Trust

MOST_DECISIONS = 10_000
"""Decisions that a summary names; beyond that they are counted only, so that a million cost no memory."""


class RunResult(StrEnum):
    """What becomes of a domain."""

    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    KEPT = "kept"
    UNDECIDED = "undecided"
    """The lookup failed: an entry that was there stays as it was."""
    WAITING = "waiting"
    """Something is to change, and does not yet: the entry stays as it was."""
    WITHOUT = "without"
    """No onion MX, before and now."""


@dataclass(frozen=True, slots=True)
class Decision:
    """What becomes of one domain, and why.

    Attributes:
        outcome: what becomes of it.
        old: endpoints in the old map; empty where it had none.
        new: endpoints in the new map; empty where it has none.
        source: where the new endpoints come from.
        trust: what vouches for them.
        reason: why there is nothing new, in words.
        notes: records that were left out, and what the table for Postfix cannot do.
    """

    domain: Domain
    outcome: RunResult
    old: tuple[Endpoint, ...]
    new: tuple[Endpoint, ...]
    source: Source | None = None
    trust: Trust | None = None
    reason: str = ""
    notes: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Summary:
    """What a run did.

    Attributes:
        map: path of the map.
        is_dry_run: nothing was written.
        is_led_elsewhere: another host was asking DNS, and only the map of this one was built.
        seconds: that the run took.
        listed: domains in the lists.
        asked: domains that DNS was asked for.
        entries: in the map.
        is_published: the map was written anew.
        counts: number of domains for each outcome, but for those that wait.
        waiting: changes that wait, of this run and earlier ones.
        decisions: about domains of which there is something to say, in alphabetical order.
        omitted: number of further ones.
        refusal: why entries stay although nothing speaks for them any more; empty where none do.
        held: number of those entries.
        outgoing: how much of the mail in the logs has an entry; `None` where no logs were read.
    """

    map: str
    is_dry_run: bool = False
    is_led_elsewhere: bool = False
    started: Timestamp = 0.0
    seconds: float = 0.0
    listed: int = 0
    asked: int = 0
    entries: int = 0
    is_published: bool = False
    counts: dict[RunResult, int] = field(default_factory=dict)
    waiting: int = 0
    decisions: tuple[Decision, ...] = ()
    omitted: int = 0
    refusal: str = ""
    held: int = 0
    outgoing: Outgoing | None = None

    def count(self, outcome: RunResult) -> int:
        """How many domains have this outcome."""
        return self.counts.get(outcome, 0)
