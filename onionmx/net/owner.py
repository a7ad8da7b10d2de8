"""Who listens on a port of this machine: root, a service's own user and this process's user are believed, nobody else.

While a service is down, any local user can listen in its place on a port above 1023, and be given mail, be told
secrets and answer what he likes. tor's DNSPort, which sets SO_REUSEADDR, he can even take over while tor runs.

    listener = Listener("127.0.0.1", 9050, ("debian-tor",))  # refuses somebody else's
    ...connect, or ask by UDP and take the answer...
    listener.confirm()  # refuses what became somebody else's in between

A port below `net.ipv4.ip_unprivileged_port_start` (ip(7); 1024) is root's to give, and a port of another machine is
believed by its address. Inside a user namespace (user_namespaces(7); PrivateUsers= of systemd) the kernel shows all
users of the outside but a few as one and the same: whose such a port is cannot be told, unless `users` has that number.

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
    from collections.abc import Iterable, Iterator, Sequence

_TABLES = "/proc/self/net/"
"""Which is there with ProcSubset=pid too (systemd.exec(5)), where /proc/net is not."""
_ROW = 150  # bytes of a row of TCP; to read more at once makes the kernel look for more, which takes it milliseconds
_AT_ONCE = 65536  # bytes
_LISTEN = b"0A"  # include/net/tcp_states.h
_LOCAL, _STATE, _UID, _INODE = 1, 3, 7, 9  # columns (proc(5))
_FIRST_UNPRIVILEGED = "/proc/sys/net/ipv4/ip_unprivileged_port_start"
_OVERFLOW = "/proc/sys/kernel/overflowuid"
_UID_MAP = "/proc/self/uid_map"
_ALL_USERS = 0xFFFFFFFF  # how many the first namespace has
_MAPPED = bytes(10) + b"\xff\xff"  # in front of an IPv4 address as an IPv6 one (RFC 4291 section 2.5.5.2)
_LOOPBACK_4 = 127  # the first byte of all (RFC 1122 section 3.2.1.3)
_LOOPBACK_6 = bytes(15) + b"\1"


class Listener:
    """The sockets that what is sent to a port can reach, as they are before it is sent.

    Args:
        host: an IP address.
        port: of it.
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
        self._sockets = self._look() if self._places else ()

    @property
    def owners(self) -> tuple[int, ...]:
        """Users whose sockets were there, each a believed one; none where nobody listens or no look is needed."""
        return tuple(uid for uid, _ in self._sockets)

    def confirm(self) -> None:
        """Look again, when there is a connection or an answer.

        Raises:
            OwnerError: somebody else listens there, it cannot be told who, or others than before.
        """
        if not self._places:
            return
        now = self._look()
        if not now:
            raise OwnerError(f"it cannot be told who listens at {self._where}: {_TABLES} shows nobody there")
        if now != self._sockets:
            raise OwnerError(f"who listens at {self._where} changed just then")

    def _look(self) -> tuple[tuple[int, bytes], ...]:
        found: list[tuple[int, bytes]] = []
        for version, places in self._places.items():
            table = f"{_TABLES}{'udp' if self._is_udp else 'tcp'}{version}"
            try:
                for each in sockets(_rows(table, _AT_ONCE if self._is_udp else _ROW), places, is_udp=self._is_udp):
                    found.append(each)
                    if not self._is_udp:
                        break  # nobody else can listen there besides (socket(7), SO_REUSEADDR)
            except FileNotFoundError:
                continue  # a kernel without IPv6
            except (OSError, ValueError) as error:
                raise OwnerError(f"it cannot be told who listens at {self._where}: {table}: {error}") from error
            if found and not self._is_udp:
                break
        for uid, _ in found:
            check_user(uid, self._users, f"listens at {self._where}")
        return tuple(found)


def check_unix_peer(connection: _socket.socket, path: str, users: Sequence[str]) -> None:
    """Refuse a connection to a unix socket that somebody else listens on.

    Inside a user namespace the folder decides: one that only its owner may write, in folders of root alone, is his to
    whom root gave it.

    Args:
        connection: to the socket.
        path: of the socket.
        users: as for `Listener`.

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
        users: as for `Listener`.
        does: what he does, for the message.

    Raises:
        OwnerError: another, or one who cannot be told from others.
    """
    if uid in {0, os.geteuid()} or uid in numbers(users):
        return
    believed = " or ".join(("root", *users))
    if uid == hidden_user():
        raise OwnerError(
            f"it cannot be told whether {believed} or another user {does}: in the user namespace of this process all "
            f"of them are number {uid}; use a unix socket or a port below 1024, restart the service if it runs as "
            "root at first, or switch PrivateUsers off in the unit"
        )
    raise OwnerError(f"user {uid} {does}, not {believed}: nothing was said to it")


def numbers(users: Iterable[str]) -> Iterator[int]:
    """The numbers of users named by name or number; one that this machine does not know has none."""
    import pwd  # noqa: PLC0415 -- only where it is not root who listens

    for user in users:
        if user.isascii() and user.isdecimal():
            yield int(user)
            continue
        try:
            yield pwd.getpwnam(user).pw_uid
        except KeyError:
            continue


def hidden_user() -> int | None:
    """The number that users have whom this process's user namespace does not know; `None` where it knows all."""
    rows = [row.split() for row in _read(_UID_MAP).splitlines()]
    if not rows or any(int(row[2]) == _ALL_USERS for row in rows):
        return None
    return int(_read(_OVERFLOW) or 65534)


def sockets(rows: Iterable[bytes], places: Sequence[bytes], *, is_udp: bool) -> Iterator[tuple[int, bytes]]:
    """Users and inodes of the sockets at some places, of a table such as /proc/net/tcp with its heading (proc(5)).

    Args:
        rows: of the table.
        places: local addresses and ports, as the table writes them.
        is_udp: the table is one of UDP, where each socket may be sent something. In one of TCP those that listen stand
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
