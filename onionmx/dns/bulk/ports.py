"""The UDP ports from which one resolver is asked (RFC 5452 section 9): each is random, and so is each id on it.

A forged reply must hit the port, the id and the question of one that is under way, and come from the resolver's
address, which the kernel checks. Ports are renewed often, so that none is worth searching for.
"""

import asyncio
import os
import socket
from array import array
from collections.abc import Callable, Iterator

from onionmx.config import Resolver
from onionmx.dns.wire import make_query

_PORTS = 32  # open at the same time, a power of two
_QUESTIONS = 1000  # from one port
_BURST = 1000  # packets read before others have their turn; rarely are so many questions under way on one port
_MAX_PACKET = 4096  # bytes; much more than the reply to a question that asks for 1232 at most
_NUMBERS = 2048  # random ones that are fetched at once


class Question:
    """A question for the onion-MX record of a domain.

    Attributes:
        domain: in normal form; empty for a probe.
        wire: the question section.
        attempt: how often it was asked before.
        deadline: when this attempt is over; set for each.
        is_odd: a packet with the id of this attempt has come that is no reply to it; set for each.
    """

    __slots__ = ("attempt", "deadline", "domain", "is_odd", "wire")

    deadline: float
    is_odd: bool

    def __init__(self, domain: str, wire: bytes) -> None:
        self.domain = domain
        self.wire = wire
        self.attempt = 0


class Port:
    """One of the ports.

    Attributes:
        waiting: questions that are under way on it, by id.
        left: how many more may be asked from it.
    """

    __slots__ = ("_socket", "left", "waiting")

    def __init__(self, connection: socket.socket) -> None:
        self.waiting: dict[int, Question] = {}
        self.left = _QUESTIONS
        self._socket = connection

    def packets(self) -> Iterator[bytes]:
        """What has come in, up to a bound."""
        receive = self._socket.recv
        for _ in range(_BURST):
            try:
                yield receive(_MAX_PACKET)
            except OSError:  # nothing more; or nobody listens there, which silence will show
                return

    def send(self, number: int, question: Question) -> None:
        """Ask with this id; a packet that cannot be sent is lost, as any may be."""
        self.left -= 1
        self.waiting[number] = question
        try:  # noqa: SIM105 -- suppress costs as much as a fifth of the sending
            self._socket.send(make_query(number, question.wire))
        except OSError:
            pass

    def close(self) -> None:
        """Stop reading and close it."""
        if self._socket.fileno() >= 0:
            asyncio.get_running_loop().remove_reader(self._socket)
            self._socket.close()

    def start(self, read: Callable[["Port"], None]) -> None:
        """Call this whenever packets are there."""
        asyncio.get_running_loop().add_reader(self._socket, read, self)


class Ports:
    """All ports for one resolver.

    Args:
        resolver: who is asked.
        read: called with a port that has packets.
    """

    def __init__(self, resolver: Resolver, read: Callable[[Port], None]) -> None:
        self._resolver = resolver
        self._family = socket.AF_INET6 if ":" in resolver.host else socket.AF_INET
        self._read = read
        self._open: list[Port | None] = [None] * _PORTS
        self._retired: list[Port] = []
        self._numbers: array[int] = array("H")

    def __iter__(self) -> Iterator[Port]:
        """All ports on which questions may be under way."""
        for port in self._retired:
            if not port.waiting:
                port.close()
        self._retired = [port for port in self._retired if port.waiting]
        return iter([*self._retired, *filter(None, self._open)])

    def send(self, question: Question) -> None:
        """Ask from a random port with a random id.

        Raises:
            OSError: there is no way to this resolver, or no port is left.
        """
        if not self._numbers:  # they are taken in pairs
            self._numbers.frombytes(os.urandom(_NUMBERS * self._numbers.itemsize))
        place = self._numbers.pop() % _PORTS
        port = self._open[place]
        if port is None or not port.left:
            port = self._renew(place)
        number = self._numbers.pop()
        while number in port.waiting:
            number = int.from_bytes(os.urandom(2), "big")
        port.send(number, question)

    def close(self) -> None:
        """Close all; what is under way is forgotten."""
        for port in self:
            port.close()

    def _renew(self, place: int) -> Port:
        connection = socket.socket(self._family, socket.SOCK_DGRAM | socket.SOCK_NONBLOCK)
        try:
            connection.connect((self._resolver.host, self._resolver.port))  # the kernel takes a random port
        except OSError:
            connection.close()
            raise
        new, old = Port(connection), self._open[place]
        new.start(self._read)
        self._open[place] = new
        if old is not None:
            self._retired.append(old)
        return new
