"""A SOCKS port and the onion MX behind it that do as a test says: for faults that real ones do not make on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

EHLO = "250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250-SIZE 0\r\n250-8BITMIME\r\n250-DSN\r\n250 SMTPUTF8\r\n"
OK = {"greeting": "220 mx.example\r\n", "EHLO": EHLO, "DATA": "354 go\r\n", "QUIT": "221 2.0.0 bye\r\n"}
Fault = Callable[[asyncio.StreamWriter], str | None]
"""Does something to the connection, and gives the reply to send; `None` for silence from here on."""


def reset(writer: asyncio.StreamWriter) -> None:
    """End the connection without a word."""
    writer.transport.abort()


def hang(_writer: asyncio.StreamWriter) -> None:
    """Say nothing any more."""


def trickle(writer: asyncio.StreamWriter) -> None:
    """Send a reply that never ends, a byte now and then."""
    loop = asyncio.get_running_loop()

    def send() -> None:
        if not writer.transport.is_closing():
            writer.write(b"2")
            loop.call_later(0.05, send)

    writer.write(b"250-")
    send()


def saying(reply: str) -> Fault:
    """Give this reply."""
    return lambda _writer: reply


@dataclass(slots=True)
class Peer:
    """What the SOCKS port and the onion MX do, and what they have seen.

    Attributes:
        replies: by verb, or `greeting`; 250 for the others.
        faults: by verb; used before `replies`, and once only where `once` is set.
        socks: the reply of the SOCKS port to CONNECT.
        hanging: host names for which the SOCKS port never answers CONNECT.
        once: a fault happens on the first connection only.
        barrier: replies to contents wait there for each other.
        targets: host names and ports that were asked for.
        users: user names and passwords that were given.
        messages: contents that were accepted.
        commands: all commands, in order.
    """

    replies: dict[str, str] = field(default_factory=dict)
    faults: dict[str, Fault] = field(default_factory=dict)
    socks: int = 0
    hanging: frozenset[str] = frozenset()
    once: bool = False
    barrier: asyncio.Barrier | None = None
    targets: list[tuple[str, int]] = field(default_factory=list)
    users: list[tuple[bytes, bytes]] = field(default_factory=list)
    messages: list[bytes] = field(default_factory=list)
    commands: list[str] = field(default_factory=list)
    port: int = 0

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            if await self._connect(reader, writer):
                await self._dialog(reader, writer)
        except (OSError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x02")
        _, length = await reader.readexactly(2)
        user = await reader.readexactly(length)
        password = await reader.readexactly((await reader.readexactly(1))[0])
        self.users.append((user, password))
        writer.write(b"\x01\x00")
        *_, kind, length = await reader.readexactly(5)
        assert kind == 3, "a host name, never an address"
        name = await reader.readexactly(length)
        port = int.from_bytes(await reader.readexactly(2), "big")
        self.targets.append((name.decode(), port))
        if name.decode() in self.hanging:
            await reader.read()
            return False
        writer.write(bytes([5, self.socks, 0, 1, 0, 0, 0, 0, 0, 0]))
        return self.socks == 0

    async def _dialog(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if not await self._say("greeting", writer):
            await reader.read()
            return
        accepted = 0
        is_open = False
        while command := await self._command(reader, writer, is_open=is_open):
            verb = command.split(" ")[0].upper()
            is_open = is_open or verb == "MAIL"
            self.commands.append(command)
            content = b""
            if verb == "BDAT":
                content = await reader.readexactly(int(command.split(" ")[1]))
                if self.barrier:
                    await self.barrier.wait()
            if not await self._say(verb, writer):
                await reader.read()
                return
            if verb == "DATA" and verb not in self.replies:
                self.messages.append((await reader.readuntil(b"\r\n.\r\n"))[:-3])
                writer.write(b"250 2.0.0 ok\r\n")
            if verb == "BDAT" and command.endswith("LAST"):
                self.messages.append(content)
                accepted += 1
            if verb == "QUIT":
                return

    async def _command(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter, *, is_open: bool) -> str:
        """The next command; the question whether a refused BDAT is swallowed, and RSET behind it, are answered here."""
        while True:
            # What the client takes for the beginning of TLS may hold a line end too.
            command = (await reader.readuntil(b"\r\n")).decode("utf-8", "replace").strip()
            if is_open or not command.startswith("BDAT"):
                return command
            await reader.readexactly(int(command.split(" ")[1]))
            writer.write(b"503 5.5.1 no transaction\r\n")
            await reader.readuntil(b"\r\n")
            writer.write(b"250 2.0.0 ok\r\n")

    async def _say(self, verb: str, writer: asyncio.StreamWriter) -> bool:
        fault = self.faults.get(verb)
        if fault is None:
            reply: str | None = self.replies.get(verb) or OK.get(verb, "250 2.0.0 ok\r\n")
        else:
            if self.once:
                del self.faults[verb]
            reply = fault(writer)
        if reply is None:
            return False
        writer.write(reply.encode())
        await writer.drain()
        return True


@asynccontextmanager
async def running(peer: Peer) -> AsyncIterator[Peer]:
    """Run a peer on a free port of loopback."""
    server = await asyncio.start_server(peer.serve, "127.0.0.1", 0)
    peer.port = server.sockets[0].getsockname()[1]
    try:
        yield peer
    finally:
        server.close()
        await server.wait_closed()
