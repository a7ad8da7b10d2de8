"""Hosts in the configuration: addresses, names that the system may be asked for, and what is neither."""

import socket
from ipaddress import ip_address
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import Configuration, parse_resolver, parse_server
from onionmx.config.address import parse_host, split_host
from onionmx.errors import ConfigurationError
from onionmx.onion import is_for_tor_alone
from tests.onions import make_onion

ONION = make_onion("a")


@pytest.mark.parametrize(
    ("text", "server"),
    [
        ("tor:9050", ("tor", 9050)),
        ("mail_tor_1:9050", ("mail_tor_1", 9050)),
        ("localhost:9050", ("localhost", 9050)),
        ("tor.mail-net.example.org:1", ("tor.mail-net.example.org", 1)),
        ("127.0.0.1:9050", ("127.0.0.1", 9050)),
        ("[::1]:9050", ("::1", 9050)),
        ("unix:/run/tor/socks", Path("/run/tor/socks")),
    ],
)
def test_where_tor_may_be(text: str, server: object) -> None:
    assert parse_server(text) == server
    assert Configuration.parse(f"[tor]\nsocks = '{text}'".encode(), "x").tor.socks == text


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("tor", "'' is not a port"),
        (":9050", "the domain is empty"),
        ("tor:0", "'0' is not a port"),
        ("tor:9050 ", "contains ':'"),
        ("tor box:9050", "contains ' '"),
        ("tor:9050:9050", "contains ':'"),
        ("Tor:9050", "'Tor' should be written 'tor'"),
        ("tor.:9050", "'tor.' should be written 'tor'"),
        ("tör:9050", "'tör' should be written 'xn--tr-fka'"),
        ("[tor]:9050", r"contains '\['"),
        ("[::1:9050", r"contains '\['"),
        ("127.1:9050", "'127.1' is neither an IP address nor a name: names do not end in a number"),
        ("256.1.1.1:9050", "'256.1.1.1' is neither"),
        ("0x7f000001:9050", "'0x7f000001' is neither"),
        ("2130706433:9050", "'2130706433' is neither"),
        (f"{ONION}:9050", "is a name for Tor, and would be asked for in DNS"),
        ("MX.Onion.:9050", "is a name for Tor"),
        ("http://tor:9050", "contains ':'"),
        ("user@tor:9050", "is an e-mail address"),
    ],
)
def test_mistakes_are_told_in_one_line(text: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why) as caught:
        Configuration.parse(f"[tor]\nsocks = '{text}'".encode(), "x")
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigurationError, match=why):
        Configuration.parse(f"[authenticate]\nsocks = '{text}'".encode(), "x")


def test_resolvers_with_names() -> None:
    assert parse_resolver("unbound").port == 53
    resolver = parse_resolver("tls://resolver.example.org#dns.example.org")
    assert (resolver.host, resolver.port, resolver.tls_name) == ("resolver.example.org", 853, "dns.example.org")
    assert resolver.is_named
    assert not resolver.is_loopback
    assert not parse_resolver("localhost").is_loopback  # before it was found
    assert not parse_resolver(f"{ONION}:53").is_named


@pytest.mark.parametrize(
    ("settings", "why"),
    [
        ("nameservers = ['127.0.0']", "'127.0.0' is not a name server: expected IP or NAME"),
        ("nameservers = ['unbound:']", "is not a name server"),
        ("nameservers = ['mx.onion.']", "is not an onion address|characters before .onion"),
        ("nameservers = ['unbound']\nthrough_tor = true", "unbound is a name, which would be asked for outside of Tor"),
        ("nameservers = ['unbound']\ntrusted = ['unbound']", "is neither on loopback nor asked over TLS"),
        ("nameservers = ['tls://unbound']", "names no certificate"),
    ],
)
def test_resolvers_that_cannot_be_asked(settings: str, why: str) -> None:
    with pytest.raises(ConfigurationError, match=why):
        Configuration.parse(f"[dns]\n{settings}".encode(), "x")


def is_taken_for_an_address(name: str) -> bool:
    try:
        socket.inet_aton(name)
    except OSError:
        return False
    return True


@given(st.text(max_size=30) | st.from_regex(r"\[?(0x)?[0-9a-z:.-]{0,20}\]?(:[0-9]{1,6})?", fullmatch=True))
def test_a_host_is_an_address_or_a_name_that_may_be_asked(text: str) -> None:
    host, _ = split_host(text)
    try:
        parsed = parse_host(host)
    except ValueError:
        return
    try:
        ip_address(parsed)
    except ValueError:
        assert not is_taken_for_an_address(parsed)
        assert not is_for_tor_alone(parsed)
        assert parsed == parsed.lower().rstrip(".")
