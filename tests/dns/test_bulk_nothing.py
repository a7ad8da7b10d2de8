"""The short way for "there is none" comes to the verdict of dnspython, or leaves it to others."""

import struct

import dns.exception
import dns.flags
import dns.message
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onionmx.dns.bulk.nothing import read_nothing
from onionmx.dns.response import Nothing, read_response
from onionmx.dns.wire import is_reply
from onionmx.errors import DnsError
from tests.dns.test_wire import DOMAIN, PLAIN, QUESTION, SOA, UNUSUAL, answers, packet

END = 12 + len(QUESTION)
HOSTER = "300 IN SOA ns1.hoster.net. hostmaster.hoster.net. 1 2 3 4 60"
NOTHING = [
    packet(authority=(f"{DOMAIN}. {SOA}",), rcode="NXDOMAIN"),
    packet(authority=(f"{DOMAIN}. {HOSTER}",), rcode="NXDOMAIN"),
    packet(authority=(f"org. {HOSTER}",)),
    packet(authority=(f". {SOA}",), flags=dns.flags.AA),
    packet(authority=(f"{DOMAIN}. {SOA}",), edns=-1),
    packet(authority=(f"_onion-mx._tcp.{DOMAIN}. 0 IN SOA . . 0 0 0 0 4294967295",), rcode="NXDOMAIN"),
    packet(authority=(f"{DOMAIN}. {SOA}",), flags=dns.flags.RA | dns.flags.AD),
]


def with_ttl(ttl: int) -> bytes:
    content = NOTHING[0]
    at = content.index(b"\0\6\0\1") + 4
    return content[:at] + struct.pack("!I", ttl) + content[at + 4 :]


LEFT = [
    *(content for content in PLAIN if b"\0\6\0\1" not in content),
    *UNUSUAL,
    with_ttl(0x80000000),
    NOTHING[0][:-2] + b"\0\1\5",
    NOTHING[0] + b"\0",
]


@pytest.mark.parametrize("content", NOTHING)
def test_read(content: bytes) -> None:
    nothing = read_nothing(content, END)
    assert nothing
    assert read_response(dns.message.from_wire(content)) == Nothing(*nothing)


@pytest.mark.parametrize("content", LEFT)
def test_left_to_others(content: bytes) -> None:
    assert read_nothing(content, END) is None


@given(answers)
def test_same_verdict_as_dnspython(content: bytes) -> None:
    check(content)


@given(
    st.sampled_from(NOTHING + UNUSUAL),
    st.lists(st.tuples(st.integers(2, 150), st.integers(0, 255)), max_size=4),
    st.binary(max_size=3),
    st.integers(0, 12),
)
@example(NOTHING[1], [(48, 0xC0), (49, 48)], b"", 0)
@example(NOTHING[1], [(60, 0xC0), (61, 60)], b"", 0)
def test_spoilt_packets(content: bytes, changes: list[tuple[int, int]], tail: bytes, short: int) -> None:
    spoilt = bytearray(content[: len(content) - short])
    for position, value in changes:
        if position < len(spoilt):
            spoilt[position] = value
    if is_reply(bytes(spoilt) + tail, QUESTION):
        check(bytes(spoilt) + tail)


@given(st.binary(max_size=80))
def test_anything_behind_the_question(content: bytes) -> None:
    check(NOTHING[0][:END] + content)


def check(content: bytes) -> None:
    nothing = read_nothing(content, END)
    if nothing is None:
        return
    try:
        assert read_response(dns.message.from_wire(content)) == Nothing(*nothing)
    except (dns.exception.DNSException, DnsError) as error:
        pytest.fail(f"dnspython refuses it: {error!r}")


@given(st.binary(max_size=300), st.integers(12, 300))
def test_never_raises(content: bytes, end: int) -> None:
    read_nothing(content, end)
