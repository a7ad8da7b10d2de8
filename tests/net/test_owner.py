"""Who listens at a port. As root, the tests play the local user who listens where a service should."""

import os
import socket
import struct
import subprocess
import sys
from collections.abc import Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path
from threading import Event

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import OwnerError
from onionmx.net import owner
from onionmx.net.owner import ListenerOwner, owners, sockets
from onionmx.net.users import check_unix_peer, hidden_user, numbers
from tests.net.stranger import user_namespace

STRANGER = 65534
OWN = os.geteuid()
IS_ROOT = OWN == 0  # only root can become somebody else; tests that do not need it ask the same functions


@contextmanager
def as_user(uid: int) -> Iterator[None]:
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(OWN)


def bound(uid: int, host: str = "127.0.0.1", port: int = 0, *, is_udp: bool = False) -> socket.socket:
    """A socket of a user, as every server that means to survive its own restart opens it (socket(7), SO_REUSEADDR)."""
    with as_user(uid):
        family = socket.AF_INET6 if ":" in host else socket.AF_INET
        made = socket.socket(family, socket.SOCK_DGRAM if is_udp else socket.SOCK_STREAM)
        made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        made.bind((host, port))
        if not is_udp:
            made.listen()
        return made


def row(address: str, port: int, state: str, uid: int) -> bytes:
    packed = ip_address(address).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    place = f"{''.join(f'{word:08X}' for word in words)}:{port:04X}"
    return f"  0: {place} 00000000:0000 {state} 0:0 00:0 0 {uid} 0 17 1 x\n".encode()


HEADING = b"  sl  local_address ...\n"
ADDRESSES = ["127.0.0.1", "127.0.0.2", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1"]  # noqa: S104 -- as in the table
REACHES = {"127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"}  # noqa: S104 -- as in the table
ROWS = st.lists(st.tuples(st.sampled_from(ADDRESSES), st.integers(1, 3), st.integers(0, 5)))


@given(ROWS, ROWS)
def test_owners_of_a_port(listening: list[tuple[str, int, int]], connected: list[tuple[str, int, int]]) -> None:
    table = [HEADING, *(row(*one[:2], "0A", one[2]) for one in listening)]
    table += [row(*one[:2], "01", one[2]) for one in connected]
    v4 = b"0100007F" if sys.byteorder == "little" else b"7F000001"
    v4_mapped = b"FFFF0000" if sys.byteorder == "little" else b"0000FFFF"
    places = (v4 + b":0002", bytes(b"0" * 8) + b":0002", b"0" * 16 + v4_mapped + v4 + b":0002", b"0" * 32 + b":0002")
    expected = [uid for host, port, uid in listening if host in REACHES and port == 2]
    assert [uid for uid, _ in sockets(table, places, is_udp=False)] == expected
    expected += [uid for host, port, uid in connected if host in REACHES and port == 2]
    assert [uid for uid, _ in sockets(table, places, is_udp=True)] == expected


@given(st.lists(st.binary()), st.booleans())
def test_rows_that_are_none(rows: list[bytes], is_udp: bool) -> None:  # noqa: FBT001 -- hypothesis gives it
    try:
        list(sockets([HEADING, *rows], (b"0100007F:0001",), is_udp=is_udp))
    except ValueError as error:
        assert "is not a socket" in str(error)


@pytest.mark.parametrize("is_udp", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.3", "::1", "0.0.0.0", "::"])  # noqa: S104 -- anybody may
def test_listener_of_this_process(host: str, is_udp: bool) -> None:  # noqa: FBT001 -- pytest gives it
    with bound(OWN, host, is_udp=is_udp) as server:
        port = server.getsockname()[1]
        for asked in {host, "::1" if host == "::1" else "127.0.0.1"} if host != "127.0.0.3" else {host}:
            assert owners(asked, port, is_udp=is_udp) == (OWN,)
            ListenerOwner(asked, port, (), is_udp=is_udp).confirm()


def test_listener_that_a_look_missed(monkeypatch: pytest.MonkeyPatch) -> None:
    with bound(OWN) as server:
        port = server.getsockname()[1]
        missed = [iter(()), iter(())]  # in the tables of IPv4 and of IPv6

        def some(rows: Iterable[bytes], places: Sequence[bytes], *, is_udp: bool) -> Iterator[tuple[int, bytes]]:
            return missed.pop() if missed else sockets(rows, places, is_udp=is_udp)

        monkeypatch.setattr(owner, "sockets", some)
        assert owners("127.0.0.1", port) == (OWN,)


@pytest.mark.parametrize("is_udp", [False, True])
@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0", "::"])  # noqa: S104 -- anybody may
def test_listener_of_a_stranger(host: str, is_udp: bool) -> None:  # noqa: FBT001 -- pytest gives it
    if not IS_ROOT:
        return
    with bound(STRANGER, host, is_udp=is_udp) as server:
        port = server.getsockname()[1]
        asked = "::1" if host == "::1" else "127.0.0.1"
        with pytest.raises(OwnerError, match=f"user {STRANGER} listens at .*{port}, not root or no-such-user"):
            ListenerOwner(asked, port, ("no-such-user",), is_udp=is_udp)
        ListenerOwner(asked, port, (str(STRANGER),), is_udp=is_udp).confirm()
        assert owners(asked, port, is_udp=is_udp) == (STRANGER,)
        assert owners("192.0.2.1", port, is_udp=is_udp) is None
        ListenerOwner("192.0.2.1", port, ()).confirm()


def test_port_that_a_stranger_takes_over_half_way() -> None:
    """The service goes, he comes, is connected to, and lets the service come back: its row is another one."""
    if not IS_ROOT:
        return
    server = bound(OWN)
    port = server.getsockname()[1]
    listener = ListenerOwner("127.0.0.1", port, ())
    server.close()
    with pytest.raises(OwnerError, match="shows nobody there"):
        listener.confirm()
    with bound(STRANGER, port=port), pytest.raises(OwnerError, match=f"user {STRANGER} listens"):
        listener.confirm()
    with bound(OWN, port=port), pytest.raises(OwnerError, match="changed just then"):
        listener.confirm()


def test_udp_port_that_a_stranger_shares() -> None:
    """As tor's DNSPort, which sets SO_REUSEADDR: anybody can bind it a second time, and gets the questions."""
    if not IS_ROOT:
        return
    with bound(OWN, is_udp=True) as server:
        port = server.getsockname()[1]
        listener = ListenerOwner("127.0.0.1", port, (), is_udp=True)
        with bound(STRANGER, port=port, is_udp=True):
            with pytest.raises(OwnerError, match=f"user {STRANGER} listens"):
                listener.confirm()
            with pytest.raises(OwnerError, match=f"user {STRANGER} listens"):
                ListenerOwner("127.0.0.1", port, (), is_udp=True)
        listener.confirm()


def test_nobody_listens_yet() -> None:
    """To connect says so better."""
    with socket.socket() as server:
        server.bind(("127.0.0.1", 0))  # without listen()
        host, port = server.getsockname()
        assert owners(host, port) == ()
        listener = ListenerOwner(host, port, ())
        with pytest.raises(OwnerError, match="shows nobody there"):
            listener.confirm()


def test_port_that_only_root_can_give(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    if not IS_ROOT:
        return
    server = bound(STRANGER)
    port = server.getsockname()[1]
    first = tmp_path / "first"
    monkeypatch.setattr(owner, "_FIRST_UNPRIVILEGED", str(first))
    with server:
        first.write_text(f"{port + 1}\n")
        ListenerOwner("127.0.0.1", port, ()).confirm()
        first.write_text("0\n")
        with pytest.raises(OwnerError):
            ListenerOwner("127.0.0.1", port, ())


def test_tables_that_cannot_be_read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(owner, "_TABLES", "/proc/none/")
    with pytest.raises(OwnerError, match=r"cannot be told who listens at 127\.0\.0\.1:9999: /proc/none/ shows nobody"):
        ListenerOwner("127.0.0.1", 9999, ()).confirm()
    (tmp_path / "tcp").mkdir()
    monkeypatch.setattr(owner, "_TABLES", f"{tmp_path}/")
    with pytest.raises(OwnerError, match="cannot be told who listens"):
        ListenerOwner("127.0.0.1", 9999, ())


def test_unix_socket(tmp_path: Path) -> None:
    if not IS_ROOT:
        return
    path = str(tmp_path / "socket")
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(path)
        with as_user(STRANGER):
            server.listen()
        client.connect(path)
        with pytest.raises(OwnerError, match=f"user {STRANGER} listens at {path}, not root$"):
            check_unix_peer(client, path, ())
        check_unix_peer(client, path, (str(STRANGER),))


def test_users() -> None:
    assert list(numbers(("1234", "no-such-user", "root"))) == [1234, 0]


ASK = """
import socket, sys
from onionmx.net.owner import ListenerOwner
from onionmx.net.users import check_unix_peer, hidden_user
print(hidden_user())
port, user, path = int(sys.argv[1]), sys.argv[2], sys.argv[3]
try:
    ListenerOwner("127.0.0.1", port, (user,)).confirm()
    print("believed")
except Exception as error:
    print(error)
with socket.socket(socket.AF_UNIX) as client:
    client.connect(path)
    try:
        check_unix_peer(client, path, (user,))
        print("believed")
    except Exception as error:
        print(error)
"""


def in_namespace(port: int, user: str, path: Path, *options: str) -> list[str]:
    """Ask in a user namespace that knows root alone, as with PrivateUsers=yes, unless there are other options."""
    words = [sys.executable, "-c", ASK, str(port), user, str(path)]
    command = ["unshare", "--user", *(options or ["--map-root-user"]), *words]
    done = subprocess.run(command, capture_output=True, text=True, check=True)
    return done.stdout.splitlines()


@user_namespace
def test_user_namespace() -> None:
    """It knows root, whose port it was when tor started; tor's user and the stranger are one there."""
    assert hidden_user() is None
    folder = Path("/run") / f"onionmx-test-{os.getpid()}"  # as /run/tor: above it there is only root's
    folder.mkdir(0o755)
    place = folder / "socket"
    try:
        os.chown(folder, 101, 101)
        with bound(OWN) as of_root, bound(101) as of_tor, socket.socket(socket.AF_UNIX) as server:
            server.bind(str(place))
            place.chmod(0o666)
            with as_user(101):
                server.listen()
            cannot = "it cannot be told whether root or 101 or another user listens at"
            known, by_root, by_folder = in_namespace(of_root.getsockname()[1], "101", place)
            assert (known, by_root, by_folder) == ("65534", "believed", "believed")
            _, hidden, _ = in_namespace(of_tor.getsockname()[1], "101", place)
            assert hidden.startswith(cannot)
            _, by_number, _ = in_namespace(of_tor.getsockname()[1], "65534", place)
            assert by_number == "believed"
            for name in ("nobody", "root"):  # who is believed by name, or is nobody there himself
                _, hidden, _ = in_namespace(of_tor.getsockname()[1], name, place, "--user")  # twice, and no map
                assert hidden.startswith("it cannot be told")
            folder.chmod(0o777)
            _, _, shared = in_namespace(of_root.getsockname()[1], "101", place)
            assert shared.startswith(cannot)
    finally:
        place.unlink(missing_ok=True)
        folder.rmdir()


def test_sockets_that_come_and_go_hide_no_listener() -> None:
    """The rows behind one that has just gone move up while the table is read."""
    stop = Event()

    def come_and_go() -> None:
        while not stop.is_set():
            others = [socket.socket(socket.AF_INET, socket.SOCK_DGRAM) for _ in range(100)]
            for other in others:
                other.bind(("127.0.0.1", 0))
            for other in others:
                other.close()

    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as listening, ThreadPoolExecutor(1) as busy:
        listening.bind(("127.0.0.1", 0))
        host, port = listening.getsockname()
        busy.submit(come_and_go)
        try:
            for _ in range(300):
                ListenerOwner(host, port, (), is_udp=True).confirm()
        finally:
            stop.set()
