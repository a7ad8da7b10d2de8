"""Transactions whose recipients are answered one by one."""

import asyncio
from collections.abc import AsyncIterator

import pytest

from onionmx.smtp.client.outcome import Ending, Sent
from onionmx.smtp.client.stepwise import StepwiseTransaction
from onionmx.smtp.envelope import Envelope
from onionmx.smtp.faults import MisuseError
from tests.smtp.client.dialogs import BOTH, ENVELOPE, MESSAGE
from tests.smtp.client.scripted import FLIGHT, GOODBYE, OK, SENT, hurried, opened, pieces, run, scripted


def test_recipients_one_by_one() -> None:
    async def test() -> None:
        dialog = FLIGHT + "> MAIL FROM:<a@a.example>\n> RCPT TO:<b@b.example>\n" + OK + "< 550 5.1.1 nobody\n"
        dialog += "> RCPT TO:<c@b.example>\n" + OK + "> BDAT 4 LAST\n> hi\n" + OK + GOODBYE
        async with scripted(dialog) as stream:
            session = await opened(stream)
            transaction = StepwiseTransaction(session, Envelope("a@a.example"))
            assert (await transaction.add_recipient(BOTH[0])).code == 550
            assert (await transaction.add_recipient(BOTH[1])).code == 250
            outcome = await transaction.send(pieces(b"h", b"i", b"\r\n"))
            assert [outcome.is_delivered_to(index) for index in range(2)] == [False, True]
            assert transaction.outcome is outcome
            await session.close()

    run(test())


def test_given_up_before_content() -> None:
    async def test() -> None:
        dialog = FLIGHT + "> MAIL FROM:<a@a.example>\n> RCPT TO:<b@b.example>\n" + OK * 2
        dialog += "> RSET\n" + SENT + OK * 4 + GOODBYE
        async with scripted(dialog) as stream:
            session = await opened(stream)
            transaction = StepwiseTransaction(session, Envelope("a@a.example"))
            await transaction.add_recipient(BOTH[0])
            await transaction.abandon()
            await transaction.abandon()
            assert (await session.deliver(ENVELOPE, MESSAGE)).is_delivered
            await session.close()

    run(test())


def test_cancelled_step_by_step_leaves_the_session_in_step() -> None:
    async def endless() -> AsyncIterator[bytes]:
        yield b"x"
        await asyncio.Event().wait()

    async def test() -> None:
        asked = "> MAIL FROM:<a@a.example>\n> RCPT TO:<b@b.example>\n" + OK * 2
        async with scripted(FLIGHT + asked + "> RSET\n" + OK + GOODBYE) as stream:
            session = await opened(stream)
            transaction = StepwiseTransaction(session, Envelope("a@a.example"))
            await transaction.add_recipient(BOTH[0])
            sending = asyncio.create_task(transaction.send(endless()))
            await asyncio.sleep(0)
            sending.cancel()
            await asyncio.wait([sending])
            assert transaction.outcome
            assert transaction.outcome.ending is Ending.ABANDONED
            never = StepwiseTransaction(session, Envelope("a@a.example"))
            await never.abandon()
            assert never.outcome
            await session.close()

    run(test())


def test_sender_refused_answers_all_recipients() -> None:
    async def test() -> None:
        dialog = FLIGHT + "> MAIL FROM:<a@a.example>\n> RCPT TO:<b@b.example>\n< 451 later\n< 503 no\n" + GOODBYE
        async with scripted(dialog) as stream:
            session = await opened(stream)
            transaction = StepwiseTransaction(session, Envelope("a@a.example"))
            assert [(await transaction.add_recipient(one)).code for one in BOTH] == [451, 451]
            assert (await transaction.send(MESSAGE)).answer(0).code == 451
            await session.close()

    run(test())


def test_step_by_step_misuse_and_silence() -> None:
    async def test() -> None:
        async with scripted(FLIGHT + "> MAIL FROM:<a@a.example>\n> RCPT TO:<b@b.example>\n! silence") as stream:
            session = await hurried(stream)
            transaction = StepwiseTransaction(session, Envelope("a@a.example"))
            with pytest.raises(MisuseError):
                await transaction.send(MESSAGE)
            assert str(await transaction.add_recipient(BOTH[0])) == "451 4.4.2 no reply to MAIL in time"
            assert (await transaction.send(MESSAGE)).sent is Sent.NOTHING
            session.abort()

    run(test())
