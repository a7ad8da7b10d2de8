"""Who goes when more connections come than may be open.

Any user of this machine can open as many as he likes and say nothing. So a full server refuses nobody who has less than
another: first go those that have nothing open, the longest silent one of the user with the most. No I/O here.
"""

from collections import Counter
from collections.abc import Collection
from typing import Protocol, TypeVar

User = int | str | None
"""Number of a user of this machine, address of another host, or `None` where it cannot be told: one crowd then."""

PATIENCE = 30.0
"""Seconds of silence in the midst of a transaction, after which it makes room for others of the same user: an MTA has
its message at hand, and one that hands a message through as it comes pauses for less."""

SHARE = 10
"""A user with less than one part in so many of all connections gets in although all others are at work."""


class Guest(Protocol):
    """A connection."""

    @property
    def user(self) -> User:
        """Whose it is."""

    @property
    def is_free(self) -> bool:
        """Whether nothing would be lost with it: no transaction is open."""

    @property
    def waits_since(self) -> float | None:
        """When the server began to wait for the client; `None` while it is at work for it."""


G = TypeVar("G", bound=Guest)


def make_room(guests: Collection[G], newcomer: G, limit: int, now: float) -> G | None:
    """Who goes so that a newcomer can stay.

    Args:
        guests: all that are open, without the newcomer.
        newcomer: the one that came.
        limit: how many may be open.
        now: seconds of the clock of `waits_since`.

    Returns:
        One of the guests, the newcomer itself, or `None` where nobody has to go. Those that come over the limit, by
        `SHARE`, are at most as many again.
    """
    if len(guests) < limit:
        return None
    numbers = Counter(guest.user for guest in guests)
    own = numbers[newcomer.user]

    def may_go(guest: G) -> bool:
        if guest.waits_since is None:
            return False
        if guest.user != newcomer.user:
            # One more of the newcomer's must not make him the one with more: they would push each other out for ever.
            return numbers[guest.user] > own + 1
        return guest.is_free or now - guest.waits_since >= PATIENCE

    def order(guest: G) -> tuple[bool, int, float]:
        return not guest.is_free, -numbers[guest.user], guest.waits_since or 0.0

    leaver = min(filter(may_go, guests), key=order, default=None)
    if leaver is None and own < limit // SHARE and len(guests) < 2 * limit:
        return None
    return leaver or newcomer
