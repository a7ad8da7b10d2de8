"""Messages over one TCP or TLS connection, many under way at once, answered in any order (RFC 7766 section 6.2.1.1)."""

import asyncio
import contextlib
import struct
from collections.abc import Callable

import dns.entropy
import dns.message
import dns.tsig

_LENGTH = struct.Struct("!H")


class MessageStream:
    """One connection; a task reads what comes in, as long as it lives.

    Attributes:
        has_answered: whether anything has come.
        is_silent: a question got no answer in time, and nothing else has come since: the connection may be dead.

    Args:
        idle: seconds without a message from the other end after which it is closed; `None` for no limit.
    """

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, idle: float | None = None) -> None:
        self.has_answered = False
        self.is_silent = False
        self._reader = reader
        self._writer = writer
        self._idle = idle
        self._clock = asyncio.get_running_loop().time
        self._waiting: dict[int, tuple[float, asyncio.Future[bytes]]] = {}
        self._end: Callable[[MessageStream], None] | None = None
        self._last_heard = 0.0
        self._task = asyncio.create_task(self._read())

    @property
    def is_closed(self) -> bool:
        """Whether it has ended."""
        return self._task.done()

    def when_closed(self, call: Callable[["MessageStream"], None]) -> None:
        """Have this called when the connection ends, or now if it has ended."""
        self._end = call
        if self.is_closed:
            self.close()

    def waiting(self) -> float:
        """Seconds for which the oldest question has waited."""
        return self._clock() - next(iter(self._waiting.values()))[0] if self._waiting else 0.0

    async def ask(self, message: dns.message.Message, key: dns.tsig.Key | None = None) -> bytes:
        """Send a message, and wait for what is answered to it.

        Args:
            message: gets another ID if one under way has the same.
            key: signs it.

        Raises:
            ConnectionError: the connection has ended, or ends before the answer has come.
        """
        if self.is_closed:
            raise ConnectionError("closed the connection")
        while message.id in self._waiting:
            message.id = dns.entropy.random_16()
        if key is not None:
            message.use_tsig(key)
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        begin = self._clock()
        self._waiting[message.id] = begin, answer
        try:
            self._writer.write(message.to_wire(prepend_length=True))
            with contextlib.suppress(ConnectionError):  # the reader says why
                await self._writer.drain()
            return await answer
        except asyncio.CancelledError:
            self.is_silent = self._last_heard < begin
            raise
        finally:
            del self._waiting[message.id]

    def close(self, why: str = "closed") -> None:
        """End it; those who wait for an answer are told why."""
        self._task.cancel()
        self._writer.transport.abort()
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionError(why))
        if self._end is not None:
            call, self._end = self._end, None
            call(self)

    async def wait_closed(self) -> None:
        """Wait until nothing is left of it."""
        with contextlib.suppress(OSError):
            await self._writer.wait_closed()

    async def _read(self) -> None:
        why = "closed the connection"
        try:
            while True:
                async with asyncio.timeout(self._idle):
                    (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                    wire = await self._reader.readexactly(length)
                self._take(wire)
        except TimeoutError:
            why = f"said nothing for {self._idle:g} s"
        except EOFError:
            pass
        except OSError as error:
            why = error.strerror or str(error)
        finally:
            self.close(why)

    def _take(self, wire: bytes) -> None:
        self.has_answered, self.is_silent, self._last_heard = True, False, self._clock()
        _, answer = self._waiting.get(int.from_bytes(wire[:2], "big"), (0, None))
        if answer is not None and not answer.done():
            answer.set_result(wire)
