"""All connections of a kind: how many there may be, which one makes room for another, and the end of them."""

import asyncio
import time
from typing import cast

from onionmx.net.clients import ConnectedClient, Door
from onionmx.serve.metrics import Tally


class CountedConnection(asyncio.Protocol):
    """A connection among others of its kind, with a limit to the time that something may take.

    Attributes:
        client: who has the other end.
        closed: done when the connection is gone.
    """

    def __init__(self, tally: Tally, connections: "Connections") -> None:
        self.client = ConnectedClient()
        self.closed: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._tally = tally
        self._connections = connections
        self._transport: asyncio.Transport
        self._timer: asyncio.TimerHandle | None = None
        self._is_ending = False
        """No request is taken any more; what is under way is answered."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection is there."""
        self._transport = cast("asyncio.Transport", transport)
        self.client = ConnectedClient.of(transport.get_extra_info("socket"))
        self._tally.connections += 1
        self._tally.opened += 1
        self.client.wait(time.monotonic())
        self._connections.add(self)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002 -- asyncio's signature
        """asyncio: the connection is gone."""
        self._is_ending = True
        self._tally.connections -= 1
        self._connections.discard(self)
        if self._timer is not None:
            self._timer.cancel()
        if not self.closed.done():
            self.closed.set_result(None)

    def stop(self) -> None:
        """Take no more requests, answer those that are under way, and close."""
        raise NotImplementedError

    def end_for_others(self) -> None:
        """Close to make room."""
        self._tally.ended += 1
        self.stop()

    def cut(self) -> None:
        """Close at once, whatever is under way."""
        self._transport.abort()

    def _end_after(self, seconds: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, self._time_is_over)

    def _time_is_over(self) -> None:
        raise NotImplementedError


class Connections:
    """All connections of a kind. When there are too many, one that asks nothing makes room: clients open another.

    Args:
        limit: connections at the same time; see `onionmx.net.room`.
    """

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self._open: set[CountedConnection] = set()
        self._door = Door()

    def __len__(self) -> int:
        """Connections now."""
        return len(self._open)

    def add(self, connection: CountedConnection) -> None:
        """Take one more in."""
        leaver = self._door.leaver(self._open, connection, self.limit, time.monotonic())
        self._open.add(connection)
        if leaver is not None:
            leaver.end_for_others()

    def discard(self, connection: CountedConnection) -> None:
        """Forget one that is closed."""
        self._open.discard(connection)

    async def close(self, grace: float) -> None:
        """End idle connections now, and the others when their requests are answered.

        Args:
            grace: seconds for that; what is left then is cut.
        """
        ending = tuple(self._open)
        for connection in ending:
            connection.stop()
        for last in (grace, None):
            left = [one for one in ending if not one.closed.done()]
            if left:
                if last is None:
                    for connection in left:
                        connection.cut()
                await asyncio.wait([one.closed for one in left], timeout=last)
