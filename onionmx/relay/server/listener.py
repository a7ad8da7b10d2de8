"""Sockets for the server: TCP on loopback, unix sockets with a mode, and those that systemd hands over."""

from __future__ import annotations

import contextlib
import socket
from dataclasses import dataclass
from typing import TYPE_CHECKING

from onionmx.errors import ConfigurationError

if TYPE_CHECKING:
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class Listener:
    """A bound socket and what is spoken on it.

    Attributes:
        socket: bound; listening already or not.
        is_lmtp: LMTP rather than SMTP.
        path: file of a unix socket to remove when the server closes; none for a socket that another process owns.
    """

    socket: socket.socket
    is_lmtp: bool = False
    path: Path | None = None


def listen_tcp(host: str, port: int, *, is_lmtp: bool = False, is_shared: bool = False) -> Listener:
    """Bind a TCP socket.

    Args:
        host: an IPv4 or IPv6 address.
        port: 0 lets the system choose.
        is_lmtp: LMTP rather than SMTP.
        is_shared: other processes bind the same port, and the kernel spreads the connections (SO_REUSEPORT).

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    bound = socket.socket(socket.AF_INET6 if ":" in host else socket.AF_INET, socket.SOCK_STREAM)
    try:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        if is_shared:
            bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        if bound.family == socket.AF_INET6:
            bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
        bound.bind((host, port))
    except (OSError, OverflowError) as error:
        bound.close()
        raise ConfigurationError(f"cannot listen on {host} port {port}: {error}") from error
    return Listener(bound, is_lmtp)


def listen_unix(path: Path, *, mode: int = 0o660, is_lmtp: bool = False) -> Listener:
    """Bind a unix socket, in the place of one that nobody listens on any more.

    Args:
        path: of the socket.
        mode: bits of the file; whoever may write to it may send mail.
        is_lmtp: LMTP rather than SMTP.

    Raises:
        ConfigurationError: the path cannot be bound, or another server listens there.
    """
    bound = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        if path.is_socket():
            _remove_stale(path)
        bound.bind(str(path))
        path.chmod(mode)  # before listen(), so nobody got in by the mode of bind()
    except OSError as error:
        bound.close()
        raise ConfigurationError(f"cannot listen on {path}: {error}") from error
    return Listener(bound, is_lmtp, path)


def _remove_stale(path: Path) -> None:
    with contextlib.closing(socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)) as probe:
        try:
            probe.connect(str(path))
        except ConnectionRefusedError:
            path.unlink()
            return
    raise OSError("another server listens there")
