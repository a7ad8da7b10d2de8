"""All connections of a kind: how many there may be, which one makes room for another, and the end of them."""

import asyncio
import time
from collections.abc import Iterable
from typing import Protocol

from onionmx.net.clients import Door, KnownGuest


class EndingConnection(Protocol):
    """A connection that can be told to end."""

    closed: asyncio.Future[None]

    def stop(self) -> None:
        """Take no more requests, answer those that are under way, and close."""

    def cut(self) -> None:
        """Close at once, whatever is under way."""


class Member(EndingConnection, KnownGuest, Protocol):
    """One of the connections."""

    def end_for_others(self) -> None:
        """Close to make room."""


async def end(connections: Iterable[EndingConnection], grace: float) -> None:
    """End connections.

    Args:
        connections: each is told to stop.
        grace: seconds for what is under way; what is left then is cut.
    """
    ending = tuple(connections)
    for connection in ending:
        connection.stop()
    for last in (grace, None):
        left = [one for one in ending if not one.closed.done()]
        if left:
            if last is None:
                for connection in left:
                    connection.cut()
            await asyncio.wait([one.closed for one in left], timeout=last)


class Connections:
    """All connections of a kind. When there are too many, one that asks nothing makes room: clients open another.

    Args:
        limit: connections at the same time; see `onionmx.net.room`.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open: set[Member] = set()
        self._door = Door()

    def __len__(self) -> int:
        """Connections now."""
        return len(self._open)

    def add(self, connection: Member) -> None:
        """Take one more in."""
        leaver = self._door.leaver(self._open, connection, self.limit, time.monotonic())
        self._open.add(connection)
        if leaver is not None:
            leaver.end_for_others()

    def discard(self, connection: Member) -> None:
        """Forget one that is closed."""
        self._open.discard(connection)

    async def close(self, grace: float) -> None:
        """End idle connections now, and the others when their requests are answered; see `end`."""
        await end(self._open, grace)
