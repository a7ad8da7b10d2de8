"""What the client sends, as command lines and as octets of content."""

from __future__ import annotations

import asyncio
import time
from typing import TYPE_CHECKING

from onionmx.net.clients import ConnectedClient
from onionmx.smtp.reply import OurReply, Reply
from onionmx.smtp.server.refusal import HangUpError
from onionmx.smtp.server.settings import READ_SIZE

if TYPE_CHECKING:
    from collections.abc import Callable


class Input:
    """Reads ahead of the commands by `READ_SIZE` and one read, so that the kernel holds the client back.

    Every wait for the client ends by `wake`, whatever happens; what it was is looked at then. A timer for each wait
    would cost more than the wait, so there is one, which is only moved when it comes too early.

    Args:
        loop: of the session.
        timeout: seconds to wait for the client.
        let_out: sends the replies that the client waits for, before each wait.

    Attributes:
        client: whose waits are noted.
        transport: what comes from it is held back while too much waits here; `None` before it is there.
        is_stuck: the client reads no replies; nothing more is read from it until it does.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, timeout: float, let_out: Callable[[], None]) -> None:
        self.client = ConnectedClient()
        self.transport: asyncio.Transport | None = None
        self.is_stuck = False
        self._loop = loop
        self._timeout = timeout
        self._let_out = let_out
        self._buffer = bytearray()
        self._has_ended = False
        self._is_held_back = False
        self._waiter: asyncio.Future[None] | None = None
        self._waits_until: float | None = None  # on the clock of the loop, while the client is waited for
        self._timer: asyncio.TimerHandle | None = None
        self._interruption: Reply | None = None

    # What the connection tells.

    def take(self, data: bytes) -> None:
        """Octets have come."""
        self._buffer += data
        if len(self._buffer) > READ_SIZE and not self._is_held_back and self.transport is not None:
            self._is_held_back = True
            self.transport.pause_reading()
        self.wake()

    def end(self) -> None:
        """No more will come."""
        self._has_ended = True
        self.wake()

    def wake(self) -> None:
        """Look again at what is waited for."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def close(self) -> None:
        """Forget the timer: nothing is read any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    # What the session asks for.

    @property
    def has_more(self) -> bool:
        """Whether octets are here that nobody has read."""
        return bool(self._buffer)

    def shows(self, verb: bytes) -> bool:
        """Whether the next command is known already to begin so; `verb` in upper case."""
        return self._buffer[: len(verb)].upper() == verb

    async def line(self, limit: int) -> bytes | None:
        """Read up to the next LF.

        Args:
            limit: octets, with the line end.

        Returns:
            The line with its end; `None` for one that is too long, which is skipped to its end.

        Raises:
            HangUpError: the client is gone or silent for too long.
        """
        is_too_long = False
        while (end := self._buffer.find(b"\n")) < 0:
            if len(self._buffer) >= limit:
                is_too_long = True
                self._buffer.clear()
            await self._more()
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return None if is_too_long or len(line) > limit else line

    async def octets(self, most: int) -> bytes:
        """Read at least one octet and at most so many, which is at least one.

        Raises:
            HangUpError: the client is gone or silent for too long.
        """
        if not self._buffer:
            await self._more()
        data = bytes(self._buffer[:most])
        del self._buffer[:most]
        return data

    def give_back(self, data: bytes) -> None:
        """Put octets back in front of what is still to read."""
        self._buffer[:0] = data

    def interrupt(self, reply: Reply) -> None:
        """End a wait for the client as if it had been silent for too long, with another reply."""
        self._interruption = reply
        if self._waits_until is not None:
            self._waits_until = self._loop.time()
            self.wake()

    async def drain(self, seconds: float) -> None:
        """Read on and throw away until the client ends its side, for so many seconds at most."""
        try:
            async with asyncio.timeout(seconds):
                while not self._has_ended:
                    self._buffer.clear()
                    self._read_on()
                    await self._wait()
        except TimeoutError:
            pass

    async def _more(self) -> None:
        """Wait until there is more in the buffer."""
        had = len(self._buffer)
        self.client.wait(time.monotonic())
        try:
            end = self._begin_to_wait()
            self._let_out()
            if self.is_stuck:
                await self._until(lambda: not self.is_stuck, None)
                if self._waits_until == end:  # else an interruption came in the same moment
                    self._begin_to_wait()
            self._read_on()
            await self._until(lambda: len(self._buffer) > had, OurReply.IDLE.value)
        finally:
            self._waits_until = None
            self.client.heard(time.monotonic())

    async def _until(self, condition: Callable[[], bool], silence: Reply | None) -> None:
        """Wait for the client to do something.

        Args:
            condition: whether it has.
            silence: the last reply where it does not in time.
        """
        while not condition():
            if self._has_ended:
                raise HangUpError
            if self._waits_until is not None and self._loop.time() >= self._waits_until:
                raise HangUpError(self._interruption or silence)
            await self._wait()

    def _begin_to_wait(self) -> float:
        """Give the client its time from now on; returns its end."""
        self._waits_until = end = self._loop.time() + self._timeout
        if self._timer is None or self._timer.when() > end:
            self._set_timer(end)
        return end

    def _set_timer(self, when: float) -> None:
        self.close()
        self._timer = self._loop.call_at(when, self._look_at_time)

    async def _wait(self) -> None:
        self._waiter = self._loop.create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _look_at_time(self) -> None:
        self._timer = None
        if self._waits_until is None:
            return
        if self._loop.time() < self._waits_until:
            self._set_timer(self._waits_until)
        else:
            self.wake()

    def _read_on(self) -> None:
        if self._is_held_back and self.transport is not None and not self._has_ended:
            self._is_held_back = False
            self.transport.resume_reading()
