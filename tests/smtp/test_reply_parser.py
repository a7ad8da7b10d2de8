"""Replies as RFCs have them and as real servers send them: whole, byte by byte, and with bytes behind."""

from collections.abc import Iterable

import pytest

from onionmx.smtp.faults import ReplySyntaxError
from onionmx.smtp.reply import Reply
from onionmx.smtp.reply_parser import MAX_LINE_LENGTH, MAX_REPLY_LENGTH, ReplyParser
from tests.smtp.client.dialogs import Feed, bytewise, whole

REPLIES = [
    (b"250 OK\r\n", Reply(250, "", ("OK",))),
    (b"250\r\n", Reply(250, "", ("",))),
    (b"250 \r\n", Reply(250, "", ("",))),
    (b"250 OK\n", Reply(250, "", ("OK",))),
    (b"250-a\r\n250 b\r\n", Reply(250, "", ("a", "b"))),
    (b"250-a\r\n250-\r\n250\r\n", Reply(250, "", ("a", "", ""))),
    (b"299 what\r\n", Reply(299, "", ("what",))),
    (b"250 2.1.5 fine\r\n", Reply(250, "2.1.5", ("fine",))),
    (b"550-5.1.1 no\r\n550 5.1.1 such user\r\n", Reply(550, "5.1.1", ("no", "such user"))),
    (b"550-5.1.1 no\r\n550 such user\r\n", Reply(550, "5.1.1", ("no", "such user"))),
    (b"550-5.1.1 no\r\n550 5.7.1 never\r\n", Reply(550, "5.1.1", ("no", "5.7.1 never"))),
    (b"550-no\r\n550 5.1.1 such user\r\n", Reply(550, "", ("no", "5.1.1 such user"))),
    (b"550 5.123.456\r\n", Reply(550, "5.123.456", ("",))),
    (b"550 4.1.1 another class\r\n", Reply(550, "", ("4.1.1 another class",))),
    (b"550 5.1234.1 too long\r\n", Reply(550, "", ("5.1234.1 too long",))),
    (b"250 2.3.4.5 is an address\r\n", Reply(250, "", ("2.3.4.5 is an address",))),
    (b"354 3.0.0 go\r\n", Reply(354, "", ("3.0.0 go",))),
    (b"250 gr\xc3\xbc\xc3\x9fe\r\n", Reply(250, "", ("grüße",))),
    (b"250 gr\xfc\xdfe\r\n", Reply(250, "", ("gr\\xfc\\xdfe",))),
    (b"550 a\rb\0c\x1bd\x7fe\tf\xc2\x85g\r\n", Reply(550, "", ("a?b?c?d?e\tf?g",))),
    ("550 \u202ea\u2028b\tc\U000e0041\r\n".encode(), Reply(550, "", ("\\u202ea\\u2028b\tc\\U000e0041",))),
    (b"250 " + b"x" * (MAX_LINE_LENGTH - 6) + b"\r\n", Reply(250, "", ("x" * (MAX_LINE_LENGTH - 6),))),
]

NO_REPLIES = [
    b"\r\n",
    b"OK\r\n",
    b"25\r\n",
    b"2500 OK\r\n",
    b"250_OK\r\n",
    b"150 go on\r\n",
    b"600 what\r\n",
    b"-250 OK\r\n",
    b" 250 OK\r\n",
    b"250-a\r\n251 b\r\n",
    b"250-a\r\nb\r\n",
    b"SSH-2.0-OpenSSH_9.2",
    b"\x16\x03\x01\x02\x00\x01",
    b"\xef\xbc\x92\xef\xbc\x95\xef\xbc\x90 OK\r\n",
    b"250-x\r\n" * (MAX_REPLY_LENGTH // 5),
]


def parse(pieces: Iterable[bytes]) -> list[Reply]:
    parser = ReplyParser()
    replies = []
    for piece in pieces:
        parser.feed(piece)
        while reply := parser.next_reply():
            replies.append(reply)
    return replies


@pytest.mark.parametrize("feed", [whole, bytewise])
@pytest.mark.parametrize(("data", "reply"), REPLIES)
def test_reply(data: bytes, reply: Reply, feed: Feed) -> None:
    assert parse(feed(data + data + b"25")) == [reply, reply]


@pytest.mark.parametrize("feed", [whole, bytewise])
@pytest.mark.parametrize("data", NO_REPLIES)
def test_no_reply(data: bytes, feed: Feed) -> None:
    with pytest.raises(ReplySyntaxError):
        parse(feed(data))


def test_the_text_cannot_break_a_reply_of_ours() -> None:
    (reply,) = parse([b"550 no\r250 OK\xff\r\n"])
    assert reply.passed_through().to_bytes() == b"550 onion-mx said: no?250 OK\\xff\r\n"


@pytest.mark.parametrize("end", [b"\r\n", b"\n"])
@pytest.mark.parametrize("size", [MAX_LINE_LENGTH - 6, MAX_LINE_LENGTH, 10_000, 1_000_000])
@pytest.mark.parametrize("step", [1_000_000_000, 1000, 7])
def test_a_long_line_is_cut_and_its_code_counts(size: int, step: int, end: bytes) -> None:
    data = b"550-5.1.1 a\r\n550 5.1.1 " + b"x" * size + end + b"250 OK\r\n"
    refused, accepted = parse(data[at : at + step] for at in range(0, len(data), step))
    assert (refused.code, refused.lines[0], accepted.text) == (550, "a", "OK")
    assert set(refused.lines[1]) == {"x"}
    assert len(refused.lines[1]) <= MAX_LINE_LENGTH


def test_a_megabyte_in_a_line_is_not_gathered() -> None:
    parser = ReplyParser()
    for _ in range(1000):
        parser.feed(b"250 " + b"x" * 1020)
        assert parser.next_reply() is None
        assert len(parser._head) + len(parser._buffer) <= 2 * MAX_LINE_LENGTH  # noqa: SLF001 -- what it holds
    assert parser.has_leftover


def test_words_of_a_reply_with_two_codes() -> None:
    with pytest.raises(ReplySyntaxError, match=r"220 and 521: 220 mx / 521 5\.7\.1 blocked using list\.example"):
        parse([b"220-mx\r\n521 5.7.1 blocked using list.example\r\n"])


def test_leftover() -> None:
    parser = ReplyParser()
    parser.feed(b"220 go\r\n")
    assert parser.next_reply()
    assert not parser.has_leftover
    parser.feed(b"2")
    assert parser.has_leftover
