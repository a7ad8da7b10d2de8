"""Asking a resolver over connections that stay open: DNS over TCP (RFC 7766) and over TLS (RFC 7858).

Several questions are under way on one connection, and answers come in any order. Few resolvers promise that a slow
answer does not hold up the ones behind it, so a connection on which one is overdue gets no new questions while
another can be opened.
"""

import asyncio
import socket
import ssl
from collections.abc import Awaitable, Callable
from typing import Any

import dns.exception
import dns.message
import dns.nameserver

from onionmx.config import Resolver
from onionmx.dns.nameserver import ask
from onionmx.dns.tcp import MessageStream
from onionmx.onion import Endpoint

Connect = Callable[[Endpoint], Awaitable[socket.socket]]
"""Opens a connection to a host and port, and raises ConnectionError with the cause in words."""

_OVERDUE = 1.0  # seconds after which an answer counts as slow
_IDLE = 30.0  # seconds without an answer after which a connection is closed
_CONNECTIONS = 8  # to one resolver


class StreamNameserver(dns.nameserver.Nameserver):
    """A resolver that dnspython asks over connections that stay open.

    Args:
        tls: what verifies its certificate; `None` for plain TCP.
        connect: opens connections; `None` for direct ones.
        connect_timeout: seconds for opening one.
    """

    def __init__(
        self, resolver: Resolver, tls: ssl.SSLContext | None, connect: Connect | None, connect_timeout: float
    ) -> None:
        super().__init__()  # type: ignore[no-untyped-call]
        self.resolver = resolver
        self._tls = tls
        self._connect = connect
        self._connect_timeout = connect_timeout
        self._connections: list[MessageStream] = []
        self._opening: asyncio.Task[MessageStream] | None = None

    def __str__(self) -> str:
        return str(self.resolver) + (" through tor" if self._connect else "")

    def kind(self) -> str:
        """The protocol, as dnspython calls it."""
        return "DoT" if self._tls else "TCP"

    def is_always_max_size(self) -> bool:
        """Whether answers of any size are possible."""
        return True

    def answer_nameserver(self) -> str:
        """Who answered."""
        return self.resolver.host

    def answer_port(self) -> int:
        """Who answered."""
        return self.resolver.port

    async def async_query(
        self,
        request: dns.message.QueryMessage,
        timeout: float,  # noqa: ASYNC109 -- dnspython's signature
        *_arguments: object,
        **_options: object,
    ) -> dns.message.Message:
        """Ask, and wait for the answer.

        Raises:
            dns.exception.Timeout: there is none in time.
            ConnectionError: there is no connection, with the cause in words.
        """
        try:
            async with asyncio.timeout(timeout):
                return await ask(request, self.resolver, timeout, self._send)
        except TimeoutError as error:
            raise dns.exception.Timeout(timeout=timeout) from error  # type: ignore[no-untyped-call]

    def close(self) -> None:
        """Close all connections; questions that are under way fail."""
        for connection in list(self._connections):
            connection.close()

    async def _send(self, request: dns.message.QueryMessage, _seconds: float) -> dns.message.Message:
        connection = await self._choose()
        is_first = not connection.has_answered
        try:
            return await _ask(connection, request)
        except ConnectionError:
            if is_first:
                raise
            # The resolver closes idle connections, and the question may cross with that (RFC 7766 section 6.2.4).
            return await _ask(await self._open(), request)

    async def _choose(self) -> MessageStream:
        alive = [connection for connection in self._connections if not connection.is_silent]
        quickest = min(alive, key=MessageStream.waiting, default=None)
        if quickest is None or (quickest.waiting() > _OVERDUE and len(alive) < _CONNECTIONS):
            return await self._open()
        return quickest

    async def _open(self) -> MessageStream:
        # A caller that gives up leaves the attempt to the others.
        if self._opening is None:
            self._opening = asyncio.create_task(self._connected())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: asyncio.Task[MessageStream]) -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            connection = opening.result()
            self._connections.append(connection)
            connection.when_closed(self._connections.remove)

    async def _connected(self) -> MessageStream:
        host, port, name = self.resolver.host, self.resolver.port, self.resolver.tls_name
        tls: dict[str, Any] = {"ssl": self._tls, "server_hostname": name} if self._tls else {}
        try:
            async with asyncio.timeout(self._connect_timeout):
                if self._connect is None:
                    reader, writer = await asyncio.open_connection(host, port, **tls)
                else:
                    connection = await self._connect((host, port))
                    reader, writer = await asyncio.open_connection(sock=connection, **tls)
        except TimeoutError as error:
            raise ConnectionError(f"no connection within {self._connect_timeout:g} s") from error
        except ssl.SSLCertVerificationError as error:
            raise ConnectionError(f"its certificate cannot be trusted: {error.verify_message}") from error
        except ssl.SSLError as error:
            raise ConnectionError(f"TLS failed: {error.reason or error}") from error
        except ConnectionError:
            raise
        except OSError as error:
            raise ConnectionError(error.strerror or str(error)) from error
        return MessageStream(reader, writer, _IDLE)


async def _ask(connection: MessageStream, request: dns.message.QueryMessage) -> dns.message.Message:
    response = dns.message.from_wire(await connection.ask(request))
    if not request.is_response(response):
        raise ConnectionError("answered another question")
    return response
