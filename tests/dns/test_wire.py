"""The fast reader of plain answers agrees with dnspython, or leaves the answer to it."""

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rrset
import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onionmx.dns.response import Nothing, Records, read_response
from onionmx.dns.wire import Plain, ask_for, is_reply, make_query, read_plain
from onionmx.errors import DnsError
from tests.onions import make_onion

DOMAIN = "example.org"
NAME = f"_onion-mx._tcp.{DOMAIN}."
QUESTION = ask_for(DOMAIN)
SOA = "300 IN SOA ns.example.org. host.example.org. 1 2 3 4 60"
A, B = make_onion("a"), make_onion("b")


def test_query_is_what_dnspython_would_ask() -> None:
    message = dns.message.from_wire(make_query(4711, QUESTION))
    flags = dns.flags.RD | dns.flags.AD
    expected = dns.message.make_query(NAME, "SRV", use_edns=0, payload=1232, flags=flags, id=4711)
    assert message.to_wire() == expected.to_wire() == make_query(4711, QUESTION)


def packet(
    *answer: str, authority: tuple[str, ...] = (), rcode: str = "NOERROR", flags: int = dns.flags.RA, edns: int = 0
) -> bytes:
    """A response to the question."""
    response = dns.message.make_response(dns.message.from_wire(make_query(1, QUESTION)))
    response.flags |= flags
    response.use_edns(edns)
    response.set_rcode(dns.rcode.from_text(rcode))
    response.answer, response.authority = _rrsets(answer), _rrsets(authority)
    return response.to_wire()


def _rrsets(lines: tuple[str, ...]) -> list[dns.rrset.RRset]:
    rrsets: list[dns.rrset.RRset] = []
    for line in lines:
        name, ttl, _, kind, data = line.split(maxsplit=4)
        rrsets.append(dns.rrset.from_text(name, int(ttl), "IN", kind, data))
    return rrsets


def srv(*values: str, ttl: int = 3600) -> tuple[str, ...]:
    return tuple(f"{NAME} {ttl} IN SRV {value}" for value in values)


PLAIN = [
    packet(*srv(f"0 5 25 {A}.")),
    packet(*srv(f"0 5 25 {A}.", f"10 0 2525 {B}.", "7 7 7 mail.example.org.", "0 0 0 .")),
    packet(*srv(f"0 5 25 {A}."), flags=dns.flags.RA | dns.flags.AD),
    packet(*srv(f"0 5 25 {A}."), edns=-1),
    packet(*srv(f"0 5 25 {A}."), *srv(f"0 5 25 {B}.", ttl=60)),
    packet(authority=(f"{DOMAIN}. {SOA}",), rcode="NXDOMAIN"),
    packet(authority=(f"{DOMAIN}. {SOA}",)),
    packet(authority=(f"{DOMAIN}. {SOA}",), flags=dns.flags.AA),
    packet(authority=(f"org. {SOA}",)),
    packet(authority=(f". {SOA}",), rcode="NXDOMAIN"),
]
UNUSUAL = [
    packet(),
    packet(rcode="SERVFAIL"),
    packet(rcode="BADVERS"),
    packet(rcode="NXDOMAIN"),
    packet(authority=(f"{DOMAIN}. {SOA}",), flags=0),
    packet(authority=(f"example.net. {SOA}",)),
    packet(authority=(f"xexample.org. {SOA}",)),
    packet(authority=(f"{DOMAIN}. 60 IN NS ns.example.org.",)),
    packet(*srv(f"0 5 25 {A}."), rcode="NXDOMAIN"),
    packet(*srv(f"0 5 25 {A}."), flags=dns.flags.TC),
    packet(f"{NAME} 60 IN CNAME x.example.net."),
    packet(f"_onion-mx._tcp.example.net. 60 IN SRV 0 0 25 {A}."),
    packet(f'{NAME} 60 IN TXT "x"'),
    packet(*srv(r"0 0 25 a\.b.example.")),
    packet(*srv(f"0 5 25 {A}."))[:-1],
    packet(*srv(f"0 5 25 {A}.")) + b"\0",
    packet(*srv(f"0 5 25 {A}."), *srv(f"0 5 25 {A.upper()}.")),
]


@pytest.mark.parametrize("content", PLAIN)
def test_plain_answers_are_read(content: bytes) -> None:
    plain = read_plain(content, QUESTION)
    assert plain
    check(content, plain)


@pytest.mark.parametrize("content", UNUSUAL)
def test_others_are_left_to_dnspython(content: bytes) -> None:
    assert read_plain(content, QUESTION) is None


def test_who_validated() -> None:
    authentic = [plain.is_authentic for plain in (read_plain(content, QUESTION) for content in PLAIN[:3]) if plain]
    assert authentic == [False, False, True]


@pytest.mark.parametrize(
    "content",
    [
        b"",
        PLAIN[0][:20],
        make_query(1, QUESTION),
        PLAIN[0].replace(b"\x07example", b"\x07Example"),
        PLAIN[0].replace(b"_tcp", b"_udp"),
        packet(*srv(f"0 5 25 {A}.")).replace(b"\0\x21\0\1", b"\0\x22\0\1", 1),
    ],
)
def test_packets_that_are_no_replies(content: bytes) -> None:
    assert not is_reply(content, QUESTION)


def check(content: bytes, plain: Plain) -> None:
    """Dnspython must come to the same verdict."""
    message = dns.message.from_wire(content)
    assert bool(message.flags & dns.flags.AD) == plain.is_authentic
    result = read_response(message)
    assert result.ttl == plain.ttl
    if isinstance(plain.result, Nothing):
        assert result == plain.result
    else:
        assert isinstance(result, Records)
        assert sorted(result.records) == sorted(plain.result)


hosts = st.sampled_from([A, B, A.upper(), "mail.example.org", ""])
numbers = st.integers(0, 65535)
ttls = st.integers(0, 2**31 - 1)
records = st.builds(
    lambda priority, weight, port, host, ttl: srv(f"{priority} {weight} {port} {host}.", ttl=ttl)[0],
    numbers,
    numbers,
    numbers,
    hosts,
    ttls,
)
soas = st.builds(
    lambda owner, ttl, minimum: f"{owner}. {ttl} IN SOA ns.{owner}. x. 1 2 3 4 {minimum}",
    st.sampled_from(["example.org", "org", "_tcp.example.org", "net", "x.example.org", "EXAMPLE.org"]),
    ttls,
    ttls,
)
answers = st.builds(
    lambda answer, authority, rcode, flags: packet(*answer, authority=tuple(authority), rcode=rcode, flags=flags),
    st.lists(records, max_size=4),
    st.lists(soas, max_size=2),
    st.sampled_from(["NOERROR", "NXDOMAIN", "SERVFAIL"]),
    st.sampled_from([0, dns.flags.RA, dns.flags.AA, dns.flags.RA | dns.flags.AD, dns.flags.RA | dns.flags.TC]),
)


@given(answers)
def test_same_verdict_as_dnspython(content: bytes) -> None:
    if plain := read_plain(content, QUESTION):
        check(content, plain)


@given(
    st.one_of(st.sampled_from(PLAIN + UNUSUAL), answers),
    st.lists(st.tuples(st.integers(2, 300), st.integers(0, 255)), max_size=4),
    st.binary(max_size=4),
)
@example(PLAIN[0], [(48, 0xC0), (49, 48)], b"")
def test_spoilt_packets(content: bytes, changes: list[tuple[int, int]], tail: bytes) -> None:
    spoilt = bytearray(content)
    for position, value in changes:
        if position < len(spoilt):
            spoilt[position] = value
    whole = bytes(spoilt) + tail
    if not is_reply(whole, QUESTION):
        return
    plain = read_plain(whole, QUESTION)
    if plain is None:
        return
    try:
        check(whole, plain)
    except (dns.exception.DNSException, DnsError) as error:
        pytest.fail(f"dnspython refuses it: {error!r}")
