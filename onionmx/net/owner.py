"""Who listens on a port of this machine: root, a service's own user and this process's user are believed, nobody else.

While a service is down, any local user can listen in its place on a port above 1023, and be given mail, be told
secrets and answer what he likes. tor's DNSPort, which sets SO_REUSEADDR, he can even take over while tor runs.

    listener = ListenerOwner("127.0.0.1", 9050, ("debian-tor",))  # refuses somebody else's
    ...connect, or ask by UDP and take the answer...
    listener.confirm(connection)  # refuses what is, or became in between, somebody else's

A port below `net.ipv4.ip_unprivileged_port_start` (ip(7); 1024) is root's to give, and a port of another machine is
believed by its address.

The route helper loads this, so it imports next to nothing.
"""

from __future__ import annotations

# socket, the module over it, loads enum and selectors, a third of the time that the route helper may take.
import _socket
import os
import sys

from onionmx.errors import OwnerError

TYPE_CHECKING = False  # typing itself would cost the route helper 4 ms
if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

_TABLES = "/proc/self/net/"
"""Which is there with ProcSubset=pid too (systemd.exec(5)), where /proc/net is not."""
_ROW = 150  # bytes of a row of TCP; to read more at once makes the kernel look for more, which takes it milliseconds
_AT_ONCE = 65536  # bytes
_LOOKS = 5
"""The kernel gives out a page of rows at a time: a socket that somebody closes in between hides the row of another."""
_LISTEN = b"0A"  # include/net/tcp_states.h
_LOCAL, _STATE, _UID, _INODE = 1, 3, 7, 9  # columns (proc(5))
_FIRST_UNPRIVILEGED = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_MAPPED = bytes(10) + b"\xff\xff"  # in front of an IPv4 address as an IPv6 one (RFC 4291 section 2.5.5.2)
_LOOPBACK_4 = 127  # the first byte of all (RFC 1122 section 3.2.1.3)
_LOOPBACK_6 = bytes(15) + b"\1"


class ListenerOwner:
    """The sockets that what is sent to a port can reach, as they are before it is sent.

    Args:
        host: an IP address.
        users: names or numbers of users who may listen there; root and this process's own may always. A name that
            this machine does not know counts for nobody.
        is_udp: the port is one of UDP.

    Raises:
        OwnerError: somebody else listens there, or it cannot be told who.
    """

    def __init__(self, host: str, port: int, users: Sequence[str], *, is_udp: bool = False) -> None:
        self._users = users
        self._is_udp = is_udp
        self._where = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        self._places = _places(host, port) if port >= _first_unprivileged_port() else {}
        self._sockets = frozenset(_until_seen(self._look) if self._places else ())
        self._check_ends()

    @property
    def is_looked_at(self) -> bool:
        """Whether it is a port of this machine that others than root could give."""
        return bool(self._places)

    @property
    def seen(self) -> frozenset[tuple[int, bytes]]:
        """Users and inodes of the sockets that were there before; where they are the same, one look confirms both."""
        return self._sockets

    def confirm(self, connection: _socket.socket | None = None) -> None:
        """Look again, when there is a connection or an answer.

        Args:
            connection: to the port, by TCP; its other end is looked at too.

        Raises:
            OwnerError: somebody else listens there, it cannot be told who, or others than before.
        """
        if not self._places:
            return
        for _ in range(_LOOKS):
            now = self._look()
            if self._sockets and self._sockets <= now:
                self._check_ends(connection)
                return
        if not now:
            raise OwnerError(f"it cannot be told who listens at {self._where}: {_TABLES} shows nobody there")
        raise OwnerError(f"who listens at {self._where} changed just then")

    def _look(self) -> frozenset[tuple[int, bytes]]:
        found = frozenset(_found(self._where, self._places, is_udp=self._is_udp))
        for uid, _ in found:
            if uid != 0:
                from onionmx.net.users import check_user  # noqa: PLC0415 -- tor opens its ports as root, mostly

                check_user(uid, self._users, f"listens at {self._where}")
        return found

    def _check_ends(self, connection: _socket.socket | None = None) -> None:
        if self._is_udp or not self._places:
            return
        from onionmx.net.ends import check_end, check_ends  # noqa: PLC0415 -- the route helper asks by UDP alone

        if connection is not None and check_end(connection, self._where, self._users):
            return
        remote = _ends_of(connection) if connection is not None else ()
        check_ends(f"{_TABLES}tcp", self._where, self._places, self._users, remote)


def owners(host: str, port: int, *, is_udp: bool = False) -> tuple[int, ...] | None:
    """The users whose sockets can be reached at a port; `None` for one that root gave, or of another machine.

    Args:
        host: an IP address.
        is_udp: the port is one of UDP.

    Raises:
        OwnerError: it cannot be told.
    """
    places = _places(host, port) if port >= _first_unprivileged_port() else {}
    if not places:
        return None
    return tuple(uid for uid, _ in _until_seen(lambda: _found(f"port {port}", places, is_udp=is_udp)))


def _until_seen(look: Callable[[], Collection[tuple[int, bytes]]]) -> Collection[tuple[int, bytes]]:
    """Look as often as it takes to be believed when nothing is seen."""
    for _ in range(_LOOKS - 1):
        if found := look():
            return found
    return look()


def _found(where: str, places: Mapping[str, Sequence[bytes]], *, is_udp: bool) -> list[tuple[int, bytes]]:
    found: list[tuple[int, bytes]] = []
    for version, written in places.items():
        table = f"{_TABLES}{'udp' if is_udp else 'tcp'}{version}"
        try:
            for each in sockets(_rows(table, _AT_ONCE if is_udp else _ROW), written, is_udp=is_udp):
                found.append(each)
                if not is_udp:
                    return found  # nobody else can listen there besides (socket(7), SO_REUSEADDR)
        except FileNotFoundError:
            continue  # a kernel without IPv6
        except (OSError, ValueError) as error:
            raise OwnerError(f"it cannot be told who listens at {where}: {table}: {error}") from error
    return found


def sockets(rows: Iterable[bytes], places: Sequence[bytes], *, is_udp: bool) -> Iterator[tuple[int, bytes]]:
    """Users and inodes of the sockets at some places, of a table such as /proc/net/tcp with its heading (proc(5)).

    Args:
        places: local addresses and ports, as the table writes them.
        is_udp: the table is one of UDP, where each socket may be sent something. In one of TCP those that listen are
            before all others (Linux, Documentation/networking/proc_net_tcp.rst), which are not looked at.

    Raises:
        ValueError: a row is not of that form.
    """
    table = iter(rows)
    next(table, None)
    for row in table:
        columns = row.split()
        try:
            if columns[_STATE] != _LISTEN and not is_udp:
                return
            if columns[_LOCAL] in places:
                yield int(columns[_UID]), columns[_INODE]
        except (IndexError, ValueError) as error:
            raise ValueError(f"{row!r} is not a socket") from error


def _rows(path: str, at_once: int) -> Iterator[bytes]:
    descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
    try:
        rest = b""
        while data := os.read(descriptor, at_once):
            *rows, rest = (rest + data).split(b"\n")
            yield from rows
    finally:
        os.close(descriptor)


def _ends_of(connection: _socket.socket) -> tuple[bytes, ...]:
    """Our end of a connection, as the tables may have it at the other end: of IPv4 also as that of a socket of IPv6."""
    host, port = connection.getsockname()[:2]
    if ":" in host:
        address = _socket.inet_pton(_socket.AF_INET6, host.partition("%")[0])
    else:
        address = _MAPPED + _socket.inet_pton(_socket.AF_INET, host)
    addresses = (address, address[12:]) if address.startswith(_MAPPED) else (address,)
    return tuple(b"%s:%04X" % (_written(each), port) for each in addresses)


def _places(host: str, port: int) -> dict[str, tuple[bytes, ...]]:
    """Where a socket is bound that a loopback address reaches, as the tables write it, by their ending.

    Nowhere for other addresses.
    """
    if ":" in host:
        address = _socket.inet_pton(_socket.AF_INET6, host.partition("%")[0])
        address = address if any(address) else _LOOPBACK_6  # to connect to :: is to connect to ::1
    else:
        address = _MAPPED + _socket.inet_pton(_socket.AF_INET, host)
        address = address if any(address[12:]) else _MAPPED + b"\x7f\0\0\1"
    places: dict[str, tuple[bytes, ...]] = {}
    if address.startswith(_MAPPED) and address[12] == _LOOPBACK_4:
        places[""] = address[12:], bytes(4)
    elif address != _LOOPBACK_6:
        return {}
    places["6"] = address, bytes(16)
    return {
        version: tuple(b"%s:%04X" % (_written(each), port) for each in addresses)
        for version, addresses in places.items()
    }


def _written(address: bytes) -> bytes:
    """Words of 32 bits, each as a number of this machine."""
    words = (address[at : at + 4] for at in range(0, len(address), 4))
    return b"".join(b"%08X" % int.from_bytes(word, sys.byteorder) for word in words)


def _first_unprivileged_port() -> int:
    """Where it cannot be read, as with ProcSubset=pid, it counts as the kernel's default."""
    return int(_read(_FIRST_UNPRIVILEGED) or 1024)


def _read(path: str) -> bytes:
    try:
        with open(path, "rb") as file:  # noqa: PTH123
            return file.read()
    except OSError:
        return b""
