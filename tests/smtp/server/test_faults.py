"""What goes wrong: in the delivery, on the connection, in time."""

import asyncio
import logging

import pytest

from onionmx.smtp.dots import DotDecoder
from onionmx.smtp.reply import OurReply, Reply
from onionmx.smtp.server import ServerSettings, connection
from tests.smtp.server.dialog import EXTENSIONS, play
from tests.smtp.server.recorder import Recorder
from tests.smtp.server.wire import Wire

OPEN = """
    > MAIL FROM:<a@example.org>
    < 250 2.1.0 OK
    > RCPT TO:<b@example.net>
    < 250 2.1.5 OK
"""
DATA = """
    > DATA
    < 354 end with CRLF . CRLF
    > x
    > .
"""
SECRET = RuntimeError("/etc/secret")
FAULTS: list[BaseException] = [SECRET, OSError(5, "I/O"), TimeoutError(), asyncio.CancelledError(), EOFError()]


@pytest.mark.parametrize("fault", FAULTS, ids=repr)
@pytest.mark.parametrize("step", ["begin", "recipient", "content", "end", "abandon"])
def test_fault_of_the_delivery_is_temporary(step: str, fault: BaseException, caplog: pytest.LogCaptureFixture) -> None:
    """451 without a word of the cause, the traceback in the log, and the session goes on."""
    internal = "    < 451 4.3.0 internal error\n"
    text = {
        "begin": "    > MAIL FROM:<>\n" + internal + "    > RCPT TO:<b@example.net>\n    < 503 5.5.1 send MAIL first\n",
        "recipient": "    > MAIL FROM:<>\n    < 250 2.1.0 OK\n    > RCPT TO:<b@example.net>\n" + internal,
        "content": OPEN + DATA + internal,
        "end": OPEN + DATA + internal,
        "abandon": OPEN,
    }[step]
    goes_on = "    > RSET\n    < 250 2.0.0 no transaction is open\n    > NOOP\n    < 250 2.0.0 OK"
    play(text + goes_on, recorder=Recorder(fault={step: fault}))
    if step in {"content", "end"} and isinstance(fault, asyncio.CancelledError):
        return  # nothing to tell: a cancelled task has no traceback
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert record.exc_info
    assert record.exc_info[1] is fault


@pytest.mark.parametrize("count", [0, 1, 3])
def test_wrong_number_of_replies(count: int, caplog: pytest.LogCaptureFixture) -> None:
    play(
        OPEN
        + "    > RCPT TO:<c@example.net>\n    < 250 2.1.5 OK"
        + DATA
        + "    < 451 4.3.0 internal error\n    < 451 4.3.0 internal error\n    > NOOP\n    < 250 2.0.0 OK",
        recorder=Recorder(final=[OurReply.DELIVERED.value] * count),
        is_lmtp=True,
    )
    assert f"{count} final replies" in caplog.text


def test_acceptance_before_the_end_is_no_acceptance(caplog: pytest.LogCaptureFixture) -> None:
    play(OPEN + DATA + "    < 451 4.3.0 internal error", recorder=Recorder(read=False))
    assert "without having read it" in caplog.text


def test_refusal_before_the_end_is_a_verdict() -> None:
    recorder = Recorder(read=False, final=[Reply(550, "5.4.4", ("no",))])
    play(OPEN + DATA + "    < 550 5.4.4 no\n    > NOOP\n    < 250 2.0.0 OK", recorder=recorder)


@pytest.mark.parametrize("reply", [Reply(354), Reply(250, "2.0.0")])
def test_reply_that_does_not_belong_there(reply: Reply, caplog: pytest.LogCaptureFixture) -> None:
    if reply.is_positive:
        play("    > MAIL FROM:<>\n    < 451 4.3.0 internal error", recorder=Recorder(sender=reply))
    else:
        play(OPEN + DATA + "    < 451 4.3.0 internal error", recorder=Recorder(final=[reply]))
        answer = "    > MAIL FROM:<>\n    < 250 2.1.0 OK\n    > RCPT TO:<b@example.net>\n    < 451 4.3.0 internal error"
        play(answer, recorder=Recorder(recipients={"b@example.net": reply}))
    assert caplog.records


def test_refused_sender() -> None:
    play("    > MAIL FROM:<>\n    < 451 4.4.1 no", recorder=Recorder(sender=Reply(451, "4.4.1", ("no",))))


def test_fault_of_our_own(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> None:
    """Among commands the session goes on; inside of content nobody knows where, so it ends."""

    def fail(*_: object) -> None:
        raise SECRET

    monkeypatch.setattr("onionmx.smtp.server.commands.parse_path", fail)
    play("    > MAIL FROM:<>\n    < 451 4.3.0 internal error\n    > NOOP\n    < 250 2.0.0 OK")
    monkeypatch.undo()
    monkeypatch.setattr(DotDecoder, "feed", fail)
    recorder = play(OPEN + DATA.rstrip() + "\n    > QUIT\n    < 451 4.3.0 internal error")
    assert recorder.ends == ["content broken"]
    assert len(caplog.records) == 2


WHOLE = (
    b"EHLO client.example\r\nMAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nBDAT 4\r\nab\r\n"
    b"BDAT 4 LAST\r\ncd\r\n"
    b"MAIL FROM:<a@example.org>\r\nRCPT TO:<b@example.net>\r\nDATA\r\nab\r\ncd\r\n.\r\nQUIT\r\n"
)


@pytest.mark.parametrize("how", ["eof", "close", "reset", "timeout"])
def test_session_ends_after_each_octet(how: str, caplog: pytest.LogCaptureFixture) -> None:
    """A message is taken whole or not at all, each transaction ends once, and nothing gets into the log."""

    async def cut_at(size: int) -> None:
        recorder = Recorder()
        wire = Wire(recorder, ServerSettings(idle_timeout=0.001 if how == "timeout" else 900))
        wire.send(WHOLE[:size])
        if how == "eof":
            wire.end()
        elif how == "close":
            wire.lose()
        elif how == "reset":
            await asyncio.sleep(0)
            wire.lose(ConnectionResetError())
        await wire.finished()
        await wire.server.close(1)
        assert all(message == b"ab\r\ncd\r\n" for _, _, message in recorder.messages)
        assert all(end in {"content", "content broken", "abandon"} for end in recorder.ends), recorder.ends
        if how == "eof":
            whole = (size >= WHOLE.index(b"cd\r\nMAIL") + 4) + (size >= WHOLE.index(b".\r\nQUIT") + 3)
            assert len(recorder.messages) == whole
        if how == "timeout" and size < len(WHOLE):
            assert bytes(wire.received).endswith(OurReply.IDLE.value.to_bytes())

    async def cut_everywhere() -> None:
        for size in range(len(WHOLE) + 1):
            await cut_at(size)

    asyncio.run(cut_everywhere())
    assert not caplog.records


async def opened(recorder: Recorder, settings: ServerSettings | None = None) -> Wire:
    """A session up to an accepted recipient."""
    wire = Wire(recorder, settings or ServerSettings())
    wire.send(b"EHLO client.example\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\n")
    await wire.said(OurReply.RECIPIENT_OK.value.to_bytes())
    wire.received.clear()
    return wire


@pytest.mark.parametrize("error", [None, ConnectionResetError()])
def test_delivery_outlives_its_client(error: Exception | None) -> None:
    """All of the message is there: what the client does no longer matters."""

    async def session() -> None:
        gate = asyncio.Event()
        recorder = Recorder(last_gate=gate)
        wire = await opened(recorder)
        wire.send(b"BDAT 3 LAST\r\nabc")
        async with asyncio.timeout(120):
            await recorder.taken.wait()
        wire.lose(error)
        gate.set()
        await wire.finished()
        assert recorder.ends == ["content"]

    asyncio.run(session())


def test_slow_delivery_is_not_idle() -> None:
    async def session() -> None:
        gate = asyncio.Event()
        wire = await opened(Recorder(last_gate=gate))
        wire.session._input._timeout = 0.01  # noqa: SLF001 -- from now on: the commands may take their time
        wire.send(b"BDAT 3 LAST\r\nabc")
        await asyncio.sleep(0.1)
        gate.set()
        await wire.finished()
        assert wire.received == b"250 2.0.0 OK\r\n" + OurReply.IDLE.value.to_bytes()

    asyncio.run(session())


def test_data_that_flow_keep_the_session_alive() -> None:
    async def session() -> None:
        recorder = Recorder()
        wire = await opened(recorder, ServerSettings(idle_timeout=4))
        wire.send(b"DATA\r\n")
        for _ in range(10):
            wire.send(b"more\r\n")
            await asyncio.sleep(0.5)
        wire.send(b".\r\nQUIT\r\n")
        await wire.finished()
        assert bytes(wire.received).endswith(b"250 2.0.0 OK\r\n" + OurReply.CLOSING.value.to_bytes())

    asyncio.run(session())


def test_slow_delivery_stops_the_reading() -> None:
    async def session() -> None:
        gate = asyncio.Event()
        recorder = Recorder(gate=gate)
        wire = await opened(recorder)
        block = b"x" * 62 + b"\r\n"
        wire.send(b"BDAT 1048576 LAST\r\n")
        sent = 0
        async with asyncio.timeout(120):
            while not wire.is_paused:
                wire.send(block * 64)
                sent += 4096
                await asyncio.sleep(0)
        assert sent < 400_000
        for _ in range(20):
            await asyncio.sleep(0)
        assert wire.is_paused
        gate.set()
        async with asyncio.timeout(120):
            while sent < 1_048_576:
                if not wire.is_paused:
                    wire.send(block * 64)
                    sent += 4096
                await asyncio.sleep(0)
        wire.end()
        await wire.finished()
        ((_, _, content),) = recorder.messages
        assert content == block * 16384

    asyncio.run(session())


def test_replies_of_a_group_leave_together(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(connection, "REPLY_DELAY", 60.0)

    async def session() -> None:
        wire = Wire(Recorder(), ServerSettings())
        wire.send(b"EHLO x\r\n")
        await wire.until(len(EXTENSIONS) + 37)
        wire.writes.clear()
        flight = b"MAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\nBDAT 3 LAST\r\nabc"
        wire.send(flight * 5)
        wire.end()
        await wire.finished()
        assert wire.writes == [b"250 2.1.0 OK\r\n250 2.1.5 OK\r\n250 2.0.0 OK\r\n" * 5]

    asyncio.run(session())


def test_replies_do_not_wait_for_a_slow_delivery() -> None:
    async def session() -> None:
        gate = asyncio.Event()
        wire = await opened(Recorder(last_gate=gate))
        wire.send(b"BDAT 3\r\nabcBDAT 3 LAST\r\nabc")
        await wire.until(1)
        assert wire.received == b"250 2.0.0 3 octets received\r\n"
        gate.set()
        wire.end()
        await wire.finished()
        assert bytes(wire.received).endswith(b"250 2.0.0 OK\r\n")

    asyncio.run(session())


@pytest.mark.parametrize("content", [b"x" * 999 + b"\r\n", b"xx\r\n" * 100_000, b"x" * 1_000_000 + b"\r\n"])
def test_message_over_the_limit_is_read_and_refused(content: bytes) -> None:
    async def session() -> None:
        recorder = Recorder()
        wire = await opened(recorder, ServerSettings(max_message_size=1000))
        wire.send(b"DATA\r\n" + content + b".\r\nNOOP\r\n")
        wire.end()
        await wire.finished()
        replies = b"552 5.3.4 the message is larger than 1000 octets\r\n250 2.0.0 OK\r\n"
        assert bytes(wire.received).endswith(replies)
        assert recorder.ends == ["content broken"]

    asyncio.run(session())


def test_message_of_exactly_the_limit() -> None:
    async def session() -> None:
        recorder = Recorder()
        wire = await opened(recorder, ServerSettings(max_message_size=1000))
        wire.send(b"BDAT 1000\r\n" + b"x" * 1000 + b"BDAT 0 LAST\r\n")
        wire.end()
        await wire.finished()
        assert len(recorder.messages) == 1
        recorder = Recorder()
        wire = await opened(recorder, ServerSettings(max_message_size=1000))
        wire.send(b"BDAT 1001\r\n" + b"x" * 1001 + b"BDAT 0 LAST\r\n")
        wire.end()
        await wire.finished()
        assert b"552 5.3.4" in wire.received
        assert bytes(wire.received).endswith(b"503 5.5.1 a chunk was refused: send RSET\r\n")

    asyncio.run(session())


def test_anything_else_passes_unharmed() -> None:
    """Long lines, a long header, NUL and 8-bit octets are for the onion MX to judge."""

    async def session() -> None:
        recorder = Recorder()
        content = (
            b"X-Long: "
            + b"h" * 1_000_000
            + b"\r\n\r\n"
            + b"l" * 10_000
            + b"\r\n\x00\xff\x80\r\n"
            + bytes([9, 11, 12, 133])
        )
        wire = await opened(recorder)
        wire.send(b"DATA\r\n" + content + b"\r\n.\r\n")
        wire.end()
        await wire.finished()
        assert recorder.messages == [("", ["b@example.net"], content + b"\r\n")]

    asyncio.run(session())
