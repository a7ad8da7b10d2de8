"""BDAT (RFC 3030), in the same three ways as the other dialogs."""

from collections.abc import Callable

import pytest

from tests.smtp.server.dialog import WAYS, play

pytestmark = pytest.mark.parametrize("way", WAYS, ids=lambda way: way.__name__)
Way = Callable[..., object]

OPEN = """
    > MAIL FROM:<a@example.org>
    < 250 2.1.0 OK
    > RCPT TO:<b@example.net>
    < 250 2.1.5 OK
"""


def test_chunks(way: Way) -> None:
    recorder = play(
        OPEN
        + r"""
    >> BDAT 3\r\nab\r
    < 250 2.0.0 3 octets received
    >> bdat 1\r\n\n
    < 250 2.0.0 1 octets received
    > BDAT 0
    < 250 2.0.0 0 octets received
    > NOOP
    < 250 2.0.0 OK
    >> BDAT 5\r\n.\r\n.\r
    < 250 2.0.0 5 octets received
    >> BDAT 2 last\r\n\nx
    < 250 2.0.0 OK
    > BDAT 0 LAST
    < 503 5.5.1 send MAIL first
    """,
        way,
    )
    assert recorder.messages == [("a@example.org", ["b@example.net"], b"ab\r\n.\r\n.\r\nx")]


def test_last_chunk_is_empty(way: Way) -> None:
    recorder = play(
        OPEN
        + r"""
    >> BDAT 4\r\nab\r\n
    < 250 2.0.0 4 octets received
    > BDAT 0 LAST
    < 250 2.0.0 OK
    """,
        way,
    )
    assert recorder.messages == [("a@example.org", ["b@example.net"], b"ab\r\n")]


def test_chunks_out_of_place(way: Way) -> None:
    """The octets are read and thrown away, whatever they look like."""
    recorder = play(
        r"""
    >> BDAT 6\r\nQUIT\r\n
    < 503 5.5.1 send MAIL first
    > MAIL FROM:<a@example.org>
    < 250 2.1.0 OK
    >> BDAT 6 LAST\r\nQUIT\r\n
    < 503 5.5.1 no recipient was accepted
    > RCPT TO:<b@example.net>
    < 503 5.5.1 a chunk was refused: send RSET
    >> BDAT 6 LAST\r\nQUIT\r\n
    < 503 5.5.1 a chunk was refused: send RSET
    > RSET
    < 250 2.0.0 no transaction is open
    """,
        way,
    )
    assert recorder.ends == ["abandon"]


def test_data_and_chunks_do_not_mix(way: Way) -> None:
    recorder = play(
        OPEN
        + r"""
    >> BDAT 4\r\nab\r\n
    < 250 2.0.0 4 octets received
    > DATA
    < 503 5.5.1 the content has begun with BDAT
    > RCPT TO:<c@example.net>
    < 503 5.5.1 the content has begun
    > MAIL FROM:<c@example.net>
    < 503 5.5.1 a transaction is open already
    >> BDAT 4 LAST\r\nab\r\n
    < 250 2.0.0 OK
    """,
        way,
    )
    assert recorder.messages == [("a@example.org", ["b@example.net"], b"ab\r\nab\r\n")]


@pytest.mark.parametrize("command", ["RSET", "EHLO again"])
def test_reset_between_chunks(way: Way, command: str) -> None:
    reply = "    < 250 2.0.0 no transaction is open"
    if command != "RSET":
        reply = (
            "    < 250-onionmx.localhost\n    < 250-PIPELINING\n    < 250-CHUNKING\n    < 250-SIZE 104857600\n"
            "    < 250-8BITMIME\n    < 250-SMTPUTF8\n    < 250-DSN\n    < 250 ENHANCEDSTATUSCODES"
        )
    recorder = play(
        OPEN
        + rf"""
    >> BDAT 4\r\nab\r\n
    < 250 2.0.0 4 octets received
    > {command}
{reply}
    >> BDAT 4 LAST\r\nab\r\n
    < 503 5.5.1 send MAIL first
    """
        + OPEN
        + r"""
    >> BDAT 4 LAST\r\ncd\r\n
    < 250 2.0.0 OK
    """,
        way,
    )
    assert recorder.messages == [("a@example.org", ["b@example.net"], b"cd\r\n")]
    assert recorder.ends == ["content broken", "content"]


def test_chunk_with_a_wrong_keyword(way: Way) -> None:
    recorder = play(
        OPEN
        + r"""
    >> BDAT 4 FIRST\r\nab\r\n
    < 501 5.5.4 expected LAST or nothing after the chunk size
    >> BDAT 4 LAST\r\nab\r\n
    < 503 5.5.1 a chunk was refused: send RSET
    """,
        way,
    )
    assert recorder.messages == []


@pytest.mark.parametrize("size", ["", "x", "-1", "0x10", "1" * 21, "٣"])
def test_chunk_without_a_size_ends_the_session(way: Way, size: str) -> None:
    """Nobody knows how many of the next octets are commands."""
    play(
        OPEN
        + rf"""
    > BDAT {size}
    < 501 5.5.4 the chunk size is not a number
    < 421 4.7.0 cannot find the end of the chunk
    > QUIT
    """,
        way,
    )


def test_bare_newline_in_a_chunk(way: Way) -> None:
    recorder = play(
        OPEN
        + r"""
    >> BDAT 3\r\na\nb
    < 554 5.6.0 bare CR or LF in the message
    >> BDAT 3 LAST\r\nabc
    < 503 5.5.1 a chunk was refused: send RSET
    > RSET
    < 250 2.0.0 no transaction is open
    """
        + OPEN
        + r"""
    >> BDAT 2\r\na\r
    < 250 2.0.0 2 octets received
    > BDAT 0 LAST
    < 554 5.6.0 bare CR or LF in the message
    > NOOP
    < 250 2.0.0 OK
    """,
        way,
    )
    assert recorder.ends == ["content broken", "content broken"]
