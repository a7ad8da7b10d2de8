"""Whose the other end of a connection is."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from ipaddress import IPv4Address, IPv6Address, ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.net.clients import Clients, ConnectedClient, find_owners


@contextmanager
def connected(host: str, written: str) -> Iterator[tuple[socket.socket, socket.socket]]:
    """Both ends of a connection to ourselves, opened by an address as a client may write it."""
    with ExitStack() as stack:
        listening = stack.enter_context(socket.create_server((host, 0), family=family(host)))
        client = stack.enter_context(socket.socket(family(written)))
        client.connect((written, listening.getsockname()[1]))
        yield client, stack.enter_context(listening.accept()[0])


def family(host: str) -> socket.AddressFamily:
    return socket.AF_INET6 if ":" in host else socket.AF_INET


@pytest.mark.parametrize(
    ("host", "written"), [("127.0.0.1", "127.0.0.1"), ("::1", "::1"), ("127.0.0.1", "::ffff:127.0.0.1")]
)
def test_tcp(host: str, written: str) -> None:
    with connected(host, written) as (_, served):
        client = ConnectedClient.of(served)
        assert client.user is None
        Clients().tell([client])
        assert client.user == os.getuid()
        assert client.ends is None


def test_unix() -> None:
    ours, theirs = socket.socketpair()
    with ours, theirs:
        assert ConnectedClient.of(ours).user == os.getuid()


def test_gone_already() -> None:
    with connected("127.0.0.1", "127.0.0.1") as (_, served):
        served.close()
        assert ConnectedClient.of(served).user is None


def test_tables_are_read_for_a_part_of_the_time_only(tmp_path: Path) -> None:
    """They are as long as local users want them."""
    table = tmp_path / "tcp"
    table.write_bytes(b"")
    times = iter([0.0, 1.0, 10.0, 21.0, 21.5])
    clients = Clients(lambda: next(times), [str(table)])
    ends = (("127.0.0.1", 1), ("127.0.0.1", 2))
    first, second = ConnectedClient(ends=ends), ConnectedClient(ends=ends)
    clients.tell([first])
    assert first.ends is None
    clients.tell([second])
    assert second.ends == ends, "at 10.0, after a second of reading"
    clients.tell([second])
    assert second.ends is None


def test_without_tables() -> None:
    client = ConnectedClient("192.168.0.1", ends=(("192.168.0.1", 1), ("192.168.0.2", 2)))
    Clients(tables=["/nowhere"]).tell([client])
    assert client.user == "192.168.0.1"


ADDRESSES = st.ip_addresses().map(str)
PORTS = st.integers(1, 65535)
ENDS = st.tuples(ADDRESSES, PORTS)


def row(client: tuple[str, int], server: tuple[str, int], uid: int, state: str = "01") -> str:
    """As Linux writes it on a machine of the same byte order."""
    ends = " ".join(f"{written(host)}:{port:04X}" for host, port in (client, server))
    return f"   0: {ends} {state} 00000000:00000000 00:00000000 00000000 {uid:5d}        0 12345 1 0 20 4 30 10 -1\n"


def written(host: str) -> str:
    packed = ip_address(host).packed
    words = [packed[at : at + 4] for at in range(0, len(packed), 4)]
    return "".join(f"{int.from_bytes(word, sys.byteorder):08X}" for word in words)


@given(ENDS, ENDS, st.integers(0, 2**32 - 1))
def test_row(client: tuple[str, int], server: tuple[str, int], uid: int) -> None:
    same = type(ip_address(client[0])) is type(ip_address(server[0]))
    found = find_owners(row(client, server, uid).encode(), [(client, server)])
    plain = not any(isinstance(a := ip_address(end[0]), IPv6Address) and a.ipv4_mapped for end in (client, server))
    if same and plain:
        assert found == {(client, server): uid}
    if same and isinstance(ip_address(client[0]), IPv4Address):
        mapped = [(f"::ffff:{host}", port) for host, port in (client, server)]
        assert find_owners(row(mapped[0], mapped[1], uid).encode(), [(client, server)]) == {(client, server): uid}
    assert find_owners(row(client, server, uid, "06").encode(), [(client, server)]) == {}, "of a socket that is closed"


@given(st.binary(), ENDS, ENDS)
def test_rubbish(table: bytes, client: tuple[str, int], server: tuple[str, int]) -> None:
    assert find_owners(table, [(client, server)]) == {}
