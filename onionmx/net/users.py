"""Who is believed: root, this process's user and a service's own, in namespaces too.

Inside a user namespace (user_namespaces(7); PrivateUsers= of systemd) the kernel shows all users of the outside but a
few as one and the same number: which of them it is cannot be told, unless the believed users have that number.
"""

from __future__ import annotations

import _socket  # as in onionmx.net.owner
import os
import pwd
import sys

from onionmx.errors import OwnerError
from onionmx.privileges import shared_users

TYPE_CHECKING = False  # typing itself would cost the route helper 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Sequence

_OVERFLOW = "/proc/sys/kernel/overflowuid"
_UID_MAP = "/proc/self/uid_map"
_ALL_USERS = 0xFFFFFFFF  # how many the first namespace has


def check_unix_peer(connection: _socket.socket, path: str, users: Sequence[str]) -> None:
    """Refuse a connection to a unix socket that somebody else listens on.

    Inside a user namespace the folder decides: one that only its owner may write, in folders of root alone, is his to
    whom root gave it.

    Args:
        connection: to the socket.
        users: as for `ListenerOwner`.

    Raises:
        OwnerError: it is nobody's who is believed.
    """
    raw = connection.getsockopt(_socket.SOL_SOCKET, _socket.SO_PEERCRED, 12)
    uid = int.from_bytes(raw[4:8], sys.byteorder)  # pid, uid, gid (unix(7))
    try:
        check_user(uid, users, f"listens at {path}")
    except OwnerError:
        if uid != hidden_user() or not _is_given_by_root(os.path.dirname(os.path.realpath(path))):  # noqa: PTH120
            raise


def check_user(uid: int, users: Sequence[str], does: str) -> None:
    """Refuse a user who is neither root, nor of this process, nor among the named.

    Args:
        uid: his number.
        users: as for `ListenerOwner`.
        does: what he does, for the message.

    Raises:
        OwnerError: another, or one who cannot be told from others.
    """
    if is_believed(uid, users):
        return
    believed = " or ".join(("root", *users))
    if uid == hidden_user():
        raise OwnerError(
            f"it cannot be told whether {believed} or another user {does}: in the user namespace of this process all "
            f"of them are number {uid}; use a unix socket or a port below 1024, restart the service if it runs as "
            "root at first, or switch PrivateUsers off in the unit"
        )
    raise OwnerError(f"user {uid} {does}, not {believed}")


def is_believed(uid: int, users: Sequence[str]) -> bool:
    """Whether this is root, this process's user or one of the named, and surely so: a hidden one only by his number.

    Where root became nobody, who is many, being this process's user is not enough.

    Args:
        uid: a user's number.
        users: as for `ListenerOwner`.
    """
    if uid == 0:
        return True
    if uid == hidden_user():
        return str(uid) in users
    return (uid == os.geteuid() and uid not in shared_users) or uid in numbers(users)


def numbers(users: Iterable[str]) -> Iterator[int]:
    """The numbers of users named by name or number; one that this machine does not know has none."""
    for user in users:
        if user.isascii() and user.isdecimal():
            yield int(user)
            continue
        try:
            yield pwd.getpwnam(user).pw_uid
        except KeyError:
            continue


def hidden_user() -> int | None:
    """The number that users have whom this process's user namespace does not know; `None` where it knows all.

    Where that cannot be read, it counts as one that does not.
    """
    if any(int(row.split()[2]) == _ALL_USERS for row in _read(_UID_MAP).splitlines()):
        return None
    return int(_read(_OVERFLOW) or 65534)


def _is_given_by_root(folder: str) -> bool:
    try:
        if os.stat(folder).st_mode & 0o022:  # noqa: PTH116
            return False
        while folder != "/":
            folder = os.path.dirname(folder)  # noqa: PTH120
            status = os.stat(folder)  # noqa: PTH116
            if status.st_uid != 0 or status.st_mode & 0o022:
                return False
    except OSError:
        return False
    return True


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return b""
