"""A full relay whose users cannot be told from each other, as with `PrivateUsers=yes`: the MTA gets in anyway."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager

import pytest
import uvloop

from onionmx.smtp.reply import OurReply
from onionmx.smtp.server import ServerSettings, listen_tcp
from tests.net.crowd import crowd
from tests.smtp.server.recorder import Recorder
from tests.smtp.server.test_room import LIMIT, MAKING_ROOM, mail_goes
from tests.smtp.server.test_serve import OPEN, port_of, served

Ends = tuple[asyncio.StreamReader, asyncio.StreamWriter]

pytestmark = pytest.mark.usefixtures("_nobody_is_told")


@pytest.fixture
def _nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onionmx.net.clients._told", lambda _uid: None)


def play(test: Callable[[int], Awaitable[None]], recorder: Recorder) -> None:
    """Serve as the relay does, in uvloop, which takes one connection in each turn."""

    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        async with served(recorder, listener, settings=ServerSettings(max_connections=LIMIT)):
            await asyncio.wait_for(test(port_of(listener)), 300)

    uvloop.run(main())


@asynccontextmanager
async def opened(port: int, words: bytes, answer: bytes, number: int) -> AsyncIterator[list[Ends]]:
    """Connections that have said something and heard the answer."""
    ends: list[Ends] = []
    try:
        for _ in range(number):
            reader, writer = await asyncio.open_connection("127.0.0.1", port)
            ends.append((reader, writer))
            writer.write(words)
            await reader.readuntil(answer)
        yield ends
    finally:
        for _, writer in ends:
            writer.close()


@pytest.mark.parametrize("number", [LIMIT, 2 * LIMIT])
@pytest.mark.parametrize(
    ("words", "again"),
    [
        (b"", b""),
        (b"EHLO x\r\n", b"NOOP\r\n"),
        (b"EHLO x\r\nMAIL FROM:<>\r\n", b"NOOP\r\n"),
        (b"EHLO x\r\nMAIL FROM:<>\r\n", b"RSET\r\nMAIL FROM:<>\r\n"),
        (OPEN + b"DATA\r\n", b"x"),
        (OPEN + b"BDAT 1000000\r\n", b"x"),
        (OPEN, b"BDAT 0\r\n"),
    ],
)
def test_crowd_cannot_keep_the_mta_out(words: bytes, again: bytes, number: int) -> None:
    """It keeps busy, and opens another connection for each that it loses, or as many as it can."""

    async def test(port: int) -> None:
        async with crowd(port, number, LIMIT, words, again):
            for _ in range(10):
                await mail_goes(port)

    recorder = Recorder()
    play(test, recorder)
    assert len(recorder.messages) == 10


@pytest.mark.parametrize(
    ("words", "answer"),
    [
        (b"EHLO x\r\nMAIL FROM:<>\r\n", OurReply.SENDER_OK.value.to_bytes()),
        (OPEN + b"DATA\r\n", b"354 end with CRLF . CRLF\r\n"),
        (OPEN + b"BDAT 3\r\nabcBDAT 3\r\na", b"3 octets received\r\n"),
    ],
)
def test_the_one_that_goes_hears_why(words: bytes, answer: bytes) -> None:
    async def test(port: int) -> None:
        async with opened(port, words, answer, LIMIT) as ends:
            last_words = [asyncio.create_task(reader.read()) for reader, _ in ends]
            await mail_goes(port)
            (gone,), others = await asyncio.wait(last_words, return_when=asyncio.FIRST_COMPLETED)
            assert gone.result() == MAKING_ROOM
            for other in others:
                other.cancel()
            await asyncio.gather(*others, return_exceptions=True)

    recorder = Recorder()
    play(test, recorder)
    assert len(recorder.messages) == 1


def test_message_that_has_come_to_its_end_stays() -> None:
    gate = asyncio.Event()
    recorder = Recorder(last_gate=gate)

    async def test(port: int) -> None:
        words = OPEN + b"DATA\r\nx\r\n.\r\n"
        async with opened(port, words, b"354 end with CRLF . CRLF\r\n", LIMIT) as ends:
            while len(recorder.messages) < LIMIT:  # noqa: ASYNC110 -- nothing tells it
                await asyncio.sleep(0)
            async with opened(port, b"", OurReply.TOO_MANY_CONNECTIONS.value.to_bytes(), 1):
                gate.set()
                for reader, _ in ends:
                    assert await reader.readline() == OurReply.DELIVERED.value.to_bytes()

    play(test, recorder)
    assert len(recorder.messages) == LIMIT
