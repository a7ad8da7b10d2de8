"""Connections to onions through Tor's SOCKS port (RFC 1928, RFC 1929; torspec socks-extensions and proposal 304).

PySocks does the handshake, in a bounded pool of threads. Host names go to tor as they are and are never resolved here.
User and password isolate each onion on circuits of its own (tor(1), IsolateSOCKSAuth) and are renewed after a failure,
so that the next try gets another circuit.
"""

import asyncio
import re
import secrets
import socket
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import suppress
from enum import Enum

import socks

from onionmx.errors import TemporaryError
from onionmx.onion import Endpoint, format_endpoint


class Cause(Enum):
    """Why there is no connection: the SOCKS reply, tor's extended ones included, its meaning in words, what to do."""

    PROXY_UNREACHABLE = (
        None,
        "tor's SOCKS port does not answer: is tor running?",
        "start tor, and compare tor.socks with the SocksPort of its torrc",
    )
    TIMEOUT = (
        None,
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
        "get a key from its operator and put it into ClientOnionAuthDir of torrc, or ask for a service without one",
    )
    AUTHORIZATION_WRONG = (
        0xF5,
        "the onion service does not take the client authorization that tor has (F5)",
        "ask its operator for a valid key and replace the one in ClientOnionAuthDir of torrc",
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
    def words(self) -> str:
        """The cause for an operator."""
        words: str = self.value[1]
        return words

    @property
    def advice(self) -> str:
        """What an operator can do about it."""
        advice: str = self.value[2]
        return advice


_BY_REPLY = {cause.value[0]: cause for cause in Cause if cause.value[0] is not None}
# PySocks puts the number of the reply only into the text of its exception.
_REPLY_NUMBER = re.compile(r"0x([0-9a-f]{2})", re.IGNORECASE)


class SocksError(TemporaryError):
    """No connection to an onion.

    Attributes:
        cause: why.
    """

    def __init__(self, endpoint: Endpoint, cause: Cause) -> None:
        super().__init__(f"{format_endpoint(endpoint)}: {cause.words}")
        self.cause = cause


class SocksConnector:
    """Opens connections to onions.

    Args:
        proxy: IP address and port of tor's SOCKS port.
        timeout: seconds for one connection; above tor's SocksTimeout of 120, so that tor says why it failed.
        at_once: connections that are being opened at the same time; further ones wait.
    """

    def __init__(self, proxy: tuple[str, int], timeout: float, at_once: int) -> None:
        self._proxy = proxy
        self._timeout = timeout
        self._executor = ThreadPoolExecutor(at_once, thread_name_prefix="socks")
        self._opening: set[socket.socket] = set()
        self._isolation: dict[str, str] = {}

    async def connect(self, endpoint: Endpoint) -> socket.socket:
        """Open a connection.

        Returns:
            A connected socket in non-blocking mode, which belongs to the caller.

        Raises:
            SocksError: there is none, with the cause.
        """
        future = self._executor.submit(self._connect, endpoint)
        try:
            return await asyncio.wrap_future(future)
        except asyncio.CancelledError:
            future.add_done_callback(_close_unwanted)
            raise

    def close(self) -> None:
        """End all attempts that are under way."""
        self._executor.shutdown(wait=False, cancel_futures=True)
        for connection in list(self._opening):
            with suppress(OSError):
                connection.shutdown(socket.SHUT_RDWR)  # wakes the thread that waits for tor

    def _connect(self, endpoint: Endpoint) -> socket.socket:
        onion, port = endpoint
        family = socket.AF_INET6 if ":" in self._proxy[0] else socket.AF_INET
        connection = socks.socksocket(family)
        token = self._isolation.setdefault(onion, secrets.token_hex(8))
        connection.set_proxy(socks.SOCKS5, *self._proxy, rdns=True, username=onion, password=token)
        connection.settimeout(self._timeout)
        self._opening.add(connection)
        try:
            connection.connect((onion, port))
        except (OSError, socks.ProxyError) as error:
            connection.close()
            self._isolation.pop(onion, None)
            raise SocksError(endpoint, _cause(error)) from error
        finally:
            self._opening.discard(connection)
        plain = socket.socket(fileno=connection.detach())
        plain.setblocking(False)  # noqa: FBT003 -- the standard library's signature
        plain.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        return plain


def _cause(error: Exception) -> Cause:
    # PySocks wraps every OSError, and its own errors are of that kind.
    inner = getattr(error, "socket_err", None) or error
    if isinstance(inner, socks.SOCKS5Error) and (match := _REPLY_NUMBER.search(str(inner))):
        return _BY_REPLY.get(int(match[1], 16), Cause.GENERAL)
    if isinstance(inner, TimeoutError):
        return Cause.TIMEOUT
    return Cause.PROXY_UNREACHABLE


def _close_unwanted(future: "Future[socket.socket]") -> None:
    """Nobody waits for this connection any more."""
    if not future.cancelled() and future.exception() is None:
        future.result().close()
