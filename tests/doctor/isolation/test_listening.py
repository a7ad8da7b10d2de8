"""Who listens: this process, at ports and unix sockets."""

import os
import socket
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.doctor.isolation.listening import at_path, at_port, is_here, read_listening
from onionmx.doctor.isolation.process import look_at_processes
from onionmx.errors import TemporaryError
from tests.e2e.daemon import free_ports
from tests.net.stranger import as_stranger, root_only


@pytest.mark.parametrize(("bound", "asked"), [("127.0.0.1", "127.0.0.1"), ("0.0.0.0", "127.0.0.1"), ("::1", "::1")])  # noqa: S104 -- it is looked for
def test_port(bound: str, asked: str) -> None:
    family = socket.AF_INET6 if ":" in bound else socket.AF_INET
    with socket.create_server((bound, 0), family=family) as server:
        listener = at_port(ip_address(asked), server.getsockname()[1], "no such", look_at_processes())
    assert listener is not None
    assert listener.process is not None
    assert listener.process.pid == os.getpid()


def test_nobody_listens(tmp_path: Path) -> None:
    seen = look_at_processes()
    assert at_port(ip_address("127.0.0.1"), free_ports(1)[0], "tor", seen) is None
    assert at_path(tmp_path / "none", seen) is None
    (tmp_path / "file").touch()
    assert at_path(tmp_path / "file", seen) is None


def test_unix_socket(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        listener = at_path(tmp_path / "socket", look_at_processes())
    assert listener is not None
    assert listener.process is not None
    assert listener.process.pid == os.getpid()


@root_only
def test_unix_socket_that_this_user_may_not_use(tmp_path: Path) -> None:
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(tmp_path / "socket"))
        server.listen()
        with as_stranger(), pytest.raises(TemporaryError, match="Permission denied"):
            at_path(tmp_path / "socket", look_at_processes())


def test_addresses_of_this_host() -> None:
    assert is_here(ip_address("127.0.0.9"))
    assert not is_here(ip_address("192.0.2.1"))
    assert not is_here(ip_address("2001:db8::1"))


@given(st.text(st.sampled_from("0A: \n1F")) | st.text())
def test_any_table(text: str) -> None:
    for address, port, inode in read_listening(text):
        assert port >= 0
        assert inode
        assert address.version in {4, 6}
