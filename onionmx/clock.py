"""Times, as everything here holds them; no I/O."""

from collections.abc import Callable

Timestamp = float
"""Seconds since 1970 (UTC), as `time.time` gives them."""

Clock = Callable[[], Timestamp]
"""Gives the time."""
