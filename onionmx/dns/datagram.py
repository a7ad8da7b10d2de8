"""One question by UDP to one resolver, many at the same time.

Who listens there is looked at before a question leaves and after its answer has come. Questions that leave in one turn
of the event loop share a look, and so do answers that are read in one.
"""

import asyncio
import os
import socket
from collections.abc import Sequence
from typing import NamedTuple

from onionmx.config import Resolver
from onionmx.dns.choice import Choice
from onionmx.dns.wire import is_reply, make_query
from onionmx.errors import OwnerError
from onionmx.net.owner import ListenerOwner

_MAX_PACKET = 65535  # bytes
_AT_ONCE = 10_000  # questions on one socket; their ids must stay hard to guess
_BURST = 64  # packets read before others have their turn


class _Unanswered(NamedTuple):
    """A question under way.

    Attributes:
        question: from `ask_for`.
        listener: who listened there before it left; `None` where that does not matter.
        reply: what comes of it.
    """

    question: bytes
    listener: ListenerOwner | None
    reply: "asyncio.Future[bytes | None]"


class Datagrams:
    """Asks a resolver from one port, which is open only while a question is under way.

    Hosts other than this one could forge answers if ids were all that must be guessed: for a resolver that is not
    on loopback, each question gets a port of its own (RFC 5452).

    Args:
        choice: that it is one of.
    """

    def __init__(self, resolver: Resolver, choice: Choice) -> None:
        self.resolver = resolver
        self._choice = choice
        self._is_loopback = resolver.is_loopback
        self._waiting: dict[int, _Unanswered] = {}
        self._looked: ListenerOwner | None = None
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
            return await self._exchange(question, self._look(), timeout)
        except (OSError, OwnerError):
            return None

    def _look(self) -> ListenerOwner | None:
        """Who listens there in this turn of the event loop."""
        if self._looked is None:
            self._looked = self._choice.listener(self.resolver, is_udp=True)
            if self._looked is not None:
                asyncio.get_running_loop().call_soon(self._forget)
        return self._looked

    def _forget(self) -> None:
        self._looked = None

    async def _exchange(
        self,
        question: bytes,
        listener: ListenerOwner | None,
        timeout: float,  # noqa: ASYNC109 -- as above
    ) -> bytes | None:
        loop = asyncio.get_running_loop()
        number = _new_id()
        while number in self._waiting:
            number = _new_id()
        reply: asyncio.Future[bytes | None] = loop.create_future()
        self._waiting[number] = _Unanswered(question, listener, reply)
        timer = loop.call_later(timeout, _settle, reply, None)
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
        answered: list[tuple[_Unanswered, bytes]] = []
        for _ in range(_BURST):
            try:
                packet = connection.recv(_MAX_PACKET)
            except BlockingIOError:
                break
            except OSError:  # nobody listens there
                _settle_all(answered)
                for each in self._waiting.values():
                    _settle(each.reply, None)
                return
            asked = self._waiting.get(int.from_bytes(packet[:2], "big"))
            if asked is not None and not asked.reply.done() and is_reply(packet, asked.question):
                answered.append((asked, packet))
        _settle_all(answered)


def _settle_all(answered: Sequence[tuple[_Unanswered, bytes]]) -> None:
    """Hand over what has been read, after a look; the first of two answers counts."""
    confirmed: dict[frozenset[tuple[int, bytes]], bool] = {}
    for (_, listener, reply), packet in answered:
        if listener is None:
            _settle(reply, packet)
            continue
        if listener.seen not in confirmed:
            confirmed[listener.seen] = _is_confirmed(listener)
        _settle(reply, packet if confirmed[listener.seen] else None)


def _is_confirmed(listener: ListenerOwner) -> bool:
    try:
        listener.confirm()
    except OwnerError:
        return False
    return True


def _new_id() -> int:
    return int.from_bytes(os.urandom(2), "big")


def _settle(reply: "asyncio.Future[bytes | None]", packet: bytes | None) -> None:
    if not reply.done():
        reply.set_result(packet)
