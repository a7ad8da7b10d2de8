from urllib.parse import unquote_to_bytes

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.serve.protocols.codec import LookupResult, ProtocolFault
from onionmx.serve.protocols.tcp_table import MAX_LINE, TCP_TABLE, TcpTableParser
from tests.serve.protocols.codecs import domains, in_every_way, read


def keys(data: bytes) -> list[bytes | ProtocolFault]:
    return in_every_way(TcpTableParser, data)


def test_keys_in_any_pieces() -> None:
    data = b"get user@example.org\nget *\nget \nget a%20b%00%25%ff\n"
    assert keys(data) == [b"user@example.org", b"*", b"", b"a b\0%\xff"]
    assert keys(data + b"get ex") == keys(data)
    assert keys(b"get example.org\r\n") == [b"example.org"]


@pytest.mark.parametrize(
    "line", [b"", b"put key value", b"GET key", b"get", b"get %", b"get %4", b"get %zz", b"\xff\0"]
)
def test_a_line_that_is_no_request_is_a_fault_and_the_next_one_is_read(line: bytes) -> None:
    fault, key = keys(line + b"\nget example.org\n")
    assert isinstance(fault, ProtocolFault)
    assert not fault.is_fatal
    assert key == b"example.org"


def test_a_line_that_is_too_long_is_fatal() -> None:
    assert keys(b"get " + b"k" * (MAX_LINE - 4) + b"\n") == [b"k" * (MAX_LINE - 4)]
    for end in (b"", b"\n"):
        (fault,) = keys(b"get " + b"k" * MAX_LINE + end)
        assert isinstance(fault, ProtocolFault)
        assert fault.is_fatal


def test_a_line_that_is_cut_off() -> None:
    (fault,) = in_every_way(TcpTableParser, b"get exam", ended=True)
    assert isinstance(fault, ProtocolFault)
    assert in_every_way(TcpTableParser, b"get a\n", ended=True) == [b"a"]


def test_replies() -> None:
    assert TCP_TABLE.found(b"smtp:[127.0.0.1]:10025") == b"200 smtp:[127.0.0.1]:10025\n"
    assert TCP_TABLE.found(b"100% of it") == b"200 100%25%20of%20it\n"
    assert TCP_TABLE.none("") == b"500 no%20onion%20MX\n"
    assert TCP_TABLE.failed(LookupResult.TIMEOUT, "late\n") == b"400 late\\n\n"
    assert len(TCP_TABLE.failed(LookupResult.TEMPORARY, " " * 100_000)) < MAX_LINE


@given(st.text(max_size=600))
def test_a_reply_is_one_printable_line(reason: str) -> None:
    line = TCP_TABLE.failed(LookupResult.TEMPORARY, reason)
    assert line.startswith(b"400 ")
    assert line.endswith(b"\n")
    assert line[:-1].decode("ascii").isprintable()
    assert len(line) <= MAX_LINE


@given(st.binary(max_size=60))
def test_a_key_that_is_escaped_is_read_back(key: bytes) -> None:
    escaped = b"".join(b"%%%02x" % byte for byte in key)
    assert unquote_to_bytes(escaped) == key
    assert keys(b"get " + escaped + b"\n") == [key]


@given(st.lists(st.one_of(st.binary(max_size=40), st.from_regex(rb"get [a-z@.%]{0,9}\r?\n"))))
def test_fuzz(pieces: list[bytes]) -> None:
    """Whatever comes in: keys or faults, no exception, and the cuts do not matter, nor the short way."""
    found = read(TcpTableParser(), pieces)
    assert found == read(TcpTableParser(), [b"".join(pieces)])
    assert all(isinstance(one, bytes | ProtocolFault) for one in found)
    short = TCP_TABLE.sole_domain(b"".join(pieces))
    assert short is None or [short] == domains(found)
