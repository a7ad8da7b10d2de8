"""Times, as everything here holds them; no I/O."""

import time
from collections.abc import Callable

Timestamp = float
"""Seconds since 1970 (UTC), as `time.time` gives them."""

Clock = Callable[[], Timestamp]
"""Gives the time."""


def day_of(now: Timestamp) -> str:
    """The day as YYYY-MM-DD, in the time zone of this host."""
    return time.strftime("%Y-%m-%d", time.localtime(now))
