"""Peers at the other end of a socket: one that plays a dialog, and one that is a whole server without I/O."""

import asyncio
import socket
import ssl
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from typing import cast

from onionmx.net.stream import SocketStream
from onionmx.smtp.client.opening_session import open_session
from onionmx.smtp.client.session import ClientSession
from onionmx.smtp.client.states import TlsPolicy
from onionmx.smtp.client.timeouts import Timeouts
from tests.smtp.client.dialogs import opening
from tests.smtp.client.peer import PeerCore

PATIENCE = 120.0
"""Seconds after which a test that hangs has failed."""

SHORT = 0.2
"""Seconds to wait for what never comes."""

AMPLE = 3.0
"""Seconds to wait for what never comes where something that does come must be there before."""

QUICK = Timeouts(greeting=SHORT, command=SHORT, data=SHORT, block=SHORT, end=SHORT, quit=SHORT)

FLIGHT = opening("PIPELINING", "CHUNKING")
SENT = """
    > MAIL FROM:<a@a.example>
    > RCPT TO:<b@b.example>
    > BDAT 4 LAST
    > hi
"""
GOODBYE = """
    > QUIT
    < 221 bye
"""
OK = "< 250 OK\n"


async def pieces(*parts: bytes) -> AsyncIterator[bytes]:
    for part in parts:
        yield part


def soon(seconds: float = SHORT) -> float:
    """A deadline that no peer here keeps."""
    return asyncio.get_running_loop().time() + seconds


def run(test: Coroutine[object, object, None]) -> None:
    async def limited() -> None:
        async with asyncio.timeout(PATIENCE):
            await test

    asyncio.run(limited())


@asynccontextmanager
async def scripted(dialog: str, context: ssl.SSLContext | None = None) -> AsyncIterator[SocketStream]:
    """A stream to a peer that plays the lines of a dialog, see `dialogs.py`.

    Further lines: `! close` ends the connection, `! tls` makes the handshake, `! silence` waits for the client to end
    the connection, `! deaf` reads nothing until the test is over. At the end of the script nothing more may come from
    the client.
    """
    near, far = socket.socketpair()
    over = asyncio.Event()
    peer = asyncio.create_task(_play(far, dialog, context, over))
    stream = await SocketStream.from_socket(near)
    try:
        yield stream
        over.set()
        await peer
    finally:
        peer.cancel()
        stream.abort()
        await stream.wait_closed()
        await asyncio.wait([peer])


async def _play(connected: socket.socket, dialog: str, context: ssl.SSLContext | None, over: asyncio.Event) -> None:
    reader, writer = await asyncio.open_connection(sock=connected)
    try:
        for line in (line.strip() for line in dialog.strip().splitlines()):
            mark, _, text = line.partition(" ")
            match mark, text:
                case "<", _:
                    writer.write(text.encode() + b"\r\n")
                case ">", _:
                    assert await reader.readline() == text.encode() + b"\r\n"
                case "!", "tls":
                    assert context
                    plain = writer  # which would close the connection if nobody held it
                    writer = await _start_tls(reader, plain, context)
                case "!", "close":
                    return
                case "!", "deaf":
                    await writer.drain()
                    cast("asyncio.Transport", writer.transport).pause_reading()
                    await over.wait()
                    return
                case "!", "silence":
                    assert await reader.read() == b""
        await writer.drain()
        assert await reader.read() == b""
    finally:
        writer.close()


async def _start_tls(
    reader: asyncio.StreamReader, writer: asyncio.StreamWriter, context: ssl.SSLContext
) -> asyncio.StreamWriter:
    loop, protocol = asyncio.get_running_loop(), writer.transport.get_protocol()
    plain = cast("asyncio.Transport", writer.transport)
    transport = await loop.start_tls(plain, protocol, context, server_side=True)
    assert transport
    return asyncio.StreamWriter(transport, protocol, reader, loop)


@asynccontextmanager
async def served(peer: PeerCore) -> AsyncIterator[SocketStream]:
    """A stream to a server."""
    near, far = socket.socketpair()
    task = asyncio.create_task(_serve(far, peer))
    stream = await SocketStream.from_socket(near)
    try:
        yield stream
    finally:
        stream.abort()
        await stream.wait_closed()
        await task


async def _serve(connected: socket.socket, peer: PeerCore) -> None:
    reader, writer = await asyncio.open_connection(sock=connected)
    writer.write(peer.greeting())
    try:
        while data := await reader.read(65536):
            for reply in peer.receive(data):
                writer.write(reply)
                if reply.startswith(b"221"):
                    return
    except ConnectionError:
        pass
    finally:
        writer.close()


async def opened(
    stream: SocketStream,
    tls: TlsPolicy = TlsPolicy.NEVER,
    timeouts: Timeouts = Timeouts(),  # noqa: B008 -- frozen
) -> ClientSession:
    return await open_session(stream, hello="client.example", tls=tls, timeouts=timeouts)


async def hurried(stream: SocketStream, timeouts: Timeouts = QUICK) -> ClientSession:
    """A session that was opened without hurry, and has these timeouts from then on."""
    session = await opened(stream)
    session._driver._timeouts = timeouts  # noqa: SLF001
    return session
