"""Whose control port is believed. As root, the tests play the local user who listens where tor should."""

import os
import socket
import struct
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import TorSection
from onionmx.errors import ControlError
from onionmx.tor.control import open_control
from onionmx.tor.peer import believed_users, check_file, check_tcp_listener, check_unix_peer, listeners

STRANGER = 65534
OWN = os.geteuid()


def row(address: str, port: int, state: str, uid: int) -> str:
    packed = ip_address(address).packed
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    return f"  0: {''.join(f'{word:08X}' for word in words)}:{port:04X} 00000000:0000 {state} 0:0 00:0 0 {uid} 0 1 1 x"


ADDRESSES = st.sampled_from(["127.0.0.1", "127.0.0.2", "0.0.0.0", "::", "::1", "::ffff:127.0.0.1"])  # noqa: S104 -- as in the table
ROWS = st.tuples(ADDRESSES, st.integers(1, 3), st.sampled_from(["0A", "01", "06"]), st.integers(0, 5))


@given(st.lists(ROWS))
def test_owners_of_a_port(rows: list[tuple[str, int, str, int]]) -> None:
    reaches = {"127.0.0.1", "0.0.0.0", "::", "::ffff:127.0.0.1"}  # noqa: S104 -- as in the table
    expected = [uid for host, port, state, uid in rows if host in reaches and port == 2 and state == "0A"]
    assert list(listeners([row(*one) for one in rows], ip_address("127.0.0.1"), 2)) == expected


@given(st.text())
def test_rows_that_are_none(text: str) -> None:
    try:
        list(listeners([text], ip_address("127.0.0.1"), 1))
    except ValueError as error:
        assert "is not a socket" in str(error)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "0.0.0.0"])  # noqa: S104 -- anybody may listen there too
def test_listener_of_this_process(host: str) -> None:
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    with socket.create_server((host, 0), family=family) as server:
        asked = "::1" if ":" in host else "127.0.0.1"
        port = server.getsockname()[1]
        check_tcp_listener(asked, port, frozenset({OWN}))
        with pytest.raises(ControlError, match=f"user {OWN} listens there"):
            check_tcp_listener(asked, port, frozenset({OWN + 1}))


def test_port_of_which_nothing_can_be_told(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ProcSubset=pid there is no /proc/net (systemd.exec(5))."""
    monkeypatch.setattr("onionmx.tor.peer._TABLES", ("/proc/none",))
    check_tcp_listener("127.0.0.1", 1, frozenset({OWN}))
    with pytest.raises(ControlError, match="it cannot be told whose port this is: /proc/none"):
        check_tcp_listener("127.0.0.1", 1, frozenset({OWN}), is_connected=True)
    check_tcp_listener("192.0.2.1", 1, frozenset({OWN}), is_connected=True)


def test_unix_socket_of_this_process(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server, socket.socket(socket.AF_UNIX) as client:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        client.connect(str(tmp_path / "socket"))
        check_unix_peer(client, frozenset({OWN}))
        with pytest.raises(ControlError, match=f"user {OWN} listens there"):
            check_unix_peer(client, frozenset({OWN + 1}))


def test_users_who_are_believed() -> None:
    assert believed_users("1234") == {0, OWN, 1234}
    assert believed_users("no-such-user") == {0, OWN}
    assert believed_users("nobody") > {0, OWN}


def test_files_that_others_can_change(tmp_path: Path) -> None:
    file = tmp_path / "cookie"
    file.touch(0o600)
    believed = frozenset({0, OWN})
    check_file(file, believed)
    for place, mode in ((file, 0o602), (tmp_path, 0o777), (file, 0o620)):
        before = place.stat().st_mode
        place.chmod(mode)
        with pytest.raises(ControlError, match="can be changed by others"):
            check_file(file, believed)
        place.chmod(before)
    with pytest.raises(ControlError, match="cannot be looked at"):
        check_file(tmp_path / "none", believed)


@contextmanager
def of_a_stranger(server: socket.socket) -> Iterator[list[bytes]]:
    """A listener of another user, who keeps what is said to it."""
    heard: list[bytes] = []

    def serve() -> None:
        while True:
            try:
                connection, _ = server.accept()
            except OSError:
                return
            with connection:
                heard.append(connection.recv(4096))

    thread = threading.Thread(target=serve)
    with server:
        thread.start()
        yield heard
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_stranger_who_listens_hears_nothing(kind: str, tmp_path: Path) -> None:
    if OWN != 0:
        return  # only root can become somebody else; the tests above ask the same functions
    place = tmp_path / "control"
    os.seteuid(STRANGER if kind == "tcp" else OWN)
    server = socket.socket(socket.AF_INET if kind == "tcp" else socket.AF_UNIX)
    server.bind(("127.0.0.1", 0) if kind == "tcp" else str(place))
    os.seteuid(STRANGER)
    server.listen()
    os.seteuid(OWN)
    control = f"127.0.0.1:{server.getsockname()[1]}" if kind == "tcp" else f"unix:{place}"
    refused = pytest.raises(ControlError, match=f"is not believed: user {STRANGER} listens there")
    with of_a_stranger(server) as heard, refused, open_control(TorSection(control=control)):
        pass
    assert set(heard) <= {b""}
