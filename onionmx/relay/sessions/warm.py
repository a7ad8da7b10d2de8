"""Circuits kept ready for the onion MXes that get most mail."""

import heapq
import time
from collections.abc import Callable

from onionmx.relay.sessions.member import Destination
from onionmx.relay.sessions.recent import Recent

EVERY = 480.0
"""Seconds between two sessions with one onion MX: tor uses a circuit for new streams for `MaxCircuitDirtiness`, 600."""
HALF_LIFE = 86400.0
"""Seconds after which a message counts half."""


class Warmth:
    """Counts the messages for each onion MX, recent ones more.

    Args:
        now: seconds of a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._begin = now()
        self._weights: Recent[Destination, float] = Recent()

    def count(self, destination: Destination) -> None:
        """There is a message for it."""
        # A later message weighs more, which comes to the same as earlier ones weighing less.
        weight = 2 ** ((self._now() - self._begin) / HALF_LIFE)
        self._weights[destination] = self._weights.get(destination, 0.0) + weight
        if weight > 2**64:
            self._begin = self._now()
            for each, old in list(self._weights.items()):
                self._weights[each] = old / weight

    def busiest(self, count: int) -> list[Destination]:
        """Those with most messages."""
        return heapq.nlargest(count, self._weights, key=self._weights.__getitem__)
