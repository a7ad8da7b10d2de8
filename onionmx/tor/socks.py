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
from enum import Enum
from functools import partial

from onionmx.config import UNIX, parse_address
from onionmx.defaults import AUTO, TOR_USER
from onionmx.errors import OwnerError, TemporaryError
from onionmx.net.stream import SocketStream
from onionmx.onion import Endpoint, format_endpoint
from onionmx.tor.handshake import Connected, Handshake, SocksClosed, SocksRefused, WrongService
from onionmx.tor.reach import reach, socks_in_use

_ANSWER = 30.0  # seconds for tor to take user and password, which need no circuit; a busy tor may need some
_MAX_REMEMBERED = 10_000  # hosts whose isolation is kept; one that is forgotten gets another circuit, no more


class Cause(Enum):
    """Why there is no connection: the number of the SOCKS reply, or a name for what has none; in words; what to do."""

    PROXY_UNREACHABLE = (
        "unreachable",
        "tor's SOCKS port does not answer: is tor running?",
        "start tor, and compare tor.socks with the SocksPort of its torrc",
    )
    WRONG_SERVICE = (
        "wrong service",
        "what answers is not tor's SOCKS port",
        "set tor.socks to the SocksPort of tor",
    )
    FOREIGN = (
        "foreign",
        "somebody else than tor listens at its SOCKS port",
        (
            "start tor and stop what listens in its place, or set tor.user if that is tor; a unix socket, or a port "
            "below 1024, is nobody else's to take"
        ),
    )
    PROXY_SILENT = (
        "silent",
        "tor's SOCKS port takes connections and says nothing",
        "look whether tor hangs, and compare tor.socks with the SocksPort of its torrc",
    )
    CLOSED = (
        "closed",
        "tor closed the connection without saying why: it may just be stopping",
        "look at tor's log",
    )
    TIMEOUT = (
        "timeout",
        "tor did not answer in time",
        "try again; if it stays so, look for circuit failures in tor's log, and compare the clock of this machine",
    )
    GENERAL = (
        0x01,
        "tor gave a general failure; set ExtendedErrors on its SocksPort to learn more",
        "add ExtendedErrors to the SocksPort line of torrc, restart tor (a reload leaves open ports as they are)",
    )
    NOT_ALLOWED = (
        0x02,
        "tor does not allow the connection",
        "look at the flags of the SocksPort and at SocksPolicy in torrc; this port must at least allow onion traffic",
    )
    NETWORK_UNREACHABLE = (
        0x03,
        "tor has no network",
        "look at this machine's connection and at tor's log: it may still be starting",
    )
    HOST_UNREACHABLE = (
        0x04,
        "tor cannot reach the onion service",
        "try again in some minutes; if it stays so, ask the operator of the onion service whether it is up",
    )
    REFUSED = (
        0x05,
        "the onion service refused the connection: nothing listens on this port",
        (
            "its operator has to compare HiddenServicePort with the address on which the MTA listens; "
            "the record must name the port of the service"
        ),
    )
    TTL_EXPIRED = (
        0x06,
        "tor's circuit timed out",
        "try again: the next connection takes another circuit",
    )
    NOT_SUPPORTED = (
        0x07,
        "this is not a SOCKS port of tor: command not supported",
        "set tor.socks to the SocksPort of tor",
    )
    ADDRESS_TYPE = (
        0x08,
        "this is not a SOCKS port of tor: address type not supported",
        "set tor.socks to the SocksPort of tor",
    )
    DESCRIPTOR_NOT_FOUND = (
        0xF0,
        "no descriptor found: the onion service is offline or never existed (F0)",
        (
            "compare the onion name with what its operator publishes, and ask whether tor runs there and can upload "
            "descriptors; a service that was just started needs a minute"
        ),
    )
    DESCRIPTOR_INVALID = (
        0xF1,
        "the onion service's descriptor is invalid (F1)",
        "compare the clock of this machine with the true time, and bring tor up to date here and there",
    )
    INTRODUCTION_FAILED = (
        0xF2,
        "introduction to the onion service failed: it may have just stopped (F2)",
        "try again in some minutes; its operator sees in tor's log whether the service runs and is overloaded",
    )
    RENDEZVOUS_FAILED = (
        0xF3,
        "rendezvous with the onion service failed (F3)",
        "try again: the next connection takes another rendezvous point; if it stays so, the service may be overloaded",
    )
    AUTHORIZATION_MISSING = (
        0xF4,
        "the onion service asks for a client authorization that tor does not have (F4)",
        "get a key from its operator for onionmx onion use-key, or ask for a service without one",
    )
    AUTHORIZATION_WRONG = (
        0xF5,
        "the onion service does not take the client authorization that tor has (F5)",
        "ask its operator for a valid key, and have onionmx onion use-key replace the one that tor has",
    )
    BAD_ADDRESS = (
        0xF6,
        "tor says the onion address is invalid (F6)",
        "correct the onion name in the record, pin or map: at least one character is wrong",
    )
    INTRODUCTION_TIMEOUT = (
        0xF7,
        "introduction to the onion service timed out (F7)",
        "try again in some minutes; the service may be overloaded, under attack or just stopped",
    )

    @property
    def reply(self) -> int | None:
        """The number of the SOCKS reply; `None` where there was no reply."""
        number = self.value[0]
        return number if isinstance(number, int) else None

    @property
    def words(self) -> str:
        """The cause for an operator."""
        words: str = self.value[1]
        return words

    @property
    def advice(self) -> str:
        """What an operator can do about it."""
        advice: str = self.value[2]
        return advice


_BY_REPLY = {cause.reply: cause for cause in Cause if cause.reply is not None}
WITHOUT_TOR = frozenset(
    {
        Cause.PROXY_UNREACHABLE,
        Cause.FOREIGN,
        Cause.PROXY_SILENT,
        Cause.WRONG_SERVICE,
        Cause.CLOSED,
        Cause.NOT_ALLOWED,
        Cause.NETWORK_UNREACHABLE,
        Cause.NOT_SUPPORTED,
        Cause.ADDRESS_TYPE,
    }
)
"""Faults of this host or its tor, by which nothing is known of the onion."""


class SocksError(TemporaryError):
    """No connection to an onion.

    Attributes:
        cause: why.
        words: the cause in words, with what else was seen.
    """

    def __init__(self, endpoint: Endpoint, cause: Cause, words: str = "") -> None:
        self.cause = cause
        self.words = words or cause.words
        super().__init__(f"{format_endpoint(endpoint)}: {self.words}")


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
        self._opening: set[socket.socket] = set()
        self._isolation: dict[str, str] = {}

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
        return SocksRequest(endpoint, where, connection, handshake, self._timeout, renew)

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

    async def _reach(self, endpoint: Endpoint, where: str) -> socket.socket:
        try:
            async with asyncio.timeout(self._timeout):
                return await reach(parse_address(where), self._user)
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
    """

    endpoint: Endpoint
    where: str
    connection: socket.socket
    handshake: Handshake
    timeout: float
    renew: Callable[[], None]

    def failure(self) -> SocksError | None:
        """Why there is no connection, once the handshake has its result; `None` where there is one."""
        match self.handshake.result:
            case Connected():
                return None
            case SocksRefused(number):
                return SocksError(self.endpoint, _BY_REPLY.get(number, Cause.GENERAL))
            case WrongService(words):
                return SocksError(self.endpoint, Cause.WRONG_SERVICE, f"what answers at {self.where} {words}")
            case SocksClosed() | None:
                return SocksError(self.endpoint, Cause.CLOSED)

    def late(self) -> SocksError:
        """What it means that tor has not answered in time."""
        return SocksError(self.endpoint, Cause.TIMEOUT if self.handshake.is_let_in else Cause.PROXY_SILENT)

    @property
    def first_answer(self) -> float:
        """Seconds in which tor takes user and password."""
        return min(_ANSWER, self.timeout)


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
