"""Asking a resolver over connections that stay open: DNS over TCP (RFC 7766) and over TLS (RFC 7858).

Several questions are under way on one connection, and answers come in any order. Few resolvers promise that a slow
answer does not hold up the ones behind it, so a connection on which one is overdue gets no new questions while
another can be opened.
"""

import asyncio
import socket
import ssl
import struct
from collections.abc import Awaitable, Callable
from typing import Any

import dns.exception
import dns.message
import dns.nameserver

from onionmx.config import Resolver
from onionmx.dns.nameserver import ask
from onionmx.onion import Endpoint

Connect = Callable[[Endpoint], Awaitable[socket.socket]]
"""Opens a connection to a host and port, and raises ConnectionError with the cause in words."""

_OVERDUE = 1.0  # seconds after which an answer counts as slow
_IDLE = 30.0  # seconds without a question after which a connection is closed
_CONNECTIONS = 8  # to one resolver
_LENGTH = struct.Struct("!H")


class StreamNameserver(dns.nameserver.Nameserver):
    """A resolver that dnspython asks over connections that stay open.

    Args:
        resolver: where it is.
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
        self._connections: list[_Connection] = []
        self._opening: asyncio.Task[_Connection] | None = None

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
            connection.close("closed")

    async def _send(self, request: dns.message.QueryMessage, _seconds: float) -> dns.message.Message:
        connection = await self._choose()
        is_first = not connection.has_answered
        try:
            return await connection.ask(request)
        except ConnectionError:
            if is_first:
                raise
            # The resolver closes idle connections, and the question may cross with that (RFC 7766 section 6.2.4).
            return await (await self._open()).ask(request)

    async def _choose(self) -> "_Connection":
        alive = [connection for connection in self._connections if not connection.is_silent]
        quickest = min(alive, key=_Connection.waiting, default=None)
        if quickest is None or (quickest.waiting() > _OVERDUE and len(alive) < _CONNECTIONS):
            return await self._open()
        return quickest

    async def _open(self) -> "_Connection":
        # A caller that gives up leaves the attempt to the others.
        if self._opening is None:
            self._opening = asyncio.create_task(self._connected())
            self._opening.add_done_callback(self._opened)
        return await asyncio.shield(self._opening)

    def _opened(self, opening: "asyncio.Task[_Connection]") -> None:
        self._opening = None
        if not opening.cancelled() and opening.exception() is None:
            connection = opening.result()
            self._connections.append(connection)
            connection.when_closed(self._connections.remove)

    async def _connected(self) -> "_Connection":
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
        return _Connection(reader, writer)


class _Connection:
    """One connection; a task reads what comes in, as long as it lives."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer
        self._clock = asyncio.get_running_loop().time
        self._waiting: dict[int, tuple[float, asyncio.Future[bytes]]] = {}
        self._end: Callable[[_Connection], None] | None = None
        self._last_heard = 0.0
        self.has_answered = False
        self.is_silent = False
        """A question got no answer in time, and nothing else has come since: the connection may be dead."""
        self._task = asyncio.create_task(self._read())

    def when_closed(self, call: Callable[["_Connection"], None]) -> None:
        """Have this called when the connection ends, or now if it has ended."""
        self._end = call
        if self._task.done():
            self.close("closed")

    def waiting(self) -> float:
        """Seconds for which the oldest question has waited."""
        return self._clock() - next(iter(self._waiting.values()))[0] if self._waiting else 0.0

    async def ask(self, request: dns.message.QueryMessage) -> dns.message.Message:
        """Send a question and wait for its answer."""
        if self._task.done():
            raise ConnectionError("the resolver closed the connection")
        while request.id in self._waiting:
            request.set_random_id()  # type: ignore[no-untyped-call]
        number = request.id
        answer: asyncio.Future[bytes] = asyncio.get_running_loop().create_future()
        begin = self._clock()
        self._waiting[number] = begin, answer
        wire = request.to_wire()
        self._writer.write(_LENGTH.pack(len(wire)) + wire)
        try:
            response = dns.message.from_wire(await answer)
        except asyncio.CancelledError:
            self.is_silent = self._last_heard < begin
            raise
        finally:
            self._waiting.pop(number, None)
        if not request.is_response(response):
            raise ConnectionError("the resolver answered another question")
        return response

    def close(self, why: str) -> None:
        """End it; those who wait for an answer are told why."""
        self._task.cancel()
        self._writer.transport.abort()
        for _, answer in self._waiting.values():
            if not answer.done():
                answer.set_exception(ConnectionError(why))
        if self._end is not None:
            call, self._end = self._end, None
            call(self)

    async def _read(self) -> None:
        why = "the resolver closed the connection"
        try:
            while True:
                async with asyncio.timeout(_IDLE):
                    (length,) = _LENGTH.unpack(await self._reader.readexactly(_LENGTH.size))
                    wire = await self._reader.readexactly(length)
                self._take(wire)
        except TimeoutError:
            why = f"the resolver said nothing for {_IDLE:g} s"
        except (OSError, EOFError):
            pass
        finally:
            self.close(why)

    def _take(self, wire: bytes) -> None:
        self.has_answered, self.is_silent, self._last_heard = True, False, self._clock()
        _, answer = self._waiting.get(int.from_bytes(wire[:2], "big"), (0, None))
        if answer is not None and not answer.done():
            answer.set_result(wire)
