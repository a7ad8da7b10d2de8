"""Who listens at a port of this machine: root, tor's user and this process's own user are believed, nobody else.

While tor is down, any local user can listen on a TCP port above 1023 in its place, and be asked for passwords, be told
secrets and answer what he likes.
"""

import os
import pwd
import socket
import stat
import struct
from collections.abc import Iterable, Iterator
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from onionmx.errors import ControlError

_LISTEN = "0A"  # the state in /proc/net/tcp (proc(5)); include/net/tcp_states.h
_CREDENTIALS = struct.Struct("3i")  # pid, uid, gid (unix(7), SO_PEERCRED)
_TABLES = ("/proc/net/tcp", "/proc/net/tcp6")
_WRITABLE = stat.S_IWGRP | stat.S_IWOTH


def believed_users(tor_user: str) -> frozenset[int]:
    """The numbers of root, of this process's user and of tor's.

    Args:
        tor_user: name or number; a name that this machine does not know counts for nobody.
    """
    own = {0, os.geteuid()}
    if tor_user.isdecimal():
        return frozenset(own | {int(tor_user)})
    try:
        return frozenset(own | {pwd.getpwnam(tor_user).pw_uid})
    except KeyError:
        return frozenset(own)


def check_unix_peer(connection: socket.socket, believed: frozenset[int]) -> None:
    """Refuse a unix socket that another user listens on.

    Raises:
        ControlError: it is nobody's who is believed.
    """
    raw = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size)
    _, uid, _ = _CREDENTIALS.unpack(raw)
    _check([uid], believed)


def check_tcp_listener(host: str, port: int, believed: frozenset[int], *, is_connected: bool = False) -> None:
    """Refuse a loopback port that another user listens on; a port of another machine is believed by its address.

    To be called before the connection is made and after: the listener may change in between.

    Args:
        host: an IP address.
        port: of it.
        believed: users whose port it may be.
        is_connected: there is a connection, so that somebody must be listening.

    Raises:
        ControlError: it is nobody's who is believed, or it cannot be told whose.
    """
    address = ip_address(host)
    if not address.is_loopback:
        return
    owners: list[int] = []
    for table in _TABLES:
        try:
            owners += listeners(Path(table).read_text("ascii").splitlines()[1:], address, port)
        except FileNotFoundError:
            continue  # a kernel without IPv6
        except (OSError, ValueError) as error:
            raise ControlError(f"it cannot be told whose port this is: {table}: {error}") from error
    if is_connected and not owners:
        raise ControlError(f"it cannot be told whose port this is: {' and '.join(_TABLES)} have no listener there")
    _check(owners, believed)


def listeners(rows: Iterable[str], address: IPv4Address | IPv6Address, port: int) -> Iterator[int]:
    """The users that listen at an address, or at all addresses, of rows of /proc/net/tcp or tcp6 (proc(5)).

    Raises:
        ValueError: a row is not of that form.
    """
    for row in rows:
        fields = row.split()
        try:
            where, state, uid = fields[1], fields[3], int(fields[7])
            raw, _, number = where.partition(":")
            words = struct.unpack(f">{len(raw) // 8}I", bytes.fromhex(raw))
            local = ip_address(struct.pack(f"={len(words)}I", *words))
            is_port = int(number, 16) == port
        except (IndexError, ValueError, struct.error) as error:
            raise ValueError(f"{row!r} is not a socket") from error
        if state == _LISTEN and is_port and (_plain(local) == address or local.is_unspecified):
            yield uid


def check_file(path: Path, believed: frozenset[int]) -> None:
    """Refuse a file that others can put in place or change.

    Raises:
        ControlError: it, or a folder above it, belongs to somebody else or can be written by all.
    """
    try:
        for place in (found := path.resolve(strict=True), *found.parents):
            status = place.stat()
            is_shared = status.st_mode & _WRITABLE and not (
                stat.S_ISDIR(status.st_mode) and status.st_mode & stat.S_ISVTX
            )
            if status.st_uid not in believed or is_shared:
                raise ControlError(f"{place} can be changed by others than root, tor and you (user {status.st_uid})")
    except OSError as error:
        raise ControlError(f"{path} cannot be looked at: {error.strerror}") from error


def _plain(address: IPv4Address | IPv6Address) -> IPv4Address | IPv6Address:
    return getattr(address, "ipv4_mapped", None) or address


def _check(owners: list[int], believed: frozenset[int]) -> None:
    strangers = [uid for uid in owners if uid not in believed]
    if strangers:
        raise ControlError(
            f"user {strangers[0]} listens there, who is neither root nor tor's user: nothing was said to it; if it is "
            "tor, set tor.user"
        )
