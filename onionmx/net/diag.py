"""One socket of this machine, asked of the kernel by sock_diag(7).

To find it in the tables of all of them (proc(5)) takes the kernel milliseconds; this takes microseconds.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import _socket

_NETLINK_SOCK_DIAG = 4  # include/uapi/linux/netlink.h
_SOCK_DIAG_BY_FAMILY = 20  # include/uapi/linux/sock_diag.h
_REQUEST = 1  # NLM_F_REQUEST: exactly one socket is asked for
_LOOPBACK = 1  # LOOPBACK_IFINDEX of include/net/flow.h: what the kernel finds is what a packet of ours would reach
_ANY_COOKIE = _ANY_STATE = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_QUESTION = struct.Struct("=BBBBI 4s16s16s III")  # inet_diag_req_v2: what, states; ports, addresses; interface, cookie
_ANSWER = struct.Struct("=BBBB 48x 3I II")  # inet_diag_msg: family, state, ...; ...; uid, inode

LISTEN = 10  # include/net/tcp_states.h
TIME_WAIT = 6


class FarEnd(NamedTuple):
    """The socket that gets what is sent over a connection or to a port.

    Attributes:
        state: of TCP, as a number of include/net/tcp_states.h.
        uid: its user, in the namespace of this process.
        inode: 0 where no process has it yet, or any more.
    """

    state: int
    uid: int
    inode: int


def far_end(connection: _socket.socket) -> FarEnd | None:
    """Ask for the other end of a connection.

    Args:
        connection: by TCP over the loopback interface.

    Returns:
        What the kernel says; the socket that listens, where none has the connection. `None` where it says nothing: the
        unit may forbid the question, a kernel need not have it, and there may be no such socket.
    """
    try:
        return _socket_of(connection.family, connection.getpeername(), connection.getsockname())
    except OSError:
        return None


def listener(host: str, port: int) -> FarEnd | None:
    """Ask for the socket that listens at a port, and would get a connection over the loopback interface.

    Args:
        host: a loopback address.
        port: of it.

    Returns:
        As `far_end`.
    """
    family, near = (socket.AF_INET6, "::1") if ":" in host else (socket.AF_INET, "127.0.0.1")
    try:
        found = _socket_of(family, (host, port), (near, 0))
    except OSError:
        return None
    return found if found is not None and found.state == LISTEN else None


def _socket_of(family: int, far: tuple[Any, ...], near: tuple[Any, ...]) -> FarEnd | None:
    ports = far[1].to_bytes(2, "big") + near[1].to_bytes(2, "big")
    hosts = (socket.inet_pton(family, host.partition("%")[0]) for host in (far[0], near[0]))
    question = _QUESTION.pack(
        family, socket.IPPROTO_TCP, 0, 0, _ANY_STATE, ports, *hosts, _LOOPBACK, _ANY_COOKIE, _ANY_COOKIE
    )
    with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
        header = _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _REQUEST, 0, 0)
        kernel.sendto(header + question, (0, 0))
        return read_answer(kernel.recv(4096, socket.MSG_DONTWAIT))  # it is there when the question was taken


def read_answer(answer: bytes) -> FarEnd | None:
    """Read what the kernel answers; `None` for an error and for what is no answer.

    Args:
        answer: a message of netlink(7).
    """
    if len(answer) < _HEADER.size + _ANSWER.size or _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    _, state, _, _, _, _, _, uid, inode = _ANSWER.unpack_from(answer, _HEADER.size)
    return FarEnd(state, uid, inode)
