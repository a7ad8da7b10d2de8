"""Targets of an onion-MX record and the order in which they are tried (RFC 2782)."""

from collections.abc import Iterable
from dataclasses import dataclass
from enum import StrEnum
from random import Random

from onionmx.domain import Domain
from onionmx.onion import DEFAULT_PORT, Endpoint

MOST_TARGETS = 10
"""Onion MXes of one domain: each takes connections, circuits and time, and DNS could name 800."""


class Source(StrEnum):
    """Where a route comes from."""

    PIN = "pin"
    """A line that the operator wrote."""
    MAP = "map"
    """The CDB that sync wrote."""
    SRV = "srv"
    """The SRV record of the domain."""
    ONION = "onion"
    """The domain is itself an onion address."""


class Trust(StrEnum):
    """What vouches for a route."""

    PINNED = "pinned"
    """The operator's word, or the address itself where the domain is an onion."""
    DNSSEC = "dnssec"
    """A resolver that is believed has validated the record (RFC 4035, AD bit)."""
    UNSIGNED = "unsigned"
    """Nothing: anyone who can forge DNS answers can forge it."""


@dataclass(frozen=True, slots=True, order=True)
class Target:
    """One onion MX of a domain.

    Attributes:
        onion: host name in normal form, see `onionmx.onion.parse_onion`.
        port: TCP port.
        priority: 0 to 65535, lower is tried first.
        weight: 0 to 65535, share of the load among targets of one priority.
    """

    onion: str
    port: int = DEFAULT_PORT
    priority: int = 0
    weight: int = 0

    @property
    def endpoint(self) -> Endpoint:
        """Onion and port."""
        return self.onion, self.port


@dataclass(frozen=True, slots=True)
class Route:
    """The ordered targets of a domain.

    Attributes:
        targets: in the order in which they are to be tried, never empty.
        source: where the route comes from.
        trust: what vouches for it; `None` for the map, which does not record it.
        ttl: seconds for which the answer may be kept; `None` where it does not expire.
        stale: its time is over, and it stays in use because DNS does not answer (RFC 8767).
    """

    domain: Domain
    targets: tuple[Target, ...]
    source: Source
    trust: Trust | None
    ttl: int | None = None
    stale: bool = False

    @property
    def endpoints(self) -> tuple[Endpoint, ...]:
        """Onion and port of each target, in order."""
        return tuple(target.endpoint for target in self.targets)


def targets_of(endpoints: Iterable[Endpoint]) -> tuple[Target, ...]:
    """Targets for endpoints whose order is already decided: priorities count up from 0."""
    return tuple(Target(onion, port, priority) for priority, (onion, port) in enumerate(endpoints))


def in_order(target: Target) -> tuple[int, int, str, int]:
    """Key to sort targets by: priority, the larger weight first, then the name."""
    return target.priority, -target.weight, target.onion, target.port


def preferred(targets: Iterable[Target]) -> tuple[list[Target], list[Target]]:
    """The targets that a domain may have, and those beyond `MOST_TARGETS`, which take no part.

    The best priorities stay, within one of them the greatest weights: the same ones each time.

    Args:
        targets: in any order; an onion and port that is named several times is kept once, where it comes first.
    """
    best: dict[Endpoint, Target] = {}
    for target in sorted(targets, key=in_order):
        best.setdefault(target.endpoint, target)
    kept = list(best.values())
    return kept[:MOST_TARGETS], kept[MOST_TARGETS:]


def order(targets: Iterable[Target], random: Random) -> tuple[Target, ...]:
    """Order targets by priority, and by weighted random choice within a priority (RFC 2782, "Weight").

    Args:
        targets: in any order; equal ones are kept once.
        random: the source of chance; a seeded one makes the order repeatable.
    """
    by_priority: dict[int, list[Target]] = {}
    for target in sorted(set(targets)):
        by_priority.setdefault(target.priority, []).append(target)
    ordered: list[Target] = []
    for priority in sorted(by_priority):
        # Weight 0 first: it is chosen only when the random number is 0, which is RFC 2782's "very small chance".
        group = sorted(by_priority[priority], key=lambda target: target.weight)
        while group:
            ordered.append(group.pop(_choose(group, random)))
    return tuple(ordered)


def _choose(group: list[Target], random: Random) -> int:
    number = random.randint(0, sum(target.weight for target in group))
    running_sum = 0
    for index, target in enumerate(group):
        running_sum += target.weight
        if running_sum >= number:
            return index
    raise AssertionError("the running sum reaches the total")
