"""Sockets for the server: TCP on loopback, unix sockets with a mode, and those that systemd hands over."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from onionmx.net.listen import bind_tcp, bind_unix

if TYPE_CHECKING:
    import socket
    from pathlib import Path


@dataclass(frozen=True, slots=True)
class SmtpListener:
    """A bound socket and what is spoken on it.

    Attributes:
        socket: bound; listening already or not.
        is_lmtp: LMTP rather than SMTP.
        path: file of a unix socket, to be removed by the one that bound it once no process serves it any more.
    """

    socket: socket.socket
    is_lmtp: bool = False
    path: Path | None = None


def listen_tcp(host: str, port: int, *, is_lmtp: bool = False) -> SmtpListener:
    """Bind a TCP socket.

    Args:
        host: an IPv4 or IPv6 address.
        port: 0 lets the system choose.
        is_lmtp: LMTP rather than SMTP.

    Raises:
        ConfigurationError: the address cannot be bound.
    """
    return SmtpListener(bind_tcp(host, port), is_lmtp)


def listen_unix(path: Path, *, mode: int = 0o660, owner: str = "", is_lmtp: bool = False) -> SmtpListener:
    """Bind a unix socket; one at that path that nobody listens on any more is removed first.

    Args:
        mode: bits of the file; anyone who may write to it may send mail.
        owner: see `onionmx.net.listen.bind_unix`.
        is_lmtp: LMTP rather than SMTP.

    Raises:
        ConfigurationError: the path cannot be bound, or another server listens there.
    """
    return SmtpListener(bind_unix(path, mode, owner), is_lmtp, path)
