"""An MTA that hands messages over by LMTP, over many sessions at once, and keeps every answer."""

import asyncio
import time
from collections import deque
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from tests.bench.relay_control import LOOPBACK

_CONTENT = b"Subject: bench\r\n\r\n" + b"La de da de da de da de da de da de da\r\n" * 100 + b".\r\n"


@dataclass(frozen=True, slots=True)
class Answer:
    """What one message was told.

    Attributes:
        domain: of its recipient.
        reply: the reply that decides, without its line end.
        seconds: from MAIL to it.
    """

    domain: str
    reply: str
    seconds: float

    @property
    def is_positive(self) -> bool:
        """Whether it was delivered."""
        return self.reply.startswith("2")


class Mta:
    """Messages that are under way.

    Args:
        port: where the relay speaks LMTP.
        domains: one for each message.
        sessions: with the relay.

    Attributes:
        answers: those that have come, in order.
    """

    def __init__(self, port: int, domains: Iterable[str], sessions: int) -> None:
        self.answers: list[Answer] = []
        self._port = port
        self._queue = deque(domains)
        self._sessions = sessions
        self._delivered = 0
        self._sent = 0
        self._failure: BaseException | None = None
        self._came = asyncio.Event()
        self._dialogs: list[_Dialog] = []
        self._tasks: list[asyncio.Task[None]] = []
        self._began = 0.0

    async def begin(self) -> None:
        """Open all sessions, and then send on all of them."""
        self._dialogs = [await _Dialog.open(self._port) for _ in range(self._sessions)]
        self._began = time.monotonic()
        self._tasks = [asyncio.create_task(self._work(dialog)) for dialog in self._dialogs]
        for task in self._tasks:
            task.add_done_callback(self._ended)

    async def until(self, count: int, *, positive: bool = False) -> float:
        """Wait for so many answers, or so many positive ones; the seconds from the beginning on."""
        await self._until(lambda: (self._delivered if positive else len(self.answers)) >= count)
        return time.monotonic() - self._began

    async def until_sent(self, count: int) -> None:
        """Wait until so many messages were sent to their end, and wait for an answer or have got one."""
        await self._until(lambda: self._sent >= count)

    async def end(self) -> None:
        """Close all sessions, whatever is under way."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        for dialog in self._dialogs:
            dialog.close()

    async def _work(self, dialog: "_Dialog") -> None:
        while self._queue:
            domain = self._queue.popleft()
            start = time.monotonic()
            reply = await dialog.send(f"user@{domain}", self._note_sent)
            self.answers.append(Answer(domain, reply, time.monotonic() - start))
            self._delivered += self.answers[-1].is_positive
            self._came.set()

    async def _until(self, is_so: Callable[[], bool]) -> None:
        while not is_so():
            self._came.clear()
            await self._came.wait()
            if self._failure is not None:
                raise self._failure

    def _ended(self, task: asyncio.Task[None]) -> None:
        if not task.cancelled():
            self._failure = self._failure or task.exception()
            self._came.set()

    def _note_sent(self) -> None:
        self._sent += 1
        self._came.set()


class _Dialog:
    """One LMTP session."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    @classmethod
    async def open(cls, port: int) -> "_Dialog":
        dialog = cls(*await asyncio.open_connection(LOOPBACK, port))
        await dialog._reply()
        dialog._writer.write(b"LHLO generator.example\r\n")
        await dialog._reply()
        return dialog

    async def send(self, recipient: str, sent: Callable[[], None]) -> str:
        """The reply that decides about a message; calls `sent` before it comes."""
        self._writer.write(f"MAIL FROM:<sender@example.com>\r\nRCPT TO:<{recipient}>\r\nDATA\r\n".encode())
        _, at_recipient, at_data = [await self._reply() for _ in range(3)]
        if not at_data.startswith("354"):
            self._writer.write(b"RSET\r\n")
            await self._reply()
            return at_recipient
        self._writer.write(_CONTENT)
        sent()
        return await self._reply()

    def close(self) -> None:
        """End it."""
        self._writer.close()

    async def _reply(self) -> str:
        while True:
            line = await self._reader.readuntil(b"\r\n")
            if line[3:4] != b"-":
                return line.decode().rstrip()
