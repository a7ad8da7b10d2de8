"""The DNSPort client against packets of every kind, and against a DNSPort that is scripted for faults."""

import socket
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager

import dns.flags
import dns.message
import dns.rcode
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onionmx.errors import AutomapError, UsageError
from onionmx.tor.automap import decode_answer, encode_question, parse_address, resolve
from tests.onions import make_onion

A, B = make_onion("a"), make_onion("b")
QUESTION = encode_question(A, 4711)


def answer(address: str = "127.192.0.1", *, rcode: str = "NOERROR", records: tuple[str, ...] | None = None) -> bytes:
    response = dns.message.make_response(dns.message.from_wire(QUESTION))
    response.set_rcode(dns.rcode.from_text(rcode))
    for record in (f"A {address}",) if records is None else records:
        kind, data = record.split(maxsplit=1)
        response.answer.append(dns.rrset.from_text(A + ".", 60, "IN", kind, data))
    return response.to_wire()


def test_question_is_what_dnspython_makes() -> None:
    query = dns.message.make_query(A + ".", "A", use_edns=False, id=4711)
    assert query.to_wire() == QUESTION


@pytest.mark.parametrize(
    "address", ["127.192.0.1", "10.192.0.7", "172.20.1.1", "192.168.5.5", "100.100.1.1", "198.18.1.1"]
)
def test_virtual_address(address: str) -> None:
    assert decode_answer(answer(address), QUESTION) == address


def test_other_records_before_the_address_are_passed_over() -> None:
    assert decode_answer(answer(records=("TXT x", "AAAA fe80::1", "A 127.192.0.9")), QUESTION) == "127.192.0.9"


@pytest.mark.parametrize(
    "address", ["192.0.2.1", "9.255.255.255", "128.0.0.1", "172.32.0.1", "0.0.0.1", "255.255.255.255"]
)
def test_public_address_would_leak_and_is_refused(address: str) -> None:
    with pytest.raises(AutomapError, match="public address"):
        decode_answer(answer(address), QUESTION)


@pytest.mark.parametrize(
    ("packet", "why"),
    [
        (answer(rcode="NXDOMAIN", records=()), "NXDOMAIN"),
        (answer(rcode="SERVFAIL", records=()), "SERVFAIL"),
        (answer(rcode="NOTIMP", records=()), "NOTIMP"),
        (answer(records=()), "AutomapHostsOnResolve"),
        (answer(records=("AAAA fe80::1",)), "AutomapHostsOnResolve"),
        (answer()[:-1], "no address|malformed"),
        (answer()[:-8], "malformed"),
        (answer()[:7] + b"\x09" + answer()[8:], "malformed|no address|127"),
    ],
)
def test_errors_are_named(packet: bytes, why: str) -> None:
    try:
        assert decode_answer(packet, QUESTION) == "127.192.0.1"
        assert "127" in why
    except AutomapError as error:
        assert any(word in str(error) for word in why.split("|"))


@pytest.mark.parametrize(
    "packet",
    [
        b"",
        answer()[:20],
        b"\0\0" + answer()[2:],
        QUESTION,
        answer().replace(A[:5].encode(), b"aaaaa"),
    ],
)
def test_packets_that_answer_another_question_are_no_answer(packet: bytes) -> None:
    assert decode_answer(packet, QUESTION) is None


@given(st.binary())
@example(b"\xc0" * 100)
def test_no_packet_raises_anything_else(tail: bytes) -> None:
    packet = QUESTION[:2] + b"\x81\x80\0\1\0\5\0\0\0\0" + QUESTION[12:] + tail
    try:
        address = decode_answer(packet, QUESTION)
    except AutomapError:
        return
    assert address is not None


@pytest.mark.parametrize(("text", "parsed"), [("127.0.0.1:5300", ("127.0.0.1", 5300)), ("[::1]:53", ("::1", 53))])
def test_address_of_a_dnsport(text: str, parsed: tuple[str, int]) -> None:
    assert parse_address(text) == parsed


@pytest.mark.parametrize(
    "text", ["", "5300", ":5300", "127.0.0.1", "127.0.0.1:", "localhost:53", "::1:53", "[::1]", "127.0.0.1:0", "1:2:3"]
)
def test_other_texts_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="expected HOST:PORT"):
        parse_address(text)


@contextmanager
def dnsport(react: Callable[[bytes, int], list[bytes]], count: int) -> Iterator[tuple[str, int]]:
    """A DNSPort that sends, for the first `count` packets, what `react` makes of packet and its number."""
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        udp.settimeout(120)

        def serve() -> None:
            for number in range(count):
                packet, peer = udp.recvfrom(512)
                for reaction in react(packet, number):
                    udp.sendto(reaction, peer)

        server = threading.Thread(target=serve)
        server.start()
        yield udp.getsockname()
        server.join()


def virtual(packet: bytes, address: str = "127.192.0.1") -> bytes:
    header = packet[:2] + b"\x81\x80\0\1\0\1\0\0\0\0"
    return header + packet[12:] + b"\xc0\x0c\0\1\0\1\0\0\0<\0\4" + socket.inet_aton(address)


def test_names_are_asked_at_once_and_once_each() -> None:
    with dnsport(lambda packet, number: [virtual(packet, f"127.192.0.{number}")], 2) as port:
        assert set(resolve([A, B, A], port, 60).values()) == {"127.192.0.0", "127.192.0.1"}


def test_lost_packet_is_sent_again() -> None:
    with dnsport(lambda packet, number: [virtual(packet)] if number else [], 2) as port:
        assert resolve([A], port, 9) == {A: "127.192.0.1"}


def test_forged_and_late_packets_are_passed_over() -> None:
    with dnsport(lambda packet, _: [b"", b"\0" * 12, packet, virtual(packet)], 1) as port:
        assert resolve([A], port, 60) == {A: "127.192.0.1"}


def test_one_silent_name_does_not_hide_the_other() -> None:
    with dnsport(lambda packet, _: [virtual(packet)] if A[:56].encode() in packet else [], 4) as port:
        results = resolve([A, B], port, 3)
    assert results[A] == "127.192.0.1"
    assert isinstance(results[B], AutomapError)


def test_silence_is_an_error() -> None:
    with dnsport(lambda _packet, _: [], 3) as port, pytest.raises(AutomapError, match=r"did not answer within 0\.3 s"):
        resolve([A], port, 0.3)


def test_closed_port_is_an_error_at_once() -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as udp:
        udp.bind(("127.0.0.1", 0))
        port = udp.getsockname()
    with pytest.raises(AutomapError, match="Connection refused; is tor running"):
        resolve([A], port, 30)
