"""A dictionary whose keys strangers choose, so that it must not grow without end."""

from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")

REMEMBERED = 10_000
"""Keys, about 1 kB each."""


class Recent(dict[K, V]):
    """Forgets what was set longest ago when there would be more than a number of keys.

    Args:
        limit: that number.
    """

    def __init__(self, limit: int = REMEMBERED) -> None:
        super().__init__()
        self._limit = limit

    def __setitem__(self, key: K, value: V) -> None:
        self.pop(key, None)
        super().__setitem__(key, value)
        if len(self) > self._limit:
            del self[next(iter(self))]
