"""The rights of root, given up for good: no user, group or capability is kept that would lead back.

The route helper loads this for each message, so it imports next to nothing.
"""

from __future__ import annotations

import os
import pwd
import sys
from errno import EPERM

from onionmx.defaults import USER
from onionmx.errors import TemporaryError

TYPE_CHECKING = False  # typing itself would cost the route helper 4 ms
if TYPE_CHECKING:
    from collections.abc import Iterable

NOBODY = 65534
"""The user and group that own nothing, on every Linux (/proc/sys/kernel/overflowuid)."""
shared_users: set[int] = set()
"""What root became here although others are that too: what belongs to such a user is not this process's own."""
_STATUS = "/proc/self/status"
_VERSION_3 = 0x20080522  # of capset(2): two words for each set
_SET_BYTES = 24  # three sets, two words each


def give_up_root() -> None:
    """Where this process is root, become `USER`, or `NOBODY` where there is no such user. Others keep no capability.

    Raises:
        TemporaryError: that is not possible, so nothing may be done with the rights that are left.
    """
    name = USER
    try:
        if 0 not in os.getresuid():
            _drop_capabilities()
            return
        try:
            user = pwd.getpwnam(USER)
            uid, gid = user.pw_uid, user.pw_gid
        except KeyError:
            name, uid, gid = f"number {NOBODY}", NOBODY, NOBODY
            shared_users.add(uid)
        if not uid:
            raise PermissionError(EPERM, f"{USER} is another name of root")
        become(uid, gid, ())
    except (OSError, ImportError) as error:
        why = getattr(error, "strerror", None) or error
        raise TemporaryError(f"root's rights cannot be given up to be the user {name}: {why}") from error


def become(uid: int, gid: int, groups: Iterable[int]) -> None:
    """Be another user from now on; only root can.

    Args:
        uid: his number, not 0.
        gid: his group.
        groups: his supplementary groups.

    Raises:
        OSError: that is not possible, or there would be a way back; what was given up already stays given up.
        ImportError: the same, of a Python without ctypes.
    """
    os.seteuid(0)  # where it was only kept for later
    inherited, *_ = _capability_sets()
    if inherited:
        import ctypes  # noqa: F401, PLC0415 -- as long as root can read it
    os.setgroups(sorted(groups))
    os.setresgid(gid, gid, gid)
    os.setresuid(uid, uid, uid)
    _drop_capabilities()  # the kernel leaves those to be inherited, and under securebits all (capabilities(7))
    try:
        os.seteuid(0)
    except PermissionError:
        return
    raise PermissionError(EPERM, "the system gives them back")


def _drop_capabilities() -> None:
    if not any(_capability_sets()):
        return
    from ctypes import CDLL, get_errno  # noqa: PLC0415 -- 10 ms; hardly anybody has any

    header = _VERSION_3.to_bytes(4, sys.byteorder) + bytes(4)
    if CDLL(None, use_errno=True).capset(header, bytes(_SET_BYTES)) or any(_capability_sets()):
        raise PermissionError(get_errno() or EPERM, "capabilities cannot be given up")


def _capability_sets() -> list[bytes]:
    """CapInh, CapPrm, CapEff and CapAmb of this process (proc(5)), empty for none; unknown, and empty, without /proc.

    CapBnd is left out: it limits what programs may get, and gives nothing.
    """
    try:
        with open(_STATUS, "rb", buffering=0) as file:  # noqa: PTH123 -- pathlib would cost 10 ms
            words = file.read().partition(b"CapInh:")[2].split(None, 9)
    except OSError:
        return [b""]
    return [words[at].strip(b"0") for at in (0, 2, 4, 8)]
