"""A stand-in for tor's SocksPort: SOCKS5 to whatever name or address, all of it led to one server, at a set distance.

Half of the round trip time lies in each direction. CONNECT travels to the server and back before it is answered, and
what the server says first follows right behind that answer, as with tor's RELAY_BEGIN and RELAY_CONNECTED. End of file
from the client ends the stream in both directions at once: tor has no half-open streams. Bandwidth is not limited.
Some names may never be answered, and for others there may be no descriptor after a while.
"""

import argparse
import asyncio
import struct
from collections import deque
from typing import ClassVar, cast

from tests.bench.relay_control import LOOPBACK, Message, run_forever, serve_control

VERSION = 5
NO_AUTHENTICATION, PASSWORD = 0, 2
CONNECT = 1
IPV4, NAME, IPV6 = 1, 3, 4
CONNECTED = b"\x05\x00\x00\x01\0\0\0\0\0\0"
REFUSED = b"\x05\x05\x00\x01\0\0\0\0\0\0"
NO_DESCRIPTOR = b"\x05\xf0\x00\x01\0\0\0\0\0\0"
NOT_SUPPORTED = b"\x05\x07\x00\x01\0\0\0\0\0\0"


class Settings:
    """The distance, and counts; shared by all streams."""

    def __init__(self, server: int) -> None:
        self.server = server
        self.one_way = 0.0
        self.streams = 0
        self.names: set[str] = set()
        self.silent: frozenset[str] = frozenset()
        self.offline: frozenset[str] = frozenset()
        self.search = 0.0
        self.tasks: set[asyncio.Task[None]] = set()

    async def answer(self, question: Message) -> Message:
        """Set the round trip time and the names that are dead, if asked to, and give the counts so far."""
        if "round_trip" in question:
            self.one_way = question["round_trip"] / 2
        self.silent = frozenset(question.get("silent", self.silent))
        self.offline = frozenset(question.get("offline", self.offline))
        self.search = question.get("seconds", self.search)
        return {"streams": self.streams, "names": len(self.names)}


class Pipe:
    """One direction: writes what it is given after the delay, in order.

    Attributes:
        delay: seconds, which may grow.
        target: where to; what comes before it is known waits.
    """

    def __init__(self, delay: float) -> None:
        self._loop = asyncio.get_running_loop()
        self.delay = delay
        self._queue: deque[tuple[float, bytes | None]] = deque()
        self._timer: asyncio.TimerHandle | None = None
        self.target: asyncio.Transport | None = None

    def send(self, data: bytes | None) -> None:
        """Send bytes, or the end of the stream."""
        if not self.delay and self.target is not None and not self._queue:
            self._deliver(data)
            return
        self._queue.append((self._loop.time() + self.delay, data))
        if self._timer is None:
            self._timer = self._loop.call_later(self.delay, self.flush)

    def flush(self) -> None:
        """Deliver what is due; without a target yet, nothing is."""
        self._timer = None
        if self.target is None:
            return
        # libuv counts in milliseconds: what is due within the next one is due now.
        now = self._loop.time() + 0.001
        due: list[bytes] = []
        while self._queue and self._queue[0][0] <= now:
            data = self._queue.popleft()[1]
            if data is None:
                self._deliver(b"".join(due))
                self._deliver(None)
                return
            due.append(data)
        if due:
            self._deliver(b"".join(due))
        if self._queue:
            self._timer = self._loop.call_at(self._queue[0][0], self.flush)

    def _deliver(self, data: bytes | None) -> None:
        assert self.target is not None
        if data is None:
            self.target.close()
        elif data and not self.target.is_closing():
            self.target.write(data)


class Server(asyncio.Protocol):
    """The connection to the server."""

    def __init__(self, client: "Client") -> None:
        self._client = client

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Answer CONNECT; whatever the server says comes after that."""
        self.transport = cast("asyncio.Transport", transport)
        self._client.back.send(CONNECTED)

    def data_received(self, data: bytes) -> None:
        """Carry it back."""
        self._client.back.send(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Carry the end back."""
        self._client.back.send(None)

    def pause_writing(self) -> None:
        """Back-pressure reaches the client."""
        self._client.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if not self._client.transport.is_closing():
            self._client.transport.resume_reading()


class Client(asyncio.Protocol):
    """The connection from the client, first in the SOCKS dialog, then as a stream."""

    LENGTHS: ClassVar = {IPV4: 4, IPV6: 16}

    def __init__(self, settings: Settings) -> None:
        self._settings = settings
        self._buffer = b""
        self._read = self._methods
        self._server: Server | None = None
        self._closed = False
        self.forth = Pipe(settings.one_way)
        self.back = Pipe(settings.one_way)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Wait for the client to speak first."""
        self.transport = self.back.target = cast("asyncio.Transport", transport)

    def data_received(self, data: bytes) -> None:
        """Go on with the dialog, or carry it forth."""
        if self._read == self._stream:
            self.forth.send(data)
            return
        self._buffer += data
        while self._read():
            pass

    def eof_received(self) -> bool:
        """End everything at once, whatever is under way."""
        return False

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """End the other side; the data sent before arrives, what comes back is lost."""
        self._closed = True
        self.forth.send(None)

    def pause_writing(self) -> None:
        """Back-pressure reaches the server."""
        if self._server is not None:
            self._server.transport.pause_reading()

    def resume_writing(self) -> None:
        """Go on."""
        if self._server is not None and not self._server.transport.is_closing():
            self._server.transport.resume_reading()

    def _methods(self) -> bool:
        """RFC 1928 section 3."""
        if len(self._buffer) < 2 or len(self._buffer) < 2 + self._buffer[1]:
            return False
        offered = self._buffer[2 : 2 + self._buffer[1]]
        self._buffer = self._buffer[2 + len(offered) :]
        method = PASSWORD if PASSWORD in offered else NO_AUTHENTICATION
        self._read = self._password if method == PASSWORD else self._request
        self.transport.write(bytes([VERSION, method]))
        return True

    def _password(self) -> bool:
        """RFC 1929: everything is right; tor takes it as an isolation token."""
        buffer = self._buffer
        if len(buffer) < 2 or len(buffer) < 3 + buffer[1] or len(buffer) < 3 + buffer[1] + buffer[2 + buffer[1]]:
            return False
        self._buffer = buffer[3 + buffer[1] + buffer[2 + buffer[1]] :]
        self._read = self._request
        self.transport.write(b"\x01\x00")
        return True

    def _request(self) -> bool:
        """RFC 1928 section 4."""
        buffer = self._buffer
        if len(buffer) < 5:
            return False
        start = 5 if buffer[3] == NAME else 4
        length = buffer[4] if buffer[3] == NAME else self.LENGTHS[buffer[3]]
        if len(buffer) < start + length + 2:
            return False
        host = buffer[start : start + length]
        (port,) = struct.unpack_from("!H", buffer, start + length)
        name = host.decode() if buffer[3] == NAME else host.hex()
        self._settings.names.add(f"{name}:{port}")
        self._settings.streams += 1
        self._read = self._stream
        if rest := buffer[start + length + 2 :]:
            self.forth.send(rest)
        if buffer[1] != CONNECT:
            self.transport.write(NOT_SUPPORTED)
            self.transport.close()
            return False
        if name in self._settings.silent:
            return False
        if name in self._settings.offline:
            asyncio.get_running_loop().call_later(self._settings.search, self._find_nothing)
            return False
        task = asyncio.get_running_loop().create_task(self._connect())
        self._settings.tasks.add(task)
        task.add_done_callback(self._settings.tasks.discard)
        return False

    def _find_nothing(self) -> None:
        if not self._closed:
            self.transport.write(NO_DESCRIPTOR)
            self.transport.close()

    def _stream(self) -> bool:
        raise AssertionError("the dialog is over")

    async def _connect(self) -> None:
        if self._settings.one_way:
            await asyncio.sleep(self._settings.one_way)
        if self._closed:
            return
        loop = asyncio.get_running_loop()
        try:
            _, self._server = await loop.create_connection(lambda: Server(self), LOOPBACK, self._settings.server)
        except OSError:
            self.back.send(REFUSED)
            self.back.send(None)
            return
        self.forth.target = self._server.transport
        self.forth.flush()


async def _main(port: int, control: int, server: int) -> None:
    settings = Settings(server)
    await asyncio.get_running_loop().create_server(lambda: Client(settings), LOOPBACK, port, backlog=1024)
    await serve_control(control, settings.answer)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("port", type=int)
    parser.add_argument("control", type=int)
    parser.add_argument("server", type=int)
    arguments = parser.parse_args()
    run_forever(_main(arguments.port, arguments.control, arguments.server))
