"""Whose the other end of a connection is: a user of this machine, where the kernel tells it.

A unix socket tells by SO_PEERCRED (unix(7)), TCP on this machine by the row of the client's socket in /proc/net/tcp or
tcp6 (proc(5)). In a user namespace, such as systemd's `PrivateUsers=`, all users but one's own have the same number
there: they are one crowd then.
"""

import functools
import re
import socket
import struct
import time
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path
from typing import Protocol, TypeVar

from onionmx.net.room import Guest, Stay, User, make_room
from onionmx.net.users import hidden_user

_TABLES = ("/proc/self/net/tcp", "/proc/self/net/tcp6")
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid
_ESTABLISHED = rb"01"  # include/net/tcp_states.h; the rows of sockets that were closed name nobody
_SOCKET = rb"((?:[0-9A-F]{8}){1,4}:[0-9A-F]{4})"
_ROW = re.compile(
    rb"^ *[0-9]+: %b %b %b(?: \S+){3} +([0-9]+) " % (_SOCKET, _SOCKET, _ESTABLISHED),
    re.MULTILINE,
)
_SHARE_OF_TIME = 20
"""The tables are read for one part in so many of the time at most: they can be made long, and the loop waits."""

Ends = tuple[tuple[str, int], tuple[str, int]]
"""Address and port of the client, and of the server."""


@dataclass(eq=False, slots=True)
class ConnectedClient(Stay):
    """The other end of a connection.

    Attributes:
        ends: by which `Clients.tell` finds out whose it is; `None` where nothing is left to be found out.
    """

    ends: Ends | None = None

    @classmethod
    def of(cls, connection: socket.socket | None) -> "ConnectedClient":
        """What is known at once, while the connection is open."""
        if connection is None:
            return cls()
        try:
            if connection.family == socket.AF_UNIX:
                raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
                return cls(_told(_CREDENTIALS.unpack(raw)[1]))
            peer, own = connection.getpeername()[:2], connection.getsockname()[:2]
        except OSError:
            return cls()  # gone already
        host = _plain(peer[0])
        return cls(None if host.is_loopback else str(host), ends=(peer, own))


class Clients:
    """Finds out whose connections are, when it matters.

    Args:
        now: seconds of a clock that never goes back.
        tables: files with rows as in /proc/net/tcp.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic, tables: Iterable[str] = _TABLES) -> None:
        self._now = now
        self._tables = tuple(map(Path, tables))
        self._not_before = 0.0

    def tell(self, clients: Iterable[ConnectedClient]) -> None:
        """Find out whose these are, unless the tables were read a moment ago."""
        unknown = [client for client in clients if client.ends is not None]
        start = self._now()
        if not unknown or start < self._not_before:
            return
        owners = find_owners(b"\n".join(map(_read, self._tables)), (client.ends for client in unknown if client.ends))
        for client in unknown:
            if client.ends in owners:
                client.user = _told(owners[client.ends])
            client.ends = None
        end = self._now()
        self._not_before = end + _SHARE_OF_TIME * (end - start)


class KnownGuest(Guest, Protocol):
    """A connection with its client."""

    @property
    def client(self) -> ConnectedClient:
        """Its other end."""


G = TypeVar("G", bound=KnownGuest)


class Door:
    """Decides about connections over a limit."""

    def __init__(self) -> None:
        self._clients = Clients()

    def leaver(self, guests: Collection[G], newcomer: G, limit: int, now: float) -> G | None:
        """Who goes so that a newcomer can stay; see `onionmx.net.room.make_room`."""
        if len(guests) < limit:
            return None
        self._clients.tell((newcomer.client, *(guest.client for guest in guests)))
        return make_room(guests, newcomer, limit, now)


def _told(uid: int) -> User:
    return None if uid == _hidden_user() else uid


@functools.cache  # a process stays in its namespace, and this may be asked for each connection
def _hidden_user() -> int | None:
    return hidden_user()


def find_owners(table: bytes, wanted: Iterable[Ends]) -> dict[Ends, int]:
    """The users that have the clients' ends of connections within this machine.

    Args:
        table: rows of /proc/net/tcp and tcp6.
    """
    rows = {(client, server): int(uid) for client, server, uid in _ROW.findall(table)}
    owners = {}
    for ends in wanted:
        for client, server in zip(*map(_written, ends), strict=True):
            if (uid := rows.get((client, server))) is not None:
                owners[ends] = uid
    return owners


def _written(end: tuple[str, int]) -> tuple[bytes, bytes]:
    """An address as the tables have it: of IPv4 also as that of a socket of IPv6."""
    address = _plain(end[0])
    mapped = IPv6Address(b"\0" * 10 + b"\xff\xff" + address.packed) if isinstance(address, IPv4Address) else address
    return _hexadecimal(address, end[1]), _hexadecimal(mapped, end[1])


def _hexadecimal(address: IPv4Address | IPv6Address, port: int) -> bytes:
    words = struct.unpack(f"={len(address.packed) // 4}I", address.packed)  # in the order of the machine (proc(5))
    return b"".join(b"%08X" % word for word in words) + b":%04X" % port


def _plain(host: str) -> IPv4Address | IPv6Address:
    address = ip_address(host.partition("%")[0])
    return getattr(address, "ipv4_mapped", None) or address


def _read(table: Path) -> bytes:
    try:
        return table.read_bytes()
    except OSError:
        return b""  # a kernel without IPv6, or a /proc that hides it
