"""Addresses of the internet, and all others."""

from ipaddress import IPv4Address, IPv6Address, ip_address

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.net.addresses import is_public

PUBLIC = ["8.8.8.8", "192.88.99.1", "2620:fe::fe", "::ffff:8.8.8.8", "64:ff9b::808:808", "2002:808:808::1"]
OTHERS = [
    *("127.0.0.1", "127.255.255.255", "0.0.0.0", "0.1.2.3", "10.1.1.1", "172.16.0.1", "192.168.0.1"),  # noqa: S104
    *("100.64.0.1", "169.254.169.254", "224.0.0.1", "239.1.1.1", "240.0.0.1", "255.255.255.255", "192.0.2.1"),
    *("::1", "::", "fe80::1", "fe80::1%lo", "fc00::1", "fd12::1", "fec0::1", "ff02::1", "ff0e::1", "2001:db8::1"),
    *("::ffff:127.0.0.1", "::ffff:10.0.0.1", "::127.0.0.1", "::10.0.0.1", "64:ff9b::7f00:1", "64:ff9b::a00:1"),
    *("64:ff9b:1::1", "2001:0:a00:1::1", "2002:7f00:1::", "2002:a00:1::"),
]


@pytest.mark.parametrize("address", PUBLIC)
def test_internet(address: str) -> None:
    assert is_public(address)


@pytest.mark.parametrize("address", OTHERS)
def test_others(address: str) -> None:
    assert not is_public(address)


@given(st.ip_addresses(v=4), st.sampled_from(["::", "::ffff:0:0", "64:ff9b::"]))
def test_no_form_makes_an_address_public(inner: IPv4Address, outer: str) -> None:
    written = str(IPv6Address(int(IPv6Address(outer)) + int(inner)))
    assert is_public(written) == is_public(str(inner))
    assert not (is_public(str(inner)) and (inner.is_private or inner.is_loopback or inner.is_multicast))


@given(st.one_of(st.text(max_size=45), st.ip_addresses().map(str)))
def test_any_text(text: str) -> None:
    try:
        ip_address(text)
    except ValueError:
        with pytest.raises(ValueError, match="does not appear to be an IPv4 or IPv6 address"):
            is_public(text)
    else:
        assert is_public(text) in {True, False}
