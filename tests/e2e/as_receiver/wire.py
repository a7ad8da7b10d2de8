"""What passes between the relay and its peers, written down between the relay and tor's SOCKS port."""

import re
import socket
import socketserver
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from functools import partial
from itertools import groupby

from tests.e2e.socks import Address
from tests.e2e.tcp_server import tcp_server

_READ = 65536
_CONNECTED = 10
"""Bytes of tor's reply to CONNECT."""


class Session:
    """One session: who said what, in order."""

    def __init__(self) -> None:
        self._said: list[tuple[bool, bytes]] = []
        self._lock = threading.Lock()
        self.ended = threading.Event()

    def note(self, data: bytes, *, is_of_peer: bool) -> None:
        """Write down what is about to be passed on."""
        with self._lock:
            self._said.append((is_of_peer, data))

    @property
    def turns(self) -> list[tuple[bool, bytes]]:
        """Who spoke (whether it was the peer), and what, one after the other; without SOCKS."""
        with self._lock:
            said = list(self._said)
        skip = {False: _asked(_all_of(said, is_of_peer=False)), True: _answered(_all_of(said, is_of_peer=True))}
        spoken = []
        for is_of_peer, data in said:
            dropped = min(skip[is_of_peer], len(data))
            skip[is_of_peer] -= dropped
            if data[dropped:]:
                spoken.append((is_of_peer, data[dropped:]))
        turns = groupby(spoken, lambda one: one[0])
        return [(of_peer, b"".join(data for _, data in group)) for of_peer, group in turns]

    @property
    def sent(self) -> bytes:
        """All that the relay has sent."""
        return _all_of(self.turns, is_of_peer=False)

    @property
    def received(self) -> bytes:
        """All that the peer has said."""
        return _all_of(self.turns, is_of_peer=True)

    @property
    def began_before_greeting(self) -> bool:
        """Whether the relay spoke first."""
        return bool(self.turns) and not self.turns[0][0]

    @property
    def began_behind_ehlo(self) -> bool:
        """Whether a message left together with EHLO."""
        return any(re.search(rb"^EHLO .*^MAIL FROM:", text, re.MULTILINE | re.DOTALL) for text in self.flights)

    @property
    def flights(self) -> list[bytes]:
        """What the relay sent without waiting for the peer."""
        return [text for of_peer, text in self.turns if not of_peer]

    @property
    def messages(self) -> int:
        """Transactions that were begun."""
        return len(re.findall(rb"^MAIL FROM:", self.sent, re.MULTILINE))

    def flights_of(self, mark: bytes) -> int:
        """How many flights the transaction took whose message has these bytes in it, the last flight of it included."""
        flights = self.flights
        [last] = [number for number, text in enumerate(flights) if mark in text]
        first = max(number for number in range(last + 1) if re.search(rb"^MAIL FROM:", flights[number], re.MULTILINE))
        return last - first + 1


def _all_of(said: list[tuple[bool, bytes]], *, is_of_peer: bool) -> bytes:
    return b"".join(data for of_peer, data in said if of_peer is is_of_peer)


def _asked(text: bytes) -> int:
    """How many bytes the greeting, user name and request of SOCKS5 take (RFC 1928, 1929), or what has come of them."""
    try:
        at = 3
        if text[2:3] == b"\x02":
            at += 2 + text[at + 1]
            at += 1 + text[at]
        return at + 5 + text[at + 4] + 2
    except IndexError:
        return len(text)


def _answered(text: bytes) -> int:
    """How many bytes tor's answers take; it may leave out the first where all came in one write."""
    at = 2 if text[1:2] in (b"\x00", b"\x02") and text[:1] == b"\x05" else 0
    if text[at : at + 2] == b"\x01\x00":
        at += 2
    return at + _CONNECTED


class Wire:
    """A SOCKS port that leads to tor's, and keeps what passes.

    Attributes:
        socks: where it is.
        sessions: in the order in which they began.
    """

    def __init__(self, socks: Address) -> None:
        self.socks = socks
        self.sessions: list[Session] = []

    def after(self, count: int) -> list[Session]:
        """The sessions behind the first ones that reached the peer."""
        return [session for session in self.sessions[count:] if session.received]


@contextmanager
def recorded(tor: Address) -> Iterator[Wire]:
    """Pass on to tor's SOCKS port what comes, and write it down."""
    open_connections: set[socket.socket] = set()

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            session = Session()
            wire.sessions.append(session)
            connection: socket.socket = self.request
            connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            with socket.create_connection(tor) as to_tor:
                to_tor.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                open_connections.update((connection, to_tor))
                back = threading.Thread(target=partial(_pass_on, session, to_tor, connection, is_of_peer=True))
                back.start()
                _pass_on(session, connection, to_tor, is_of_peer=False)
                back.join()
                open_connections.difference_update((connection, to_tor))
            session.ended.set()

    with tcp_server(Handler) as address:
        wire = Wire(address)
        try:
            yield wire
        finally:
            for connection in list(open_connections):
                with suppress(OSError):
                    connection.shutdown(socket.SHUT_RDWR)


def _pass_on(session: Session, source: socket.socket, to: socket.socket, *, is_of_peer: bool) -> None:
    # Tor has no half-open streams: the end of one direction is that of both.
    with suppress(OSError):
        while data := source.recv(_READ):
            session.note(data, is_of_peer=is_of_peer)
            to.sendall(data)
    for end in (source, to):
        with suppress(OSError):
            end.shutdown(socket.SHUT_RDWR)
