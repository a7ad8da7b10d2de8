"""Sockets to listen on: TCP, and unix sockets with mode and owner."""

import contextlib
import grp
import logging
import os
import pwd
import socket
import stat
from collections.abc import Iterable
from errno import EINVAL
from ipaddress import IPv6Address
from pathlib import Path

from onionmx.config import UNIX, parse_socket
from onionmx.errors import ConfigurationError

_logger = logging.getLogger(__name__)


def written_address(bound: socket.socket) -> str:
    """The address of a bound socket as the configuration writes it: `unix:/path`, `IP:PORT` or `[IPV6]:PORT`."""
    address = bound.getsockname()
    if bound.family == socket.AF_UNIX:
        return f"unix:{address}"
    host, port = address[:2]
    return f"[{IPv6Address(host)}]:{port}" if bound.family == socket.AF_INET6 else f"{host}:{port}"


def tell_unserved(configured: Iterable[str], handed_over: Iterable[socket.socket]) -> None:
    """Say at which configured addresses nobody listens, as systemd has handed over other sockets in their place."""
    there = set(map(written_address, handed_over))
    if missing := [address for address in configured if address not in there]:
        _logger.warning(
            "nobody listens on %s: systemd has handed over %s alone; add it to the socket unit as ListenStream=, or "
            "take it out of the configuration",
            ", ".join(missing),
            ", ".join(sorted(there)),
        )


def bind_address(text: str, mode: int, owner: str = "") -> tuple[socket.socket, Path | None]:
    """Bind what the configuration names.

    Args:
        text: `IP:PORT`, or `unix:/path`.
        mode: as for `bind_unix`.
        owner: the same.

    Returns:
        The socket, and the file that is to be removed at the end; `None` for TCP.

    Raises:
        ConfigurationError: it cannot be bound.
    """
    if not text.startswith(UNIX):
        return bind_tcp(*parse_socket(text)), None
    path = Path(text.removeprefix(UNIX))
    return bind_unix(path, mode, owner), path


def bind_tcp(host: str, port: int) -> socket.socket:
    """Bind a TCP socket.

    Args:
        host: an IPv4 or IPv6 address.
        port: 0 lets the system choose.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        words = getattr(error, "strerror", None) or error
        if isinstance(error, PermissionError):
            words = f"{words}; a port below 1024 comes from the socket unit (docs/units.md)"
        raise ConfigurationError(f"cannot listen on {host} port {port}: {words}") from error
    return bound


def bind_unix(path: Path, mode: int, owner: str = "") -> socket.socket:
    """Bind a unix socket; one at that path that nobody listens on any more is removed first.

    Args:
        mode: bits of the file; anyone who may write to it may connect.
        owner: `USER`, `USER:GROUP` or `:GROUP`; empty for this process's own.

    Raises:
        ConfigurationError: the path cannot be bound, another server listens there, or the owner cannot be set.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        with contextlib.suppress(FileNotFoundError):
            if stat.S_ISSOCK(path.lstat().st_mode):
                _remove_stale(path)
        bound.bind(str(path))
        try:
            # Before listen(), so nobody got in by the mode of bind().
            _give(path, mode, owner)
        except (OSError, ConfigurationError):
            path.unlink()
            raise
    except OSError as error:
        bound.close()
        raise ConfigurationError(f"cannot listen on {path}: {error.strerror or error}") from error
    except ConfigurationError:
        bound.close()
        raise
    return bound


def _give(path: Path, mode: int, owner: str) -> None:
    """Set mode and owner of the socket just bound, and of nothing that somebody has put in its place since."""
    numbers = _numbers(owner) if owner else None
    opened = os.open(path, os.O_PATH | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        status = os.fstat(opened)
        if not stat.S_ISSOCK(status.st_mode) or status.st_uid != os.geteuid() or status.st_nlink != 1:
            raise OSError("something else was put in place of the socket")
        itself = f"/proc/self/fd/{opened}"
        os.chmod(itself, mode)  # noqa: PTH101 -- no path of a file
        if numbers:
            try:
                os.chown(itself, *numbers)
            except OSError as error:
                if error.errno == EINVAL:  # user_namespaces(7)
                    raise OSError(
                        f"it cannot be given to {owner}, whom the user namespace of this process does not know: set "
                        "PrivateUsers=no in the unit, or have its socket unit make the socket"
                    ) from error
                raise
    finally:
        os.close(opened)


def _remove_stale(path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError("another server listens there")


def _numbers(owner: str) -> tuple[int, int]:
    """User and group id; -1 leaves one as it is (chown(2))."""
    user, _, group = owner.partition(":")
    try:
        return pwd.getpwnam(user).pw_uid if user else -1, grp.getgrnam(group).gr_gid if group else -1
    except KeyError as error:
        raise ConfigurationError(f"owner {owner!r} of a socket: there is no such user or group here") from error
