import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.serve.protocols.codec import LookupResult, ProtocolFault
from onionmx.serve.protocols.socketmap import MAX_QUERY, SOCKETMAP, SocketmapParser
from onionmx.text import MAX_REASON
from tests.serve.protocols.codecs import domains, in_every_way, read

MAX_REPLY = 100_000  # bytes (Postfix: socketmap_max_reply_size)


def netstring(data: bytes) -> bytes:
    return b"%d:%b," % (len(data), data)


def keys(data: bytes) -> list[bytes | ProtocolFault]:
    return in_every_way(SocketmapParser, data)


def test_keys_in_any_pieces() -> None:
    data = netstring(b"transport user@example.org") + netstring(b"transport *") + netstring(b"x a b")
    assert keys(data) == [b"user@example.org", b"*", b"a b"]
    assert keys(data + b"15:transp") == [b"user@example.org", b"*", b"a b"]
    assert keys(netstring(b"transport ")) == [b""]
    assert keys(netstring(b"t " + b"k" * 5000)) == [b"k" * 5000]
    assert keys(netstring(b"t " + b"k" * (MAX_QUERY - 2))) == [b"k" * (MAX_QUERY - 2)]


@pytest.mark.parametrize("data", [b"0:,", netstring(b"transport")])
def test_a_netstring_without_a_key_is_a_fault_and_the_next_one_is_read(data: bytes) -> None:
    fault, key = keys(data + netstring(b"t example.org"))
    assert isinstance(fault, ProtocolFault)
    assert not fault.is_fatal
    assert key == b"example.org"


@pytest.mark.parametrize(
    "data",
    [
        b"2147483648:",
        b"99999999999999999999",
        b"10001:",
        b"-1:x,",
        b"+1:x,",
        b"1_0:",
        b" 1:x,",
        b"01:x,",
        b"00",
        b":x,",
        b"x",
        b"GET / HTTP/1.1\r\n",
        b"5:t abcX",
        b"\xd9\xa1:x,",  # a digit, but not one of ASCII
    ],
)
def test_a_broken_netstring_is_fatal(data: bytes) -> None:
    (fault,) = keys(data)
    assert isinstance(fault, ProtocolFault)
    assert fault.is_fatal
    assert fault.reason.isprintable()


def test_a_netstring_that_is_cut_off() -> None:
    for data in (b"5", b"5:", b"5:t ab", b"5:t abc"):
        (fault,) = in_every_way(SocketmapParser, data, ended=True)
        assert isinstance(fault, ProtocolFault)
    assert in_every_way(SocketmapParser, netstring(b"t abc"), ended=True) == [b"abc"]
    assert in_every_way(SocketmapParser, b"", ended=True) == []


def test_replies() -> None:
    assert SOCKETMAP.found(b"smtp:[127.0.0.1]:10025") == b"25:OK smtp:[127.0.0.1]:10025,"
    assert SOCKETMAP.none("whatever") == b"9:NOTFOUND ,"
    assert SOCKETMAP.failed(LookupResult.TEMPORARY, "no DNS") == b"11:TEMP no DNS,"
    assert SOCKETMAP.failed(LookupResult.TIMEOUT, "30 s") == b"12:TIMEOUT 30 s,"
    assert SOCKETMAP.failed(LookupResult.PERMANENT, "a\nb\x1b\xff") == b"17:PERM a\\nb\\x1b\\xff,"
    assert len(SOCKETMAP.failed(LookupResult.TEMPORARY, "\N{SNOWMAN}" * 200_000)) < MAX_REASON + 20 < MAX_REPLY


@given(st.binary(max_size=60).map(lambda key: b"t " + key), st.binary(max_size=10))
def test_one_whole_request_is_read_the_short_way_as_the_long_way(request: bytes, behind: bytes) -> None:
    data = netstring(request)
    assert [SOCKETMAP.sole_domain(data)] == domains(read(SocketmapParser(), [data]))
    if behind:
        short = SOCKETMAP.sole_domain(data + behind)
        assert short is None or [short] == domains(read(SocketmapParser(), [data + behind]))


@given(
    st.lists(st.one_of(st.binary(max_size=40), st.from_regex(rb"[0-9]{0,3}:?t [a-z@.]{0,9},"), st.just(b"7:t a@b.c,")))
)
def test_fuzz(pieces: list[bytes]) -> None:
    """Whatever comes in: keys or faults, no exception, and neither cuts nor the short way matter."""
    parser = SocketmapParser()
    found = read(parser, pieces)
    assert found == read(SocketmapParser(), [b"".join(pieces)])
    assert all(isinstance(one, bytes | ProtocolFault) for one in found)
    short = SOCKETMAP.sole_domain(b"".join(pieces))
    assert short is None or [short] == domains(found)
