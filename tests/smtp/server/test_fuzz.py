"""Anything may come in: no exception, no reply for a fault of ours, and always in step.

In step: a stream made of whole commands gets one reply each (the greeting, and those behind content, beside), and at
the end of whatever came, each transaction has ended exactly once.
"""

import asyncio
import logging
import re
from collections.abc import Iterator
from contextlib import contextmanager
from logging.handlers import BufferingHandler

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from onionmx.smtp.dots import DotDecoder
from onionmx.smtp.server import ServerSettings
from onionmx.smtp.server.path import parse_path
from tests.smtp.server.recorder import Recorder
from tests.smtp.server.wire import Wire

REPLY = re.compile(rb"(?:(\d{3})-[^\r\n]*\r\n)*(\d{3}) [^\r\n]*\r\n")
CONTENT = st.lists(
    st.sampled_from([b"\r\n", b".", b"\r", b"\n", b"x", b"\x00", b"\xff", b"QUIT\r\n", b"\r\n.", b"a" * 3000]),
    max_size=8,
).map(b"".join)
COMMANDS = [
    b"EHLO x",
    b"LHLO x",
    b"HELO x",
    b"MAIL FROM:<>",
    b"MAIL FROM:<a@b.example> SIZE=10 BODY=8BITMIME",
    "MAIL FROM:<ä@b.example> SMTPUTF8".encode(),
    b"RCPT TO:<c@d.example>",
    b"RCPT TO:<refused@d.example> NOTIFY=NEVER",
    b"RSET",
    b"NOOP",
    b"VRFY x",
    b"EXPN x",
    b"\xff\xfe",
    b"",
    b"x" * 2100,
]
COMMAND = st.sampled_from(COMMANDS).map(lambda line: line + b"\r\n")
STUFFED = st.sampled_from([b"", b"x\r\n", b"..\r\n", b"a\nb\r\n", b"l" * 3000 + b"\r\n"])
DATA = STUFFED.map(lambda content: b"DATA\r\n" + content + b".\r\n")
CHUNK = st.tuples(CONTENT, st.sampled_from([b"", b" LAST", b" last", b" x"])).map(
    lambda chunk: b"BDAT %d%s\r\n%s" % (len(chunk[0]), chunk[1], chunk[0])
)
FLIGHT = CONTENT.map(
    lambda content: b"MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT %d LAST\r\n%s" % (len(content), content)
)
TWO_FAULTS = b"MAIL FROM:<>\r\nRCPT TO:<c@d.example>\r\nBDAT 12001 LAST\r\n\r" + b"a" * 12_000
"""A bare CR, and too long: the first is to be named, also where both come in one piece."""
DIALOG = st.lists(st.one_of(COMMAND, FLIGHT, CHUNK), max_size=14)
JUNK = st.lists(st.one_of(COMMAND, FLIGHT, CHUNK, DATA, st.binary(max_size=40)), max_size=14).map(b"".join)
SIZES = st.lists(st.integers(1, 5000), max_size=6)


def converse(data: bytes, sizes: list[int], *, is_lmtp: bool, settings: ServerSettings) -> tuple[Recorder, bytes]:
    recorder = Recorder()

    async def session() -> bytes:
        wire = Wire(recorder, settings, is_lmtp=is_lmtp)
        rest = data
        for size in sizes:
            wire.send(rest[:size])
            rest = rest[size:]
            await asyncio.sleep(0)
        wire.send(rest)
        wire.end()
        await wire.finished()
        await wire.server.close(1)
        return bytes(wire.received)

    return recorder, asyncio.run(session())


def codes(received: bytes) -> list[bytes]:
    """Code of each reply; all octets belong to one."""
    assert REPLY.sub(b"", received) == b""
    return [match[2] for match in REPLY.finditer(received)]


@contextmanager
def no_complaints() -> Iterator[None]:
    """Nothing from a warning on may get into the log."""
    handler = BufferingHandler(capacity=1000)
    handler.setLevel(logging.WARNING)
    logging.getLogger().addHandler(handler)
    try:
        yield
    finally:
        logging.getLogger().removeHandler(handler)
    assert not handler.buffer


@settings(max_examples=400)
@given(JUNK, SIZES, st.booleans(), st.sampled_from(["reject", "normalize"]))
def test_junk(data: bytes, sizes: list[int], is_lmtp: bool, bare_newline: str) -> None:  # noqa: FBT001
    limits = ServerSettings(bare_newline=bare_newline, max_message_size=10_000)  # type: ignore[arg-type]
    with no_complaints():
        recorder, received = converse(data, sizes, is_lmtp=is_lmtp, settings=limits)
    assert b"451" not in codes(received)
    assert all(end in {"content", "content broken", "abandon"} for end in recorder.ends), recorder.ends
    for _, recipients, content in recorder.messages:
        assert recipients
        assert content.count(b"\r\n") == content.count(b"\r") == content.count(b"\n")


@settings(max_examples=400)
@given(DIALOG, SIZES)
@example([TWO_FAULTS], [64])
def test_each_command_has_one_reply(dialog: list[bytes], sizes: list[int]) -> None:
    """In SMTP, and without DATA, whose content would be commands where it is refused."""
    recorder, received = converse(
        b"EHLO x\r\n" + b"".join(dialog), sizes, is_lmtp=False, settings=ServerSettings(max_message_size=10_000)
    )
    commands = 1 + sum((item.startswith(b"MAIL") and b"BDAT" in item and 3) or 1 for item in dialog)
    replies = codes(received)
    if b"421" not in replies:  # too many bad commands
        assert len(replies) == commands + 1
    again, same = converse(
        b"EHLO x\r\n" + b"".join(dialog), [], is_lmtp=False, settings=ServerSettings(max_message_size=10_000)
    )
    assert same == received
    assert again.messages == recorder.messages


@given(CONTENT, CONTENT, SIZES)
def test_dots(content: bytes, rest: bytes, sizes: list[int]) -> None:
    """Whatever is stuffed comes back, in whatever pieces, and what follows the end is not touched."""
    content += b"\r\n"
    stuffed = (b"\r\n" + content).replace(b"\r\n.", b"\r\n..")[2:]
    data = stuffed + b".\r\n" + rest
    decoder = DotDecoder()
    decoded = b""
    for size in [*sizes, len(data)]:
        if not decoder.ended:
            got, left = decoder.feed(data[:size])
            decoded += got
            data = left + data[size:]
    assert decoder.ended
    assert decoded == content
    assert data == rest


@given(st.text(max_size=60))
def test_path_never_fails(text: str) -> None:
    for arguments in (text, f"<{text}>", f"<{text}> {text}"):
        path = parse_path(arguments)
        assert path is None or not set(path[0].partition('"')[0]) & set("<> ")


@pytest.mark.parametrize("unit", ['"', '"\\', "@[", "@a,", "@a:", "a@", "\\", "<", " "])
def test_path_is_read_in_no_time(unit: str) -> None:
    """As long as a command line can be, and made to go back over: it would take hours if each step went back."""
    parse_path("<" + unit * (2000 // len(unit)))
    parse_path("<@" + unit * (2000 // len(unit)) + ">")
