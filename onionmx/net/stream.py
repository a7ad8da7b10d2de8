"""The network as one small interface, and its asyncio kind over a connected socket.

A session reads, writes, starts TLS and closes through `Stream`: over tor's SOCKS port in the relay, from a script in
tests. Exceptions of asyncio, of sockets and of ssl become `StreamError` here and nowhere else.
"""

import asyncio
import socket
import ssl
from collections.abc import Callable
from typing import Protocol, Self, TypeVar, cast

from onionmx.smtp.faults import StreamError

_S = TypeVar("_S", bound=asyncio.Protocol)

READ_BUFFER = 65536
"""Bytes read ahead; then the peer has to wait. A client gets replies only, which are short."""

WRITE_BUFFER = 131072
"""Bytes that asyncio holds beside those in the kernel, per session, before `takes_more` says no."""


class Stream(Protocol):
    """A connected byte stream."""

    @property
    def takes_more(self) -> bool:
        """Whether writing makes sense now; otherwise `drain` first."""

    @property
    def unsent(self) -> int:
        """Bytes that were written and have surely not left this process."""

    async def read(self) -> bytes:
        """The next bytes, empty at the end of the stream.

        Raises:
            StreamError: the connection failed.
        """

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes, in order; never fails, for `read` and `drain` tell what became of the connection."""

    async def drain(self) -> None:
        """Wait until the stream takes more.

        Raises:
            StreamError: the connection failed.
        """

    async def start_tls(self, context: ssl.SSLContext) -> None:
        """Make the TLS handshake.

        Raises:
            StreamError: it failed, or bytes in the clear had come before it.
        """

    def close(self) -> None:
        """End both directions at once, after what was written; what was read ahead is dropped."""

    def abort(self) -> None:
        """End both directions at once, without what was written and has not left."""

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""


class SocketStream(asyncio.Protocol):
    """A stream over a connected socket.

    It never half-closes: tor has no half-open streams and would drop what the peer still has to say.
    """

    def __init__(self) -> None:
        self._transport: asyncio.Transport | None = None
        self._buffer = bytearray()
        self._ended = False
        self._failure = ""
        self._paused_writing = False
        self._readable: asyncio.Future[None] | None = None
        self._writable: list[asyncio.Future[None]] = []
        self._loop = asyncio.get_running_loop()
        self._closed = self._loop.create_future()

    @classmethod
    async def from_socket(cls, connected: socket.socket) -> Self:
        """Take over a connected socket.

        Raises:
            StreamError: it is of no use.
        """
        return await take_over(connected, cls)

    @property
    def tls(self) -> ssl.SSLObject | None:
        """The TLS under which bytes travel, with the certificate of the peer; `None` in the clear."""
        found: ssl.SSLObject | None = self._transport.get_extra_info("ssl_object") if self._transport else None
        return found

    @property
    def takes_more(self) -> bool:
        """Whether writing makes sense now."""
        return not self._paused_writing

    @property
    def unsent(self) -> int:
        """Bytes that wait in asyncio; none are told of under TLS, where they are not the bytes that were written."""
        return self._transport.get_write_buffer_size() if self._transport and self.tls is None else 0

    async def read(self) -> bytes:
        """The next bytes, empty at the end."""
        while not self._buffer and not self._ended:
            self._readable = self._loop.create_future()
            try:
                await self._readable
            finally:
                self._readable = None
        if not self._buffer and self._failure:
            raise StreamError(self._failure)
        data = bytes(self._buffer)
        self._buffer.clear()
        if self._transport and not self._ended:
            self._transport.resume_reading()
        return data

    def write(self, data: bytes | memoryview) -> None:
        """Send bytes."""
        if self._transport and not self._ended:
            self._transport.write(data)

    async def drain(self) -> None:
        """Wait until the stream takes more."""
        if self._paused_writing and not self._ended:
            waiter = asyncio.get_running_loop().create_future()
            self._writable.append(waiter)
            await waiter
        if self._ended:
            raise StreamError(self._failure or "the peer closed the connection")

    async def start_tls(self, context: ssl.SSLContext, server_name: str | None = None) -> None:
        """Make the TLS handshake.

        Args:
            context: what to make it with.
            server_name: the host to ask for (RFC 6066 section 3); by default none is named.
        """
        if self._buffer or self._ended or not self._transport:
            raise StreamError("bytes in the clear before the TLS handshake" if self._buffer else "no connection")
        transport = None
        try:
            # asyncio stops reading before it returns to the loop, so nothing can slip in between.
            transport = await asyncio.get_running_loop().start_tls(
                self._transport, self, context, server_hostname=server_name
            )
        except (OSError, ssl.SSLError) as error:
            raise StreamError(f"the TLS handshake failed: {_describe(error)}") from error
        except ValueError as error:  # UnicodeError is one
            raise StreamError(f"TLS cannot ask for {server_name!r}: {error}") from error
        finally:
            if transport is None:
                # During the handshake asyncio tells nobody but the handshake that the connection is gone.
                self._transport.abort()
                self.connection_lost(None)
        if transport is None:
            raise StreamError("the TLS handshake failed: the connection ended")
        self._use(transport)

    def close(self) -> None:
        """End both directions at once, after what was written."""
        if self._transport:
            self._transport.close()

    def abort(self) -> None:
        """End both directions at once."""
        if self._transport:
            self._transport.abort()

    async def wait_closed(self) -> None:
        """Wait until the connection is gone."""
        await asyncio.shield(self._closed)

    # What asyncio calls.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """The socket has its transport."""
        self._use(cast("asyncio.Transport", transport))

    def data_received(self, data: bytes) -> None:
        """Bytes came."""
        self._buffer += data
        if len(self._buffer) > READ_BUFFER and self._transport:
            self._transport.pause_reading()
        self._wake_reader()

    def eof_received(self) -> bool:
        """The peer ended its direction; for tor that is the end of both."""
        self._ended = True
        self._wake()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        """The connection is gone."""
        self._ended = True
        if exc:
            self._failure = _describe(exc)
        self._wake()
        if not self._closed.done():
            self._closed.set_result(None)

    def pause_writing(self) -> None:
        """The buffer is full."""
        self._paused_writing = True

    def resume_writing(self) -> None:
        """The buffer has room."""
        self._paused_writing = False
        self._wake_writers()

    def _use(self, transport: asyncio.Transport) -> None:
        self._transport = transport
        transport.set_write_buffer_limits(WRITE_BUFFER)

    def _wake(self) -> None:
        self._wake_reader()
        self._wake_writers()

    def _wake_reader(self) -> None:
        if self._readable and not self._readable.done():
            self._readable.set_result(None)

    def _wake_writers(self) -> None:
        for waiter in self._writable:
            if not waiter.done():
                waiter.set_result(None)
        self._writable.clear()


async def take_over(connected: socket.socket, make: Callable[[], _S]) -> _S:
    """Take over a connected socket with a stream of any kind.

    Args:
        connected: belongs to the stream from here on.
        make: makes the stream.

    Raises:
        StreamError: it is of no use.
    """
    try:
        connected.settimeout(0)
        _, stream = await asyncio.get_running_loop().create_connection(make, sock=connected)
    except OSError as error:
        raise StreamError(_describe(error)) from error
    return stream


def _describe(error: Exception) -> str:
    text = (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__
    return f"connection failed: {text}"
