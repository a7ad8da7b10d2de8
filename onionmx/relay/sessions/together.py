"""Messages that wait together for the one session that is being opened with their onion MX.

Together they hold as many sessions of the MTA. An onion that is up is reached within seconds; of one that is not, tor
says so within two minutes. So after a while only one of them goes on waiting, and speaks for the others' next try.
"""

import asyncio
from collections.abc import Callable

from onionmx.errors import TemporaryError
from onionmx.onion import Endpoint, format_endpoint

LONG = 20.0
"""Seconds after which an opening keeps only as many messages waiting as sessions are being opened."""


class StillOpeningError(TemporaryError):
    """Another message finds out whether the onion MX can be reached. Says nothing about the onion MX."""

    def __init__(self, endpoint: Endpoint) -> None:
        super().__init__(
            f"{format_endpoint(endpoint)}: still not connected after {LONG:g} s; another message waits for the result"
        )


class Openings(set[asyncio.Task[None]]):
    """Sessions that are being opened with one onion MX.

    Args:
        take_long: called when one of them has taken `LONG`.
    """

    def __init__(self, take_long: Callable[[], None]) -> None:
        super().__init__()
        self._take_long = take_long
        self._late: set[asyncio.Task[None]] = set()

    def add(self, task: asyncio.Task[None]) -> None:
        """One begins."""
        super().add(task)
        asyncio.get_running_loop().call_later(LONG, self._is_late, task)

    def discard(self, task: object) -> None:
        """One has ended."""
        super().discard(task)
        self._late.discard(task)

    @property
    def hang(self) -> bool:
        """Whether there are any, and all of them have taken long."""
        return bool(self) and self <= self._late

    def _is_late(self, task: asyncio.Task[None]) -> None:
        if task in self:
            self._late.add(task)
            self._take_long()
