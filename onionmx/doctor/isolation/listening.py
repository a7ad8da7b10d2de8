"""Which process listens at a port or a unix socket, in whatever namespaces it is."""

import os
import re
import socket
import struct
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

from onionmx.doctor.isolation.process import PROC, Process, Seen
from onionmx.errors import TemporaryError

IP = IPv4Address | IPv6Address
_LISTEN = "0A"  # include/net/tcp_states.h
_LOCAL, _STATE, _INODE = 1, 3, 9  # columns of /proc/PID/net/tcp (proc(5))
_CREDENTIALS = struct.Struct("=iII")  # SO_PEERCRED: pid, uid, gid (unix(7))
_TIMEOUT = 5.0  # seconds; the kernel connects unix sockets at once, unless the queue is full


@dataclass(frozen=True, slots=True)
class Listener:
    """Somebody listens.

    Attributes:
        process: who; `None` where no process that has the socket can be seen.
    """

    process: Process | None


def at_path(path: Path, seen: Seen) -> Listener | None:
    """Who listens at a unix socket; `None` if nobody does.

    Raises:
        TemporaryError: it cannot be told.
    """
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as connection:
        connection.settimeout(_TIMEOUT)
        try:
            connection.connect(str(path))
        except (FileNotFoundError, ConnectionRefusedError):
            return None
        except OSError as error:
            raise TemporaryError(f"unix:{path}: {error.strerror or error}") from error
        pid, _, _ = _CREDENTIALS.unpack(connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, _CREDENTIALS.size))
    return Listener(next((process for process in seen.all if process.pid == pid), None))


def at_port(address: IP, port: int, name: str, seen: Seen) -> Listener | None:
    """Who listens at a port: here, or in another network of this host that has the address.

    Args:
        address: an IP address.
        port: at it.
        name: of the program whose processes are looked for in other networks.
        seen: all processes.

    Returns:
        `None` where nobody listens there.

    Raises:
        TemporaryError: this user may not see whose the sockets are.
    """
    here = _sockets(seen.own, address, port)
    hidden = False
    for process in sorted(seen.all, key=lambda process: process.status.name != name):
        inodes = here
        if process.status.name == name and not address.is_loopback:
            inodes = here | _sockets(process, address, port)
        try:
            if inodes and not inodes.isdisjoint(_own_sockets(process)):
                return Listener(process)
        except PermissionError:
            hidden = True
    if hidden:
        raise TemporaryError(f"this user does not see which process listens at port {port} of {address}")
    return Listener(None) if here else None


def is_here(address: IP) -> bool:
    """Whether this system has the address: only then can a socket be bound to it (ip(7))."""
    family = socket.AF_INET6 if address.version == 6 else socket.AF_INET  # noqa: PLR2004 -- of IP
    try:
        with socket.socket(family, socket.SOCK_DGRAM) as probe:
            probe.bind((str(address), 0))
    except OSError:
        return False
    return True


def read_listening(text: str) -> Iterator[tuple[IP, int, str]]:
    """Addresses, ports and inodes of the sockets that listen, of a table such as /proc/net/tcp; junk says nothing."""
    for line in text.splitlines()[1:]:
        columns = line.split()
        if len(columns) <= _INODE or columns[_STATE] != _LISTEN:
            continue
        address, _, port = columns[_LOCAL].partition(":")
        try:
            yield _address(address), int(port, 16), columns[_INODE]
        except ValueError:
            continue


def _address(text: str) -> IP:
    """Of words of 32 bits, each as a number of this machine."""
    words = (int(text[at : at + 8], 16).to_bytes(4, sys.byteorder) for at in range(0, len(text), 8))
    found = ip_address(b"".join(words))
    return getattr(found, "ipv4_mapped", None) or found


def _sockets(process: Process, address: IP, port: int) -> set[str]:
    """The inodes of what listens there in the network of a process."""
    found = {
        (bound, inode)
        for table in ("tcp", "tcp6")
        for bound, number, inode in read_listening(_read(PROC / str(process.pid) / "net" / table))
        if number == port and (bound == address or bound.is_unspecified)
    }
    if not address.is_loopback and not _has_address(process, address):
        return set()
    return {inode for _, inode in found}


def _has_address(process: Process, address: IP) -> bool:
    """Whether the network of a process has the address."""
    folder = PROC / str(process.pid) / "net"
    if isinstance(address, IPv6Address):
        return any(line.startswith(f"{int(address):032x} ") for line in _read(folder / "if_inet6").splitlines())
    local = rf"\|-- {re.escape(str(address))}\n\s+/32 host LOCAL"
    return bool(re.search(local, _read(folder / "fib_trie")))


def _own_sockets(process: Process) -> Iterator[str]:
    """The inodes of the sockets that a process has.

    Raises:
        PermissionError: this user may not look.
    """
    folder = PROC / str(process.pid) / "fd"
    try:
        names = os.listdir(folder)  # noqa: PTH208 -- names are all that is needed
    except FileNotFoundError:
        return
    for name in names:
        try:
            target = os.readlink(folder / name)  # noqa: PTH115 -- it is no path
        except FileNotFoundError:
            continue
        if target.startswith("socket:["):
            yield target.removeprefix("socket:[").removesuffix("]")


def _read(path: Path) -> str:
    try:
        return path.read_text(errors="replace")
    except OSError:
        return ""
