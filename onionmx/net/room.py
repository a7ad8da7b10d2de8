"""Who goes when more connections come than may be open.

Any user of this machine can open as many as he likes and say nothing, or little. So a full server refuses nobody who
has less than another: idle ones go first, then those of the user with the most. Where users cannot be told from each
other, all of them are one crowd, and it counts for how long the server has waited for a client altogether: who keeps
busy cheaply has it wait no less, and an MTA that speaks at once is out of reach. No I/O here.
"""

from collections import Counter
from collections.abc import Collection
from dataclasses import dataclass
from typing import Protocol, TypeVar

User = int | str | None
"""Number of a user of this machine, address of another host, or `None` where it cannot be told: one crowd then."""

IDLE = 5.0
"""Seconds of silence after which a connection that has nothing open is idle. One that is younger may be about to begin:
were it the first to go, those who are busy for ever would have it pushed out."""

PATIENCE = 30.0
"""Seconds of silence in the midst of a transaction, after which it makes room for others of the same user: an MTA has
its message at hand, and one that hands a message through as it comes pauses for less."""

SHARE = 10
"""A user with less than one part in so many of all connections gets in although all others are at work."""


@dataclass(slots=True, eq=False)
class Stay:
    """What is known of one connection, by which it stays or goes.

    Attributes:
        user: whose it is.
        is_free: nothing would be lost with it: no transaction is open.
        waits_since: when the server began to wait for the client; `None` while it is at work for it, and it stays then.
        waited: seconds that the server has waited for it before.
    """

    user: User = None
    is_free: bool = True
    waits_since: float | None = None
    waited: float = 0.0

    def wait(self, now: float) -> None:
        """The server waits for the client from now on."""
        self.waits_since = now

    def heard(self, now: float) -> None:
        """The server waits no more, for the time being."""
        if self.waits_since is not None:
            self.waited += now - self.waits_since
            self.waits_since = None

    def delivered(self) -> None:
        """The client has done what it came for: what the server waited until now is forgiven."""
        self.waited = 0.0


class Guest(Protocol):
    """A connection."""

    @property
    def client(self) -> Stay:
        """Its other end."""


G = TypeVar("G", bound=Guest)


def make_room(guests: Collection[G], newcomer: G, limit: int, now: float) -> G | None:
    """Who goes so that a newcomer can stay.

    Args:
        guests: all that are open, without the newcomer.
        newcomer: the one that came.
        limit: how many may be open.
        now: seconds of `time.monotonic`, as all times here.

    Returns:
        One of the guests, the newcomer itself, or `None` where nobody has to go. Those that come over the limit, by
        `SHARE`, are at most as many again.
    """
    if len(guests) < limit:
        return None
    numbers = Counter(guest.client.user for guest in guests)
    user = newcomer.client.user
    own = numbers[user]

    def may_go(stay: Stay, since: float) -> bool:
        if stay.user != user:
            # One more of the newcomer's must not make him the one with more: they would push each other out for ever.
            return numbers[stay.user] > own + 1
        # Of a user that is told the newcomer can wait as well; in a crowd it may be another's.
        return user is None or stay.is_free or now - since >= PATIENCE

    leaver, first = None, (True, 0, 0.0)
    for guest in guests:
        stay = guest.client
        since = stay.waits_since
        if since is None or not may_go(stay, since):
            continue
        is_idle = stay.is_free and now - since >= IDLE
        rank = (not is_idle, -numbers[stay.user], since if is_idle else since - stay.waited)
        if leaver is None or rank < first:
            leaver, first = guest, rank
    if leaver is None and own < limit // SHARE and len(guests) < 2 * limit:
        return None
    return leaver or newcomer
