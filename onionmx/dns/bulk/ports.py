"""The UDP ports from which one resolver is asked (RFC 5452 section 9): each is random, and so is each id on it.

A forged reply must hit the port, the id and the question of one that is under way, and come from the resolver's
address, which the kernel checks. Ports are renewed often, so that none is worth searching for.
"""

import asyncio
import os
import socket
from array import array
from collections.abc import Callable, Iterator, Sequence

from onionmx.config import Resolver
from onionmx.dns.wire import make_query

_PORTS = 32  # open at the same time, a power of two
_QUESTIONS = 1000  # from one port
_BURST = 32  # questions that leave one port together; the kernel keeps at least a hundred replies for it
_MAX_PACKET = 4096  # bytes; much more than the reply to a question that asks for 1232 at most


class BulkQuestion:
    """A question for the onion-MX record of a domain.

    Attributes:
        domain: in normal form; empty for a probe.
        wire: the question section.
        deadline: when this attempt is over.
        attempt: how often it was asked before.
        is_odd: a packet with the id of this attempt has come that is no reply to it.
    """

    __slots__ = ("attempt", "deadline", "domain", "is_odd", "wire")

    def __init__(self, domain: str, wire: bytes, deadline: float) -> None:
        self.domain = domain
        self.wire = wire
        self.deadline = deadline
        self.attempt = 0
        self.is_odd = False


class Port:
    """One of the ports.

    Attributes:
        waiting: questions that are under way on it, by id.
        left: how many more may be asked from it.
    """

    __slots__ = ("_socket", "left", "waiting")

    def __init__(self, connection: socket.socket) -> None:
        self.waiting: dict[int, BulkQuestion] = {}
        self.left = _QUESTIONS
        self._socket = connection

    def packets(self) -> list[bytes]:
        """What has come in, as far as it can be replies to what is under way; the rest the next time."""
        receive = self._socket.recv
        packets = []
        try:
            # To be told that nothing is left costs twice as much as a packet.
            for _ in range(len(self.waiting) or 1):
                packets.append(receive(_MAX_PACKET))  # noqa: PERF401 -- what came before an error counts
        except OSError:  # nothing more; or nobody listens there, which silence will show
            pass
        return packets

    def send(self, packets: Sequence[bytes]) -> None:
        """Send packets at once: a server that is kept busy need not be woken for each of them.

        One that cannot be sent is lost, as any may be.
        """
        self.left -= len(packets)
        send = self._socket.send
        for packet in packets:
            try:  # noqa: SIM105 -- suppress costs as much as a fifth of the sending
                send(packet)
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


class SourcePorts:
    """All ports for one resolver.

    Args:
        read: called with a port that has packets.
    """

    def __init__(self, resolver: Resolver, read: Callable[[Port], None]) -> None:
        self._resolver = resolver
        self._family = socket.AF_INET6 if ":" in resolver.host else socket.AF_INET
        self._read = read
        self._open: list[Port | None] = [None] * _PORTS
        self._retired: list[Port] = []

    def __iter__(self) -> Iterator[Port]:
        """All ports on which questions may be under way."""
        for port in self._retired:
            if not port.waiting:
                port.close()
        self._retired = [port for port in self._retired if port.waiting]
        return iter([*self._retired, *filter(None, self._open)])

    def send(self, questions: Sequence[BulkQuestion], start: int = 0) -> int:
        """Ask, from a random port, and each with a random id.

        Args:
            questions: not all of them may be asked.
            start: the first of them.

        Returns:
            How many were asked.

        Raises:
            OSError: there is no way to this resolver, or no port is left.
        """
        numbers = array("H", os.urandom((_BURST + 1) * 2))
        place = numbers.pop() % _PORTS
        port = self._open[place]
        if port is None or not port.left:
            port = self._renew(place)
        waiting = port.waiting
        asked = questions[start : start + min(_BURST, port.left)]
        packets = []
        for number, question in zip(numbers, asked, strict=False):
            free = number
            while free in waiting:
                free = int.from_bytes(os.urandom(2), "big")
            waiting[free] = question
            packets.append(make_query(free, question.wire))
        port.send(packets)
        return len(asked)

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
