"""The way to another host, as the kernel would take it."""

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.doctor.isolation.way import interface_to, is_wireguard, read_interface


@pytest.mark.parametrize("address", ["127.0.0.1", "::1"])
def test_interface(address: str) -> None:
    assert interface_to(ip_address(address)) == "lo"


def test_kernel_that_has_no_way() -> None:
    assert interface_to(ip_address("ff0f::1")) in {"", *(name for _, name in socket.if_nameindex())}


def test_wireguard(tmp_path: Path) -> None:
    assert not is_wireguard("lo")
    (tmp_path / "wg0").mkdir()
    (tmp_path / "wg0/uevent").write_text("DEVTYPE=wireguard\nINTERFACE=wg0\nIFINDEX=5\n")
    assert is_wireguard("wg0", tmp_path)
    assert not is_wireguard("", tmp_path)
    assert not is_wireguard("none", tmp_path)


@given(st.binary(max_size=80) | st.binary(max_size=60).map(lambda end: b"\x50\0\0\0\x18\0" + bytes(10) + end))
def test_any_answer(answer: bytes) -> None:
    assert read_interface(answer) >= 0
