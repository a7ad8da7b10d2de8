"""Writing as fast as the connection takes it, without handing it a whole message at once."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable

from onionmx.net.stream import Stream
from onionmx.smtp.faults import StreamError

SLICE = 65536
"""Bytes written at a time: what asyncio cannot send at once, it copies."""


class Writer:
    """Keeps what the connection does not take yet; a task runs only while there is something.

    Attributes:
        written: bytes that were given to the connection.
        backlog: bytes that wait for it.

    Args:
        stream: where to write.
        progressed: called when the connection took more of the backlog.
        failed: called with the cause when the connection fails.
    """

    def __init__(self, stream: Stream, progressed: Callable[[], None], failed: Callable[[str], None]) -> None:
        self.written = 0
        self.backlog = 0
        self._stream = stream
        self._progressed = progressed
        self._failed = failed
        self._pieces: deque[memoryview] = deque()
        self._task: asyncio.Task[None] | None = None

    def send(self, pieces: Iterable[bytes]) -> None:
        """Write these after all that waits."""
        for piece in pieces:
            self._pieces.append(memoryview(piece))
            self.backlog += len(piece)
        if self._task is None:
            self._write_what_fits()
            if self._pieces:
                self._task = asyncio.get_running_loop().create_task(self._work_off(), name="smtp session writer")

    def stop(self) -> None:
        """Forget what waits."""
        self._pieces.clear()
        self.backlog = 0

    def _write_what_fits(self) -> None:
        while self._pieces and self._stream.takes_more:
            piece = self._pieces.popleft()
            if len(piece) > SLICE:
                self._pieces.appendleft(piece[SLICE:])
                piece = piece[:SLICE]
            self._stream.write(piece)
            self.written += len(piece)
            self.backlog -= len(piece)

    async def _work_off(self) -> None:
        try:
            while self._pieces:
                await self._stream.drain()
                self._write_what_fits()
                self._progressed()
        except StreamError as error:
            self._failed(str(error))
        finally:
            self._task = None
