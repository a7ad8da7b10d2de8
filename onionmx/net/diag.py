"""The other end of one connection within this machine, asked of the kernel by sock_diag(7).

To find it in the tables of all connections (proc(5)) takes the kernel milliseconds; this takes microseconds.
"""

from __future__ import annotations

import socket
import struct
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    import _socket

_NETLINK_SOCK_DIAG = 4  # include/uapi/linux/netlink.h
_SOCK_DIAG_BY_FAMILY = 20  # include/uapi/linux/sock_diag.h
_REQUEST = 1  # NLM_F_REQUEST: exactly one socket is asked for
_LOOPBACK = 1  # LOOPBACK_IFINDEX of include/net/flow.h: what the kernel finds is what a packet of ours would reach
_ANY_COOKIE = 0xFFFFFFFF
_HEADER = struct.Struct("=IHHII")  # nlmsghdr: length, type, flags, sequence, port
_QUESTION = struct.Struct("=BBBBI 4s16s16s III")  # inet_diag_req_v2: what, states; ports, addresses; interface, cookie
_ANSWER = struct.Struct("=BBBB 48x 3I II")  # inet_diag_msg: family, state, ...; ...; uid, inode

LISTEN = 10  # include/net/tcp_states.h
TIME_WAIT = 6


class FarEnd(NamedTuple):
    """The socket that gets what is sent over a connection.

    Attributes:
        state: of TCP, as a number of include/net/tcp_states.h.
        uid: its user, in the namespace of this process.
        inode: 0 where no process has it yet, or any more.
    """

    state: int
    uid: int
    inode: int


def far_end(connection: _socket.socket) -> FarEnd | None:
    """Ask for it.

    Args:
        connection: by TCP over the loopback interface.

    Returns:
        What the kernel says; the socket that listens, where none has the connection. `None` where it says nothing: the
        unit may forbid the question, a kernel need not have it, and there may be no such socket.
    """
    try:
        far, near = connection.getpeername()[:2], connection.getsockname()[:2]
        ports = far[1].to_bytes(2, "big") + near[1].to_bytes(2, "big")
        hosts = (socket.inet_pton(connection.family, host.partition("%")[0]) for host, _ in (far, near))
        question = _QUESTION.pack(
            connection.family, socket.IPPROTO_TCP, 0, 0, 0xFFFFFFFF, ports, *hosts, _LOOPBACK, _ANY_COOKIE, _ANY_COOKIE
        )
        with socket.socket(socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_CLOEXEC, _NETLINK_SOCK_DIAG) as kernel:
            header = _HEADER.pack(_HEADER.size + len(question), _SOCK_DIAG_BY_FAMILY, _REQUEST, 0, 0)
            kernel.sendto(header + question, (0, 0))
            answer = kernel.recv(4096, socket.MSG_DONTWAIT)  # it is there when the question was taken
    except OSError:
        return None
    return read_answer(answer)


def read_answer(answer: bytes) -> FarEnd | None:
    """Read what the kernel answers; `None` for an error and for what is no answer.

    Args:
        answer: a message of netlink(7).
    """
    if len(answer) < _HEADER.size + _ANSWER.size or _HEADER.unpack_from(answer)[1] != _SOCK_DIAG_BY_FAMILY:
        return None
    _, state, _, _, _, _, _, uid, inode = _ANSWER.unpack_from(answer, _HEADER.size)
    return FarEnd(state, uid, inode)
