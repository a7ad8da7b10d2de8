"""Messages in pieces against the same messages whole, done the slow and obvious way."""

import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.smtp.content import ContentScan, DotStuffer, NewlineNormalizer, ReceivedCounter

AWKWARD = st.lists(st.sampled_from([b"\r", b"\n", b"\r\n", b".", b"x", b"\0", b"\xe4"]), max_size=30).map(b"".join)
LINES = st.lists(st.sampled_from([b"", b".", b"..", b"x", b".x", b"x."]), max_size=10).map(b"\r\n".join)
HEADERS = st.lists(
    st.sampled_from(
        [b"Received: a\r\n", b"received:\r\n", b"X: Received:\r\n", b" Received:\n", b"\r\n", b"\n", b"Rec"]
    ),
    max_size=12,
).map(b"".join)
CUTS = st.lists(st.integers(0, 60), max_size=8)


def cut(data: bytes, cuts: list[int]) -> list[bytes]:
    places = sorted(min(place, len(data)) for place in cuts)
    return [data[start:end] for start, end in zip([0, *places], [*places, len(data)], strict=True)]


@given(AWKWARD, CUTS)
def test_scan(data: bytes, cuts: list[int]) -> None:
    scan = ContentScan()
    for piece in cut(data, cuts):
        scan.feed(piece)
    scan.finish()
    assert scan.size == len(data)
    assert scan.has_bare_newline == bool(re.search(rb"\r(?!\n)|(?<!\r)\n", data))


@given(AWKWARD, CUTS)
def test_normalize(data: bytes, cuts: list[int]) -> None:
    normalizer = NewlineNormalizer()
    out = b"".join(normalizer.feed(piece) for piece in cut(data, cuts)) + normalizer.finish()
    assert out == re.sub(rb"\r\n|\r|\n", b"\r\n", data)


@pytest.mark.parametrize("pieces", [[b"a\r", b"\nb"], [b"a", b"\r\nb"], [b"a\r\n", b"b"], [b"a\r", b"", b"\nb"]])
def test_a_line_end_on_a_border_is_none_too_many(pieces: list[bytes]) -> None:
    scan, normalizer = ContentScan(), NewlineNormalizer()
    assert b"".join(map(normalizer.feed, pieces)) + normalizer.finish() == b"a\r\nb"
    for piece in pieces:
        scan.feed(piece)
        assert not scan.has_bare_newline
    scan.finish()
    assert not scan.has_bare_newline


@given(LINES, CUTS)
def test_dot_stuffing(data: bytes, cuts: list[int]) -> None:
    stuffer = DotStuffer()
    out = b"".join(stuffer.feed(piece) for piece in cut(data, cuts)) + stuffer.finish()
    assert out.endswith(b"\r\n.\r\n") or out == b".\r\n"
    # The way back, as RFC 5321 section 4.5.2 tells the server: only the last line may be a lone dot.
    *lines, last, nothing = out.split(b"\r\n")
    assert (last, nothing) == (b".", b"")
    assert b"." not in lines
    received = b"".join(line.removeprefix(b".") + b"\r\n" for line in lines)
    assert received == (data if not data or data.endswith(b"\r\n") else data + b"\r\n")


def test_smuggling_through_normalized_newlines() -> None:
    """The end of the data that a bare newline hides must not become a real one."""
    normalizer, stuffer = NewlineNormalizer(), DotStuffer()
    pieces = [b"x\n.\r", b"\nMAIL FROM:<>\r\n\r.\r", b"\n"]
    clean = b"".join(map(normalizer.feed, pieces)) + normalizer.finish()
    out = stuffer.feed(clean) + stuffer.finish()
    assert out == b"x\r\n..\r\nMAIL FROM:<>\r\n\r\n..\r\n.\r\n"


@given(HEADERS, CUTS)
def test_received(data: bytes, cuts: list[int]) -> None:
    counter = ReceivedCounter()
    for piece in cut(data, cuts):
        counter.feed(piece)
    header = re.split(rb"(?m)^\r?\n", data, maxsplit=1)[0]
    assert counter.count == len(re.findall(rb"(?im)^received:", header))


def test_received_in_the_body_does_not_count() -> None:
    counter = ReceivedCounter()
    counter.feed(b"Received: a\r\n folded\r\nRECEIVED: b\r\n\r\nReceived: c\r\n")
    assert counter.count == 2
    assert not counter.in_header
    counter.feed(b"\r\nReceived: d\r\n")
    assert counter.count == 2
