"""Which addresses are circuits."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.tor.client_circuit import circuit_of


@given(st.integers(1, 0xFFFFFFFF))
def test_what_tor_writes_is_the_circuits_number(number: int) -> None:
    assert circuit_of(f"fc00:dead:beef:4dad::{number >> 16:x}:{number & 0xFFFF:x}") == number


@pytest.mark.parametrize(
    "address",
    [
        "",
        "127.0.0.1",
        "unknown",
        "::1",
        "::ffff:192.0.2.1",
        "fc00:dead:beef:4dad::",
        "fc00:dead:beef:4dad::0:0",
        "fc00:dead:beef:4dad:0:1:0:1",
        "fc00:dead:beef:4dac::1",
        "fc00:dead:beef:4dad::1%eth0",
        "IPv6:fc00:dead:beef:4dad::1",
    ],
)
def test_other_addresses_are_not_circuits(address: str) -> None:
    assert circuit_of(address) is None


@given(st.text(max_size=60))
def test_any_text_is_read(text: str) -> None:
    number = circuit_of(text)
    assert number is None or 0 < number < 2**32
