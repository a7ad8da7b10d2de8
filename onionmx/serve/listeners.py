"""The sockets on which the lookup daemon listens: those that systemd hands over, and those of the configuration.

A socket from systemd belongs to the protocol that its name says: socketmap, tcp-table, readsocket, http, control. All
sockets of one unit have one name; where that is none of these, the protocol is the one that the configuration has at
the socket's address. Protocols that get a socket this way do not listen elsewhere as well.
"""

import contextlib
import socket
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from pathlib import Path

from onionmx.config import UNIX, ServeSection
from onionmx.errors import ConfigurationError
from onionmx.net.listen import bind_address, tell_unserved, written_address

CONTROL_MODE = 0o600
BACKLOG = 1024
"""Connections that wait until the daemon takes them; systemd's own sockets have as many by `Backlog=`."""


class Protocol(StrEnum):
    """What is spoken on a socket; the values are the names for systemd."""

    SOCKETMAP = "socketmap"
    TCP_TABLE = "tcp-table"
    READSOCKET = "readsocket"
    HTTP = "http"
    CONTROL = "control"


@dataclass(frozen=True, slots=True)
class LookupListener:
    """A bound socket.

    Attributes:
        protocol: what is spoken on it.
        socket: bound; listening already or not.
        path: file of a unix socket to remove at the end; none for a socket that systemd owns.
    """

    protocol: Protocol
    socket: socket.socket
    path: Path | None = None


def open_listeners(settings: ServeSection, inherited: Iterable[tuple[str, socket.socket]] = ()) -> list[LookupListener]:
    """All sockets of the daemon.

    Args:
        settings: addresses, mode and owner.
        inherited: sockets from systemd with their names.

    Raises:
        ConfigurationError: an address cannot be bound, or nobody knows what to speak on a socket from systemd.
    """
    configured = {
        Protocol.SOCKETMAP: settings.socketmap_listen,
        Protocol.TCP_TABLE: settings.tcp_table_listen,
        Protocol.READSOCKET: settings.readsocket_listen,
        Protocol.HTTP: settings.http_listen,
        Protocol.CONTROL: (f"{UNIX}{settings.control}",),
    }
    listeners = [LookupListener(_protocol_of(name, bound, configured), bound) for name, bound in inherited]
    served = {listener.protocol for listener in listeners}
    handed_over = [listener.socket for listener in listeners]
    try:
        for protocol, texts in configured.items():
            if protocol in served:
                tell_unserved(texts, handed_over)
                continue
            for text in texts:
                listeners.append(_open(protocol, text, settings))  # noqa: PERF401 -- what is open gets closed
    except ConfigurationError:
        close_listeners(listeners)
        raise
    return listeners


def close_listeners(listeners: Iterable[LookupListener]) -> None:
    """Close sockets, and remove the files of those that are ours."""
    for listener in listeners:
        listener.socket.close()
        if listener.path is not None:
            listener.path.unlink(missing_ok=True)


def _open(protocol: Protocol, text: str, settings: ServeSection) -> LookupListener:
    if protocol is not Protocol.CONTROL:
        return LookupListener(protocol, *bind_address(text, int(settings.unix_mode, 8), settings.unix_owner))
    with contextlib.suppress(OSError):  # bind() says what is wrong
        Path(settings.control).parent.mkdir(parents=True, exist_ok=True)
    return LookupListener(protocol, *bind_address(text, CONTROL_MODE))


def _protocol_of(name: str, bound: socket.socket, configured: Mapping[Protocol, Sequence[str]]) -> Protocol:
    if name in set(Protocol):
        return Protocol(name)
    address = written_address(bound)
    for protocol, texts in configured.items():
        if address in texts:
            return protocol
    raise ConfigurationError(
        f"systemd has handed over a socket at {address}, named {name!r}: expected one of {', '.join(Protocol)} as "
        "FileDescriptorName=, or an address that the configuration has under [serve]"
    )
