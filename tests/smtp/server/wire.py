"""A session without sockets: what the client sends goes straight into the protocol, what it gets is kept."""

from __future__ import annotations

import asyncio
import socket
import struct
from types import SimpleNamespace
from typing import TYPE_CHECKING

from onionmx.smtp.server import ServerSettings, SmtpServer

if TYPE_CHECKING:
    from collections.abc import Callable

    from onionmx.smtp.server.commands import ServerSession
    from tests.smtp.server.recorder import Recorder


class Wire(asyncio.Transport):
    """The transport of a session, and the client's end of it.

    Attributes:
        received: all that the client got.
        writes: the same, in the pieces in which it was written.
        is_paused: the server does not read.
    """

    def __init__(self, recorder: Recorder, settings: ServerSettings, *, is_lmtp: bool = False) -> None:
        super().__init__()
        server = SmtpServer(settings, recorder.begin)
        self.server = server
        self.session: ServerSession = server.lmtp_session() if is_lmtp else server.smtp_session()
        self.received = bytearray()
        self.writes: list[bytes] = []
        self.is_paused = False
        self.is_lost = False
        self.has_ended = False
        self._news = asyncio.Event()
        self.session.connection_made(self)

    # The client's end.

    def send(self, data: bytes) -> None:
        if not self.is_lost and not self.has_ended:
            self.session.data_received(data)

    def end(self) -> None:
        """Half-close."""
        if not self.is_lost and not self.has_ended:
            self.has_ended = True
            self.session.eof_received()

    def lose(self, error: Exception | None = None) -> None:
        if not self.is_lost:
            self.is_lost = True
            self.session.connection_lost(error)

    async def until(self, size: int) -> None:
        """Wait for so many octets from the server, or the end of the session."""
        await self._until(lambda: len(self.received) >= size)

    async def said(self, reply: bytes) -> None:
        """Wait until the last thing from the server is this reply."""
        await self._until(lambda: self.received.endswith(reply))

    async def _until(self, has_come: Callable[[], bool]) -> None:
        async with asyncio.timeout(120):
            while not has_come() and not self.session.task.done():
                self._news.clear()
                done = asyncio.ensure_future(self._news.wait())
                await asyncio.wait((done, self.session.task), return_when=asyncio.FIRST_COMPLETED)
                done.cancel()

    async def finished(self) -> None:
        async with asyncio.timeout(120):
            await asyncio.wait((self.session.task,))

    # The server's end.

    def write(self, data: bytes | bytearray | memoryview) -> None:
        assert not self.is_closing(), "written after the end"
        self.received += data
        self.writes.append(bytes(data))
        self._news.set()

    def get_extra_info(self, name: str, default: object = None) -> object:
        bound = SimpleNamespace(family=socket.AF_UNIX, getsockopt=lambda *_: struct.pack("3i", 1, 0, 0))
        return {"socket": bound, "peername": ""}.get(name, default)

    def get_write_buffer_size(self) -> int:
        return 0

    def is_closing(self) -> bool:
        return self.is_lost

    def can_write_eof(self) -> bool:
        return True

    def write_eof(self) -> None:
        # This client answers the server's end with its own at once.
        asyncio.get_running_loop().call_soon(self.end)

    def pause_reading(self) -> None:
        self.is_paused = True

    def resume_reading(self) -> None:
        self.is_paused = False

    def close(self) -> None:
        asyncio.get_running_loop().call_soon(self.lose)
