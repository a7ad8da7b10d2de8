"""The asyncio shell against scripted peers over a socket pair."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from onionmx.smtp.client.opening_session import open_session
from onionmx.smtp.client.outcome import Ending, Sent
from onionmx.smtp.client.session import CHUNK_SIZE
from onionmx.smtp.client.stepwise import StepwiseTransaction
from onionmx.smtp.client.timeouts import Timeouts
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.faults import EnvelopeError, MisuseError, OpeningError
from tests.smtp.client.dialogs import BOTH, ENVELOPE, MESSAGE, TO_TWO, opening
from tests.smtp.client.peer import PeerCore, accept
from tests.smtp.client.scripted import (
    FLIGHT,
    GOODBYE,
    OK,
    QUICK,
    SENT,
    hurried,
    opened,
    pieces,
    run,
    scripted,
    served,
    soon,
)


def test_first_message_takes_two_round_trips_and_the_next_one() -> None:
    async def test() -> None:
        async with scripted(FLIGHT + SENT + OK * 3 + SENT + OK * 3 + GOODBYE) as stream:
            session = await opened(stream)
            assert (await session.deliver(ENVELOPE, MESSAGE)).is_delivered
            assert session.round_trips == 2
            assert (await session.deliver(ENVELOPE, MESSAGE)).round_trips == 1
            assert session.is_usable
            await session.close()
            assert not session.is_usable

    run(test())


def test_messages_in_flight_do_not_disturb_each_other() -> None:
    async def test() -> None:
        second = SENT.replace("b@b", "c@b")
        dialog = FLIGHT + SENT + "> RSET" + second + "> RSET" + SENT
        dialog += OK * 3 + OK + OK + "< 550 5.1.1 nobody\n< 503 no recipient\n" + OK * 4 + GOODBYE
        other = Envelope("a@a.example", (Recipient("c@b.example"),))
        async with scripted(dialog) as stream:
            session = await opened(stream)
            outcomes = await asyncio.gather(
                *(session.deliver(envelope, MESSAGE) for envelope in (ENVELOPE, other, ENVELOPE))
            )
            assert [outcome.is_delivered for outcome in outcomes] == [True, False, True]
            assert str(outcomes[1].answer(0)) == "550 5.1.1 onion-mx said: nobody"
            assert session.round_trips == 2
            assert session.in_flight == 0
            await session.close()

    run(test())


@pytest.mark.parametrize("extensions", [("PIPELINING",), ("CHUNKING",), ()])
def test_messages_follow_each_other_where_they_cannot_overlap(extensions: tuple[str, ...]) -> None:
    async def test() -> None:
        peer = PeerCore(extensions)
        async with served(peer) as stream:
            session = await opened(stream)
            outcomes = await asyncio.gather(*(session.deliver(TO_TWO, b".%d\r\n" % number) for number in range(4)))
            assert all(outcome.is_delivered for outcome in outcomes)
            assert [message.content for message in peer.accepted] == [b".%d\r\n" % number for number in range(4)]
            await session.close()

    run(test())


@pytest.mark.parametrize("extensions", [("PIPELINING", "CHUNKING"), ("PIPELINING",), ("CHUNKING",), ()])
def test_streams_more_than_any_buffer_holds(extensions: tuple[str, ...]) -> None:
    async def test() -> None:
        peer = PeerCore(extensions)
        part = b".dot and some text\r\n" * 1000
        async with served(peer) as stream:
            session = await opened(stream)
            outcome = await session.deliver(ENVELOPE, pieces(*[part] * 100))
            assert outcome.is_delivered
            assert peer.accepted[0].content == part * 100
            await session.close()

    run(test())


def test_whole_message_larger_than_any_buffer() -> None:
    async def test() -> None:
        peer = PeerCore()
        content = b"x" * 8_000_000 + b"\r\n"
        async with served(peer) as stream:
            session = await opened(stream)
            assert (await session.deliver(ENVELOPE, content)).round_trips == 1
            assert peer.accepted[0].content == content
            assert "MAIL FROM:<a@a.example> SIZE=8000002" in peer.commands

    run(test())


def test_no_more_content_is_asked_for_than_the_peer_takes() -> None:
    """The peer reads nothing after EHLO, so most of an endless message must never be made."""
    made = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += CHUNK_SIZE
            yield b"x" * CHUNK_SIZE

    async def test() -> None:
        async with scripted(FLIGHT + "! deaf") as stream:
            session = await hurried(stream)
            outcome = await session.deliver(ENVELOPE, endless())
            assert outcome.ending is Ending.LOST
            assert outcome.cause == "the peer takes no more of the message"
            assert outcome.sent is Sent.PART
            assert not outcome.may_have_been_accepted
            assert made < 20 * CHUNK_SIZE

    run(test())


@pytest.mark.parametrize("timeouts", [QUICK, Timeouts()], ids=["silence", "deadline"])
def test_what_has_not_left_is_no_doubt(timeouts: Timeouts) -> None:
    """The message was given to the session as a whole, but most of it never left: it cannot have been accepted."""

    async def test() -> None:
        async with scripted(FLIGHT + "! deaf") as stream:
            session = await hurried(stream, timeouts)
            deadline = soon()
            outcome = await session.deliver(ENVELOPE, b"x" * 8_000_000, deadline=deadline)
            assert (outcome.ending, outcome.sent) == (Ending.LOST, Sent.PART)
            assert not outcome.may_have_been_accepted
            # A message on its way out is stopped only by the end of the connection.
            assert session.closing_cause

    run(test())


def test_refused_in_the_middle_of_a_stream() -> None:
    made = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += 1
            yield b"x" * CHUNK_SIZE

    def decide(stage: str) -> int:
        return 552 if stage == "BDAT" and made > 5 else accept(stage)

    async def test() -> None:
        peer = PeerCore(decide=decide)
        async with served(peer) as stream:
            session = await opened(stream)
            outcome = await session.deliver(ENVELOPE, endless())
            assert outcome.final is not None
            assert outcome.final.code == 552
            assert (await session.deliver(ENVELOPE, MESSAGE)).is_delivered
            assert [message.content for message in peer.accepted] == [MESSAGE]
            await session.close()

    run(test())


def test_content_that_fails_gives_the_message_up() -> None:
    async def broken() -> AsyncIterator[bytes]:
        yield b"x" * CHUNK_SIZE
        yield b"y"
        raise TimeoutError("of the content itself")

    async def test() -> None:
        peer = PeerCore()
        async with served(peer) as stream:
            session = await opened(stream)
            with pytest.raises(TimeoutError, match="of the content"):
                await session.deliver(ENVELOPE, broken(), deadline=asyncio.get_running_loop().time() + 60)
            assert (await session.deliver(ENVELOPE, MESSAGE)).is_delivered
            assert len(peer.accepted) == 1
            await session.close()

    run(test())


def test_cancelled_delivery_leaves_the_others() -> None:
    async def test() -> None:
        dialog = FLIGHT + SENT + "> RSET" + SENT + OK * 7 + "! silence"
        async with scripted(dialog) as stream:
            session = await opened(stream)
            first = asyncio.create_task(session.deliver(ENVELOPE, MESSAGE))
            second = asyncio.create_task(session.deliver(ENVELOPE, MESSAGE))
            await asyncio.sleep(0)
            assert session.in_flight == 2
            first.cancel()
            assert (await second).is_delivered
            assert first.cancelled()
            # Its reply was read and dropped; whether more were sent behind it nobody would know.
            assert not session.is_usable
            session.abort()

    run(test())


def test_deadline() -> None:
    async def test() -> None:
        async with scripted(FLIGHT + SENT + "! silence") as stream:
            session = await opened(stream)
            outcome = await session.deliver(ENVELOPE, MESSAGE, deadline=soon())
            assert outcome.ending is Ending.LOST
            assert outcome.may_have_been_accepted
            assert not session.is_usable
            assert str(outcome.answer(0)) == "451 4.4.2 no time is left"
            late = await session.deliver(ENVELOPE, MESSAGE)
            assert late.sent is Sent.NOTHING
            session.abort()

    run(test())


@pytest.mark.parametrize("content", [MESSAGE, None], ids=["whole", "streamed"])
def test_silent_peer(content: bytes | None) -> None:
    async def test() -> None:
        async with scripted(FLIGHT + SENT + OK * 2 + "! silence") as stream:
            session = await hurried(stream)
            outcome = await session.deliver(ENVELOPE, content or pieces(MESSAGE))
            assert outcome.ending is Ending.LOST
            assert outcome.may_have_been_accepted
            assert outcome.cause == "no reply to end of message in time"

    run(test())


def test_a_reply_that_trickles_gets_no_longer() -> None:
    async def test() -> None:
        async with scripted(FLIGHT + SENT + "< 250-a\n" * 5 + "! silence") as stream:
            session = await hurried(stream)
            assert (await session.deliver(ENVELOPE, MESSAGE)).cause == "no reply to MAIL in time"

    run(test())


def test_peer_that_takes_no_bytes() -> None:
    async def test() -> None:
        async with served(PeerCore(decide=accept)) as stream:
            session = await hurried(stream)
            stream.pause_writing()  # as asyncio does when the kernel takes no more
            outcome = await session.deliver(ENVELOPE, MESSAGE)
            assert outcome.ending is Ending.LOST

    run(test())


@pytest.mark.parametrize(
    ("dialog", "answer"),
    [
        ("< 554 5.3.2 no mail here" + GOODBYE, "554 5.3.2 onion-mx said: no mail here"),
        ("< 421 4.3.2 too busy", "421 4.3.2 onion-mx said: too busy"),
        ("! close", "451 4.4.2 the peer closed the connection"),
        ("! silence", "451 4.4.2 no reply to greeting in time"),
        ("< 220 hi\n> EHLO client.example\n< 450 not you" + GOODBYE, "450 onion-mx said: not you"),
        (
            "< 220 hi\n> EHLO client.example\n< 550 no\n> HELO client.example\n< 550 not you" + GOODBYE,
            "550 onion-mx said: not you",
        ),
        ("< SSH-2.0-OpenSSH_9.2", "451 4.4.2 not an SMTP reply: b'SSH-2.0-OpenSSH_9.2'"),
        ("< 220 hi\n> EHLO client.example\n! close", "451 4.4.2 the peer closed the connection"),
    ],
)
def test_no_session(dialog: str, answer: str) -> None:
    async def test() -> None:
        async with scripted(dialog) as stream:
            with pytest.raises(OpeningError) as caught:
                await opened(stream, timeouts=QUICK if "in time" in answer else Timeouts())
            assert str(caught.value.answer).startswith(answer)

    run(test())


def test_no_session_by_the_deadline() -> None:
    async def test() -> None:
        async with scripted("< 220 hi\n> EHLO client.example\n! silence") as stream:
            with pytest.raises(OpeningError, match="no time is left"):
                await open_session(stream, hello="client.example", deadline=soon())

    run(test())


def test_no_session_under_a_name_that_cannot_be_said() -> None:
    async def test() -> None:
        async with scripted("! silence") as stream:
            with pytest.raises(EnvelopeError):
                await open_session(stream, hello="client example")

    run(test())


def test_cancelled_while_opening() -> None:
    async def test() -> None:
        async with scripted("! silence") as stream:
            opening_task = asyncio.create_task(opened(stream))
            await asyncio.sleep(0)
            opening_task.cancel()
            await asyncio.wait([opening_task])
            assert opening_task.cancelled()
            await stream.wait_closed()

    run(test())


def test_deadline_while_another_message_has_the_turn() -> None:
    async def test() -> None:
        async with scripted(opening() + "> MAIL FROM:<a@a.example>\n! silence") as stream:
            session = await opened(stream)
            first = asyncio.create_task(session.deliver(ENVELOPE, MESSAGE))
            await asyncio.sleep(0)
            outcome = await session.deliver(ENVELOPE, MESSAGE, deadline=soon())
            assert (outcome.ending, outcome.sent) == (Ending.LOST, Sent.NOTHING)
            assert session.is_usable
            session.abort()
            assert (await first).ending is Ending.LOST

    run(test())


@pytest.mark.parametrize(
    ("envelope", "code"),
    [
        (Envelope("a@a.example", BOTH, body="8BITMIME"), "5.6.3"),
        (Envelope("a@a.example", BOTH, smtputf8=True), "5.6.7"),
    ],
)
def test_what_the_peer_lacks_is_answered_before_anything_is_sent(envelope: Envelope, code: str) -> None:
    async def test() -> None:
        async with scripted(FLIGHT + GOODBYE) as stream:
            session = await opened(stream)
            outcome = await session.deliver(envelope, "ü\r\n".encode())
            assert outcome.ending is Ending.UNSUITABLE
            assert [outcome.answer(index).enhanced for index in range(2)] == [code, code]
            if envelope.smtputf8:
                transaction = StepwiseTransaction(session, envelope)
                assert (await transaction.add_recipient(BOTH[0])).enhanced == code
            await session.close()

    run(test())


def test_too_large_for_the_peer() -> None:
    async def test() -> None:
        async with scripted(opening("SIZE 3") + GOODBYE) as stream:
            session = await opened(stream)
            assert (await session.deliver(ENVELOPE, MESSAGE)).answer(0).enhanced == "5.3.4"
            await session.close()

    run(test())


@pytest.mark.parametrize("extensions", [("PIPELINING", "CHUNKING"), ("PIPELINING",)], ids=["BDAT", "DATA"])
def test_stream_that_turns_out_too_large_for_the_peer(extensions: tuple[str, ...]) -> None:
    """The relay says so itself: the reply of a peer that closes the session with it can be lost on its way."""
    made = 0

    async def endless() -> AsyncIterator[bytes]:
        nonlocal made
        while True:
            made += CHUNK_SIZE
            yield b"x" * (CHUNK_SIZE - 2) + b"\r\n"

    async def test() -> None:
        limit = 5 * CHUNK_SIZE
        peer = PeerCore((*extensions, f"SIZE {limit}"))
        async with served(peer) as stream:
            session = await opened(stream)
            outcome = await session.deliver(ENVELOPE, endless())
            assert (outcome.ending, outcome.sent) == (Ending.UNSUITABLE, Sent.PART)
            words = f"552 5.3.4 the message is larger than the onion MX takes: its limit is {limit} bytes"
            assert str(outcome.answer(0)) == words
            assert made == limit + CHUNK_SIZE
            assert not peer.accepted
            if "CHUNKING" in extensions:
                assert (await session.deliver(ENVELOPE, MESSAGE)).is_delivered
            await session.close()

    run(test())


def test_421_while_idle() -> None:
    async def test() -> None:
        async with scripted(FLIGHT + SENT + OK * 3 + "< 421 4.4.2 idle") as stream:
            session = await opened(stream)
            assert (await session.deliver(ENVELOPE, MESSAGE)).is_delivered
            await stream.wait_closed()
            assert not session.is_usable
            assert "idle" in session.closing_cause
            outcome = await session.deliver(ENVELOPE, MESSAGE)
            assert (outcome.ending, outcome.sent) == (Ending.LOST, Sent.NOTHING)
            await session.close()

    run(test())


def test_close_waits_for_what_is_in_flight_and_for_goodbye() -> None:
    async def test() -> None:
        async with scripted(FLIGHT + SENT + OK * 3 + GOODBYE) as stream:
            session = await opened(stream)
            delivery = asyncio.create_task(session.deliver(ENVELOPE, MESSAGE))
            await asyncio.sleep(0)
            assert session.in_flight == 1
            await session.close()
            assert (await delivery).is_delivered

    run(test())


@pytest.mark.parametrize(
    ("replies", "code"),
    [
        ("250 250 250 250", 250),
        ("250 250 250 550", 451),
        ("250 250 550 250", 451),
        ("250 550 503 500", 550),
        ("250 550 503 250", 451),
        ("250 550 450 503", 451),
        ("450 503 503 500", 450),
    ],
)
def test_replies_too_many_in_one_packet(replies: str, code: int) -> None:
    """Of four replies to three commands the answer counts if it is the same whichever of them is the one too many."""

    async def test() -> None:
        said = "".join(f"< {one} text\n" for one in replies.split())
        async with scripted(FLIGHT + SENT + said + "! silence") as stream:
            session = await opened(stream)
            outcome = await session.deliver(ENVELOPE, MESSAGE)
            assert outcome.answer(0).code == code
            assert (outcome.ending is Ending.BROKEN) is outcome.may_have_been_accepted is (code == 451)
            assert not session.is_usable

    run(test())


def test_what_was_answered_in_order_counts_when_the_session_breaks() -> None:
    async def test() -> None:
        async with scripted(FLIGHT + SENT + OK + "< 550 5.1.1 nobody\n< what?\n" + "! silence") as stream:
            session = await opened(stream)
            outcome = await session.deliver(ENVELOPE, MESSAGE)
            assert outcome.is_decided
            assert str(outcome.answer(0)) == "550 5.1.1 onion-mx said: nobody"

    run(test())


def test_refused_rset_behind_a_message_that_was_taken() -> None:
    async def test() -> None:
        async with scripted(
            FLIGHT + SENT + "> RSET\n" + SENT + OK * 3 + "< 503 what for?\n" + OK * 3 + GOODBYE
        ) as stream:
            session = await opened(stream)
            outcomes = await asyncio.gather(session.deliver(ENVELOPE, MESSAGE), session.deliver(ENVELOPE, MESSAGE))
            assert [outcome.is_delivered for outcome in outcomes] == [True, True]
            assert not session.is_usable
            await session.close()

    run(test())


def test_a_message_needs_a_recipient() -> None:
    async def test() -> None:
        async with scripted(FLIGHT + GOODBYE) as stream:
            session = await opened(stream)
            with pytest.raises(MisuseError):
                await session.deliver(Envelope("a@a.example"), MESSAGE)
            await session.close()

    run(test())


def test_an_internal_error_leaves_nobody_waiting(
    monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    async def test() -> None:
        async with scripted(FLIGHT + SENT + OK + "! silence") as stream:
            session = await opened(stream)
            monkeypatch.setattr("onionmx.smtp.client.transaction.ClientTransaction.on_reply", None)
            outcome = await session.deliver(ENVELOPE, MESSAGE)
            assert outcome.ending is Ending.LOST
            assert outcome.answer(0).text == "internal error"
            assert "internal error" in caplog.text

    run(test())
