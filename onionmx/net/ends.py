"""The other end of a connection within this machine: that it is of the one who listens.

Two sockets that connect to each other make one connection, and nobody has to listen (RFC 9293 section 3.5). A user who
has bound a port before its service listens there (socket(7), SO_REUSEADDR) can connect from it to any port of this
machine: a client that then connects to the service from that port has him at the other end, although the service
listens.
"""

import re
import socket
import time
from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING

from onionmx.errors import OwnerError
from onionmx.net.diag import LISTEN, TIME_WAIT, FarEnd, far_end, listener
from onionmx.net.users import check_user, hidden_user, is_believed

if TYPE_CHECKING:
    import _socket

_CONNECTS = b"02"  # SYN_SENT (include/net/tcp_states.h)
_OVER = b"06"  # TIME_WAIT
_NOBODY = b"0"  # inode of a connection that nobody has taken yet, or that nobody has any more
_LOOKS = 3
_PAUSE = 0.01  # seconds between two of them: rows that come and go may hide one for once
_AT_ONCE = 1 << 20  # bytes


def check_ends(
    table: str, where: str, places: Mapping[str, Sequence[bytes]], users: Sequence[str], ours: Sequence[bytes] = ()
) -> None:
    """Refuse a connection whose other end somebody else has.

    Where a user namespace hides who has it, refuse a port from which somebody else connects: then this is asked before
    the connection and after it, and the connection comes from a port that nobody can foresee (`bind_random`).

    To read the tables takes the kernel milliseconds, on a machine with much memory tens of them.

    Args:
        table: path of the tables, without the ending.
        where: the port, for messages.
        places: as `onionmx.net.owner.ListenerOwner` has them.
        users: as for `ListenerOwner`.
        ours: our end of a connection to the port, as the tables may write it; empty before there is one.

    Raises:
        OwnerError: there is such a socket, or it cannot be told.
    """
    hidden = hidden_user()
    if hidden is None and not ours:
        return
    for look in range(_LOOKS):
        is_seen = not ours
        for far, state, uid, inode in _ends(table, where, places):
            if hidden is not None and state == _CONNECTS:
                check_user(uid, users, f"connects from {where}")
            elif far in ours and state != _OVER:
                is_seen = True
                if inode != _NOBODY and uid != hidden:
                    check_user(uid, users, f"has a connection at {where}")
                if hidden is None:
                    return  # there is one at most
        if is_seen:
            return
        if look + 1 < _LOOKS:
            time.sleep(_PAUSE)
    raise OwnerError(f"it cannot be told who has the connection to {where}")


def check_end(connection: "_socket.socket", where: str, users: Sequence[str]) -> bool:
    """Refuse a connection whose other end somebody else has, as far as the kernel tells at once whose it is.

    Args:
        connection: to the port.
        where: the port, for messages.
        users: as for `ListenerOwner`.

    Returns:
        Whether it does; if not, `check_ends` finds out.

    Raises:
        OwnerError: somebody else has it.
    """
    end = _other_end(connection) if hidden_user() is None else None
    if end is not None and end.inode:
        check_user(end.uid, users, f"has a connection at {where}")
    return end is not None


def believed_listener(host: str, port: int, users: Sequence[str]) -> FarEnd | None:
    """The socket that listens at a port, where the kernel tells at once, and it is of one who is believed.

    Args:
        host: an IP address.
        port: of it.
        users: as for `ListenerOwner`, which finds out all else.
    """
    found = listener(host, port) if hidden_user() is None else None
    return found if found is not None and is_believed(found.uid, users) else None


def belongs_to(found: FarEnd, connection: "_socket.socket", users: Sequence[str]) -> bool:
    """Whether a connection is that of the listener that was there before it, or of one who is believed.

    What nobody has accepted yet belongs to the socket that listens: when that is closed, the connection ends.

    Args:
        found: by `believed_listener`.
        connection: to the port.
        users: as for `ListenerOwner`.
    """
    end = _other_end(connection)
    if end is None:
        return False
    if end.inode:
        return is_believed(end.uid, users)
    return listener(*connection.getpeername()[:2]) == found


def _other_end(connection: "_socket.socket") -> FarEnd | None:
    """The other end, where the kernel tells it and somebody has it or may still accept it."""
    end = far_end(connection)
    return None if end is None or end.state in {LISTEN, TIME_WAIT} else end


def bind_random(connection: socket.socket) -> None:
    """Have a connection come from a port that the kernel draws by lot; else it takes one near the last one."""
    connection.bind(("::" if connection.family == socket.AF_INET6 else "", 0))


def _ends(table: str, where: str, places: Mapping[str, Sequence[bytes]]) -> Iterator[tuple[bytes, bytes, int, bytes]]:
    """Far end, state, user and inode of the sockets that are bound there."""
    for version, written in places.items():
        try:
            with open(f"{table}{version}", "rb", buffering=_AT_ONCE) as file:  # noqa: PTH123 -- as in owner
                content = file.read()
        except FileNotFoundError:
            continue  # a kernel without IPv6
        except OSError as error:
            raise OwnerError(f"it cannot be told who has connections to {where}: {error}") from error
        row = rb"^ *[0-9]+: (?:%b) (\S+) (\S+)(?: \S+){3} +([0-9]+) +[0-9]+ ([0-9]+) " % b"|".join(written)
        for found in re.finditer(row, content, re.MULTILINE):
            yield found[1], found[2], int(found[3]), found[4]
