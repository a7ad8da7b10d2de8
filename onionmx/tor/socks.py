"""Connections to onions through Tor's SOCKS port (RFC 1928, RFC 1929; torspec socks-extensions and proposal 304).

Host names go to tor as they are and are never resolved here. User and password isolate each onion on circuits of its
own (tor(1), IsolateSOCKSAuth) and are renewed after a failure, so that the next try gets another circuit.
"""

import asyncio
import secrets
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from onionmx.config import UNIX, parse_server
from onionmx.defaults import AUTO, TOR_USER
from onionmx.errors import HostError, OwnerError
from onionmx.net.names import Host
from onionmx.net.stream import SocketStream
from onionmx.onion import Endpoint
from onionmx.tor.causes import BY_REPLY, WITHOUT_TOR, Cause, SocksError
from onionmx.tor.handshake import Connected, Handshake, SocksClosed, SocksRefused, WrongService
from onionmx.tor.reach import reach, socks_in_use

__all__ = ["WITHOUT_TOR", "Cause", "SocksConnector", "SocksError", "SocksRequest", "over_tor"]

_ANSWER = 30.0  # seconds for tor to take user and password, which need no circuit; a busy tor may need some
_MAX_REMEMBERED = 10_000  # hosts whose isolation is kept; one that is forgotten gets another circuit, no more


class SocksConnector:
    """Opens connections to onions.

    Args:
        socks: tor's SOCKS port, as `tor.socks` has it.
        timeout: seconds for one connection; above tor's SocksTimeout of 120, so that tor says why it failed.
        user: `tor.user`: no port of anybody else on this machine is spoken to, but of root and ourselves.
    """

    def __init__(self, socks: str, timeout: float, user: str = TOR_USER) -> None:
        self._socks = socks
        self._timeout = timeout
        self._user = user
        self._hosts: dict[str, Host | None] = {}
        self._opening: set[socket.socket] = set()
        self._isolation: dict[str, str] = {}

    def find(self) -> None:
        """Find the host of the SOCKS port now, where it has a name; else it is found when it is first needed.

        Raises:
            HostError: it cannot be found, or has no address that may be used.
        """
        if host := self._host(self._where()):
            try:
                host.find()
            except HostError as error:
                raise HostError(f"tor.socks: {error}") from error

    async def connect(self, endpoint: Endpoint) -> socket.socket:
        """Open a connection.

        Returns:
            A connected socket in non-blocking mode, which belongs to the caller.

        Raises:
            SocksError: there is none, with the cause.
        """
        request = await self.request(endpoint)
        connection = request.connection
        self._opening.add(connection)
        try:
            await _exchange(request)
        except BaseException:
            connection.close()
            request.renew()
            raise
        finally:
            self._opening.discard(connection)
        return connection

    async def request(self, endpoint: Endpoint) -> "SocksRequest":
        """Reach tor's SOCKS port, and say nothing to it yet.

        Raises:
            SocksError: nobody is there, or somebody else than tor.
        """
        where, token = self._where(), self.isolation(endpoint[0])
        renew = partial(self.renew, endpoint[0], token)
        host, port = endpoint
        try:
            handshake = Handshake(host, port, host, token)
        except ValueError as error:
            raise SocksError(endpoint, Cause.BAD_ADDRESS, str(error)) from error
        try:
            connection = await self._reach(endpoint, where)
        except BaseException:
            renew()
            raise
        known = self._host(where)
        misled = known.failed if known else _nothing
        return SocksRequest(endpoint, where, connection, handshake, self._timeout, renew, misled)

    def isolation(self, host: str) -> str:
        """What keeps connections to this host, the next one among them, on circuits of their own."""
        token = self._isolation.get(host)
        if token is None:
            token = self._isolation[host] = secrets.token_hex(8)
            if len(self._isolation) > _MAX_REMEMBERED:
                del self._isolation[next(iter(self._isolation))]
        return token

    def renew(self, host: str, token: str) -> None:
        """Let the next connection to this host take another circuit: something went wrong on one.

        Args:
            token: its isolation. If the host has another one by now, that stays: many sessions break with one circuit.
        """
        if self._isolation.get(host) == token:
            del self._isolation[host]

    def close(self) -> None:
        """End all attempts that are under way."""
        for connection in self._opening:
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # as if tor had closed it

    def _where(self) -> str:
        """The port to use; a unix socket that was found once stays, as others may listen on TCP while tor is down."""
        where = socks_in_use(self._socks)
        if self._socks == AUTO and where.startswith(UNIX):
            self._socks = where
        return where

    def _host(self, where: str) -> Host | None:
        """What is known of the host of the SOCKS port; `None` for a unix socket."""
        if where not in self._hosts:
            address = parse_server(where)
            self._hosts[where] = None if isinstance(address, Path) else Host(address[0])
        return self._hosts[where]

    async def _reach(self, endpoint: Endpoint, where: str) -> socket.socket:
        host = self._host(where)
        try:
            return await self._reach_host(endpoint, where, host)
        except SocksError:
            if host:
                host.failed()
            raise

    async def _reach_host(self, endpoint: Endpoint, where: str, host: Host | None) -> socket.socket:
        try:
            async with asyncio.timeout(self._timeout):
                return await reach(parse_server(where), self._user, host)
        except HostError as error:
            raise SocksError(endpoint, Cause.HOST_UNKNOWN, f"tor's SOCKS port {where}: {error}") from error
        except TimeoutError as error:
            raise SocksError(endpoint, Cause.PROXY_UNREACHABLE, f"{Cause.PROXY_UNREACHABLE.words} ({where})") from error
        except OwnerError as error:
            why = f"is not believed: {error}; nothing was said to it; if that is tor, set tor.user"
            words = f"tor's SOCKS port at {where} {why}"
            raise SocksError(endpoint, Cause.FOREIGN, words) from error
        except OSError as error:
            words = f"{Cause.PROXY_UNREACHABLE.words} ({where}: {error.strerror or error})"
            if isinstance(error, PermissionError):
                words = f"this user may not use tor's SOCKS port {where}: {error.strerror}"
            raise SocksError(endpoint, Cause.PROXY_UNREACHABLE, words) from error


@dataclass(frozen=True, slots=True)
class SocksRequest:
    """A connection to tor's SOCKS port on which the request for an onion is still to be made.

    Attributes:
        endpoint: onion and port.
        where: the SOCKS port.
        connection: a connected socket in non-blocking mode.
        handshake: what to say to tor, and what it answers.
        timeout: seconds for the whole of it.
        renew: lets the next connection to this onion take another circuit.
        misled: hears that what answers there is not tor, or has nothing to say.
    """

    endpoint: Endpoint
    where: str
    connection: socket.socket
    handshake: Handshake
    timeout: float
    renew: Callable[[], None]
    misled: Callable[[], None]

    def failure(self) -> SocksError | None:
        """Why there is no connection, once the handshake has its result; `None` where there is one."""
        match self.handshake.result:
            case Connected():
                return None
            case SocksRefused(number):
                return SocksError(self.endpoint, BY_REPLY.get(number, Cause.GENERAL))
            case WrongService(words):
                self.misled()
                return SocksError(self.endpoint, Cause.WRONG_SERVICE, f"what answers at {self.where} {words}")
            case SocksClosed() | None:
                self.misled()
                return SocksError(self.endpoint, Cause.CLOSED)

    def late(self) -> SocksError:
        """What it means that tor has not answered in time."""
        if self.handshake.is_let_in:
            return SocksError(self.endpoint, Cause.TIMEOUT)
        self.misled()
        return SocksError(self.endpoint, Cause.PROXY_SILENT)

    @property
    def first_answer(self) -> float:
        """Seconds in which tor takes user and password."""
        return min(_ANSWER, self.timeout)


def _nothing() -> None:
    """A unix socket stays where it is."""


async def _exchange(request: SocksRequest) -> None:
    loop = asyncio.get_running_loop()
    start, handshake, connection = loop.time(), request.handshake, request.connection
    try:
        async with asyncio.timeout(request.first_answer) as limit:
            while handshake.result is None:
                try:
                    if data := handshake.data_to_send():
                        await loop.sock_sendall(connection, data)
                    received = await loop.sock_recv(connection, handshake.wanted)
                except OSError:
                    received = b""
                if received:
                    handshake.receive_data(received)
                else:
                    handshake.receive_eof()
                if handshake.is_let_in:
                    limit.reschedule(start + request.timeout)
    except TimeoutError as error:
        raise request.late() from error
    if failure := request.failure():
        raise failure


def over_tor(connector: SocksConnector) -> Callable[[Endpoint], Awaitable[SocketStream]]:
    """Connect to onions; raises `SocksError` with tor's cause, or `StreamError`.

    Args:
        connector: tor's SOCKS port.
    """

    async def connect(endpoint: Endpoint) -> SocketStream:
        return await SocketStream.from_socket(await connector.connect(endpoint))

    return connect
