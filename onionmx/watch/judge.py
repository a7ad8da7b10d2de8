"""When an onion service is renewed: states and times only, no I/O.

A service is renewed when probes have failed for a while without a break, its last descriptor has had time to take
effect, and the last renewal is long enough ago. A probe that could not tell breaks the run: it is never taken for a
failure. Connections that are in use put a renewal off, for a bounded time.
"""

from dataclasses import dataclass
from enum import StrEnum

import msgspec

from onionmx.clock import Timestamp
from onionmx.config import WatchSection
from onionmx.defaults import DAY


class Reach(StrEnum):
    """The three answers of a probe."""

    REACHABLE = "reachable"
    FAILED = "failed"
    """tor works, and nobody can reach the service."""
    UNKNOWN = "could not tell"
    """tor is away, has no network, or cannot be asked."""


class Watched(msgspec.Struct, frozen=True):
    """What is known of one onion service.

    Attributes:
        onion: its host name.
        reach: the answer of the last probe.
        since: when the first probe began that gave this answer, with no other answer after it.
        told: when the last probe ended.
        words: what it saw, for an operator.
        reached: when a probe last found it reachable; `None` if none has.
        renewed: when it was last renewed; `None` if never.
        renewals: how often it was renewed.
    """

    onion: str
    reach: Reach
    since: Timestamp
    told: Timestamp
    words: str = ""
    reached: Timestamp | None = None
    renewed: Timestamp | None = None
    renewals: int = 0

    @property
    def reachable_since(self) -> Timestamp | None:
        """Since when it is reachable; `None` where it is not, or it cannot be told."""
        return self.since if self.reach is Reach.REACHABLE else None

    @property
    def failing_since(self) -> Timestamp | None:
        """Since when nobody reaches it; `None` where that is not so, or it cannot be told."""
        return self.since if self.reach is Reach.FAILED else None


@dataclass(frozen=True, slots=True)
class Probed:
    """What a probe found.

    Attributes:
        reach: the answer.
        words: what it saw.
        begun: when it began.
        ended: when it ended.
    """

    reach: Reach
    words: str
    begun: Timestamp
    ended: Timestamp


class Step(StrEnum):
    """What is to be done about a service."""

    NOTHING = "nothing"
    WAIT = "wait"
    """It is due, but its circuits are in use."""
    RENEW = "renew"


def noted(before: Watched | None, onion: str, probed: Probed) -> Watched:
    """What is known after a probe.

    Args:
        before: what was known; `None` for nothing.
        onion: the service.
        probed: what the probe found.
    """
    reached = probed.ended if probed.reach is Reach.REACHABLE else None
    if before is None:
        return Watched(onion, probed.reach, probed.begun, probed.ended, probed.words, reached)
    # A clock that was put back must not leave a beginning in the future.
    since = min(before.since, probed.begun) if before.reach is probed.reach else probed.begun
    return msgspec.structs.replace(
        before,
        reach=probed.reach,
        since=since,
        told=probed.ended,
        words=probed.words,
        reached=reached if reached is not None else before.reached,
    )


def forgotten(before: Watched, now: Timestamp) -> Watched:
    """What is known after a pause in which nobody probed, as after a restart: no run of failures goes on over it."""
    return msgspec.structs.replace(before, reach=Reach.UNKNOWN, since=now, words="not probed since the start")


def due(watched: Watched, published: Timestamp, settings: WatchSection) -> Timestamp | None:
    """When the service is to be renewed, unless something changes; `None` where it is not failing.

    Args:
        watched: what is known of it.
        published: when a directory last took its descriptor; when we began to listen, if none has since.
        settings: the intervals.
    """
    if watched.failing_since is None:
        return None
    times = [watched.failing_since + settings.failing_for, published + settings.publish_pause]
    if watched.renewed is not None:
        times.append(watched.renewed + settings.renewal_pause)
    return max(times)


def decide(watched: Watched, published: Timestamp, now: Timestamp, settings: WatchSection, *, is_in_use: bool) -> Step:
    """What is to be done about a service now.

    Args:
        watched: what is known of it.
        published: as for `due`.
        now: the time.
        settings: the intervals.
        is_in_use: whether somebody has a circuit to it.
    """
    when = due(watched, published, settings)
    if when is None or now < when:
        return Step.NOTHING
    return Step.WAIT if is_in_use and now < when + settings.circuits_delay else Step.RENEW


def may_drop_guards(last: Timestamp | None, now: Timestamp, settings: WatchSection) -> bool:
    """Whether tor may be told to choose other guards after a renewal.

    Args:
        last: when that was done the last time; `None` for never.
    """
    return settings.drop_guards and (last is None or now >= last + DAY)
