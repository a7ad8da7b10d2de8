import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.serve.protocols.codec import LookupResult, ProtocolFault
from onionmx.serve.protocols.readsocket import MAX_LINE, READSOCKET, ReadsocketParser, ReadsocketQuestion
from tests.serve.protocols.codecs import in_every_way, read

HOSTS = ReadsocketQuestion(b"example.org", wants_hosts=True)
ROUTE = ReadsocketQuestion(b"user@example.org", wants_hosts=False)


def questions(data: bytes, *, ended: bool = False) -> list[ReadsocketQuestion | ProtocolFault]:
    return in_every_way(ReadsocketParser, data, ended=ended)


def test_questions_in_any_pieces() -> None:
    assert questions(b"hosts example.org\nroute user@example.org\r\n") == [HOSTS, ROUTE]
    assert questions(b"hosts example.org\nroute user@example.org") == [HOSTS]
    assert questions(b"hosts example.org\nroute user@example.org", ended=True) == [HOSTS, ROUTE]
    assert questions(b"hosts \n") == [ReadsocketQuestion(b"", wants_hosts=True)]


@pytest.mark.parametrize("line", [b"", b"example.org", b"HOSTS example.org", b"get example.org", b"\0\xff"])
def test_a_line_that_is_no_question_is_a_fault(line: bytes) -> None:
    (fault,) = questions(line + b"\n")
    assert isinstance(fault, ProtocolFault)
    assert not fault.is_fatal


def test_a_line_that_is_too_long_is_fatal() -> None:
    (fault,) = questions(b"hosts " + b"k" * MAX_LINE)
    assert isinstance(fault, ProtocolFault)
    assert fault.is_fatal


def test_replies() -> None:
    assert READSOCKET.found(b"127.192.0.1:127.192.0.2::2525") == b"found 127.192.0.1:127.192.0.2::2525\n"
    assert READSOCKET.none("no entry\nin the map") == b"none no entry\\nin the map\n"
    assert READSOCKET.none("") == b"none no onion MX\n"
    assert READSOCKET.failed(LookupResult.TEMPORARY, "no DNS") == b"defer no DNS\n"
    assert READSOCKET.malformed("what?") == b"defer what?\n"


@given(st.lists(st.one_of(st.binary(max_size=40), st.from_regex(rb"(hosts|route) [a-z@.]{0,9}\r?\n"))), st.booleans())
def test_fuzz(pieces: list[bytes], ended: bool) -> None:  # noqa: FBT001 -- hypothesis passes it
    """Whatever comes in: questions or faults, no exception, and the cuts do not matter."""
    found = read(ReadsocketParser(), pieces, ended=ended)
    assert found == read(ReadsocketParser(), [b"".join(pieces)], ended=ended)
    assert all(isinstance(one, ReadsocketQuestion | ProtocolFault) for one in found)
