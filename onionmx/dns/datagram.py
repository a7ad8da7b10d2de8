"""One question by UDP to one resolver, many at the same time."""

import asyncio
import os
import socket

from onionmx.config import Resolver
from onionmx.dns.choice import Choice
from onionmx.dns.wire import is_reply, make_query
from onionmx.errors import OwnerError

_MAX_PACKET = 65535  # bytes
_AT_ONCE = 10_000  # questions on one socket; their ids must stay hard to guess
_BURST = 64  # packets read before others have their turn


class Datagrams:
    """Asks a resolver from one port, which is open only while a question is under way.

    Whoever is not on this host could forge answers if ids were all that must be guessed: for a resolver that is not
    on loopback, each question gets a port of its own (RFC 5452).

    Args:
        resolver: who is asked.
        choice: that it is one of.
    """

    def __init__(self, resolver: Resolver, choice: Choice) -> None:
        self.resolver = resolver
        self._choice = choice
        self._is_loopback = resolver.is_loopback
        self._waiting: dict[int, tuple[bytes, asyncio.Future[bytes | None]]] = {}
        self._socket: socket.socket | None = None

    async def ask(self, question: bytes, timeout: float) -> bytes | None:  # noqa: ASYNC109 -- cheaper than the context
        """Ask once.

        Args:
            question: from `ask_for`.
            timeout: seconds.

        Returns:
            The reply; `None` where there is none in time or at all, or where somebody else listens there.
        """
        if self._waiting and not self._is_loopback:
            return await Datagrams(self.resolver, self._choice).ask(question, timeout)
        if len(self._waiting) >= _AT_ONCE:
            return None
        try:
            listener = self._choice.listener(self.resolver, is_udp=True)
            packet = await self._exchange(question, timeout)
            if listener is not None:
                listener.confirm()
        except (OSError, OwnerError):
            return None
        return packet

    async def _exchange(self, question: bytes, timeout: float) -> bytes | None:  # noqa: ASYNC109 -- as above
        loop = asyncio.get_running_loop()
        number = _new_id()
        while number in self._waiting:
            number = _new_id()
        reply: asyncio.Future[bytes | None] = loop.create_future()
        self._waiting[number] = question, reply
        timer = loop.call_later(timeout, _give_up, reply)
        try:
            self._send(make_query(number, question))
            return await reply
        finally:
            timer.cancel()
            del self._waiting[number]
            if not self._waiting:
                self._close()

    def _send(self, packet: bytes) -> None:
        if self._socket is None:
            family = socket.AF_INET6 if ":" in self.resolver.host else socket.AF_INET
            self._socket = socket.socket(family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
            self._socket.connect((self.resolver.host, self.resolver.port))
            asyncio.get_running_loop().add_reader(self._socket, self._receive, self._socket)
        self._socket.send(packet)

    def _close(self) -> None:
        if self._socket is not None:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()
            self._socket = None

    def _receive(self, connection: socket.socket) -> None:
        for _ in range(_BURST):
            try:
                packet = connection.recv(_MAX_PACKET)
            except BlockingIOError:
                return
            except OSError:  # nobody listens there
                for _, unanswered in self._waiting.values():
                    _give_up(unanswered)
                return
            question, reply = self._waiting.get(int.from_bytes(packet[:2], "big"), (b"", None))
            if reply is not None and not reply.done() and is_reply(packet, question):
                reply.set_result(packet)


def _new_id() -> int:
    return int.from_bytes(os.urandom(2), "big")


def _give_up(reply: "asyncio.Future[bytes | None]") -> None:
    if not reply.done():
        reply.set_result(None)
