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
    from collections.abc import Awaitable, Callable


class Input:
    """Reads ahead of the commands by one read at most, so that the kernel holds the client back.

    Args:
        reader: the stream beneath.
        timeout: seconds to wait for the client.
        before_waiting: run before each wait for the client, to let the replies out that it waits for.

    Attributes:
        client: whose waits are noted.
    """

    def __init__(
        self, reader: asyncio.StreamReader, timeout: float, before_waiting: Callable[[], Awaitable[None]]
    ) -> None:
        self._reader = reader
        self._timeout = timeout
        self._before_waiting = before_waiting
        self._buffer = bytearray()
        self._wait: asyncio.Timeout | None = None
        self._interruption: Reply | None = None
        self.client = ConnectedClient()

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
            self._buffer += await self._read()
        line = bytes(self._buffer[: end + 1])
        del self._buffer[: end + 1]
        return None if is_too_long or len(line) > limit else line

    async def octets(self, most: int) -> bytes:
        """Read at least one octet and at most so many, which is at least one.

        Raises:
            HangUpError: the client is gone or silent for too long.
        """
        if self._buffer:
            data = bytes(self._buffer[:most])
            del self._buffer[:most]
            return data
        data = await self._read()
        if len(data) > most:
            self._buffer += data[most:]
            return data[:most]
        return data

    def give_back(self, data: bytes) -> None:
        """Put octets back in front of what is still to read."""
        self._buffer[:0] = data

    def interrupt(self, reply: Reply) -> None:
        """End a wait for the client as if it had been silent for too long, with another reply."""
        self._interruption = reply
        if self._wait is not None and not self._wait.expired():
            self._wait.reschedule(asyncio.get_running_loop().time())

    async def drain(self, seconds: float) -> None:
        """Read on and throw away until the client ends its side, for so many seconds at most."""
        self._buffer.clear()
        try:
            async with asyncio.timeout(seconds):
                while await self._reader.read(READ_SIZE):
                    pass
        except OSError:  # and TimeoutError, which is one
            pass

    async def _read(self) -> bytes:
        data = b""
        loop = asyncio.get_running_loop()
        self.client.wait(time.monotonic())
        try:
            async with asyncio.timeout(None) as self._wait:
                # Within: an interruption while the replies go out would find no wait to end, and the one behind it
                # would last its whole time.
                await self._before_waiting()
                if self._wait.when() is None:
                    self._wait.reschedule(loop.time() + self._timeout)
                data = await self._reader.read(READ_SIZE)
        except TimeoutError as error:
            # The system's own ETIMEDOUT is a TimeoutError too: that client is gone.
            if self._wait and self._wait.expired():
                raise HangUpError(self._interruption or OurReply.IDLE.value) from error
        except OSError:
            pass
        finally:
            self._wait = None
            self.client.heard(time.monotonic())
        if not data:
            raise HangUpError
        return data
