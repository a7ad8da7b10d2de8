"""STARTTLS: asked for by the configuration, and demanded by the peer."""

import subprocess
from ssl import PROTOCOL_TLS_SERVER, SSLContext

import pytest

from onionmx.smtp.client.states import TlsPolicy
from onionmx.smtp.client.stepwise import StepwiseTransaction
from onionmx.smtp.client.timeouts import Timeouts
from onionmx.smtp.envelope import Envelope
from onionmx.smtp.faults import OpeningError
from tests.smtp.client.dialogs import BOTH, ENVELOPE, MESSAGE, opening
from tests.smtp.client.scripted import (
    AMPLE,
    FLIGHT,
    GOODBYE,
    OK,
    SENT,
    SHORT,
    hurried,
    opened,
    pieces,
    run,
    scripted,
    soon,
)


@pytest.fixture(scope="session")
def server_context(tmp_path_factory: pytest.TempPathFactory) -> SSLContext:
    folder = tmp_path_factory.mktemp("tls")
    key, certificate = folder / "key.pem", folder / "certificate.pem"
    make = "openssl req -x509 -nodes -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -days 2 -subj /CN=peer.example"
    files = ["-keyout", str(key), "-out", str(certificate)]
    subprocess.run([*make.split(), *files], check=True, capture_output=True)
    context = SSLContext(PROTOCOL_TLS_SERVER)
    context.load_cert_chain(certificate, key)
    return context


@pytest.mark.parametrize("timeouts", [Timeouts(greeting=SHORT), Timeouts()], ids=["silence", "deadline"])
def test_handshake_that_never_ends(timeouts: Timeouts) -> None:
    async def test() -> None:
        offer = opening("STARTTLS", "PIPELINING", "CHUNKING")
        async with scripted(offer + SENT + DEMAND + "< 503 no\n" * 2 + "> STARTTLS\n< 220 go\n! deaf") as stream:
            session = await hurried(stream, timeouts)
            deadline = soon(AMPLE) if timeouts.greeting > AMPLE else None
            outcome = await session.deliver(ENVELOPE, MESSAGE, deadline=deadline)
            assert (outcome.answer(0).code, outcome.answer(0).enhanced) == (451, "4.7.5")
            assert not session.is_usable

    run(test())


def test_tls_required_and_not_offered() -> None:
    async def test() -> None:
        async with scripted(FLIGHT + GOODBYE) as stream:
            with pytest.raises(OpeningError) as caught:
                await opened(stream, TlsPolicy.REQUIRE)
            assert caught.value.answer.enhanced == "4.7.5"

    run(test())


AFTER_TLS = "> EHLO client.example\n< 250-peer.example\n< 250-PIPELINING\n< 250 CHUNKING\n"


def test_tls(server_context: SSLContext) -> None:
    async def test() -> None:
        dialog = opening("STARTTLS") + "> STARTTLS\n< 220 go\n! tls\n" + AFTER_TLS + SENT + OK * 3 + GOODBYE
        async with scripted(dialog, server_context) as stream:
            session = await opened(stream, TlsPolicy.REQUIRE)
            assert session.is_encrypted
            assert (await session.deliver(ENVELOPE, MESSAGE)).is_delivered
            await session.close()

    run(test())


DEMAND = "< 530 5.7.0 Must issue a STARTTLS command first\n"
UPGRADE = "> STARTTLS\n< 220 go\n! tls\n" + AFTER_TLS


def test_tls_on_demand_sends_the_message_again(server_context: SSLContext) -> None:
    async def test() -> None:
        offer = opening("STARTTLS", "PIPELINING", "CHUNKING")
        dialog = offer + SENT + DEMAND + "< 503 no\n" * 2 + UPGRADE + SENT + OK * 3 + GOODBYE
        async with scripted(dialog, server_context) as stream:
            session = await opened(stream)
            assert (await session.deliver(ENVELOPE, MESSAGE)).is_delivered
            await session.close()

    run(test())


def test_tls_on_demand_before_content_that_comes_only_once(server_context: SSLContext) -> None:
    async def test() -> None:
        asked = "> MAIL FROM:<a@a.example>\n> RCPT TO:<b@b.example>\n"
        offer = opening("STARTTLS", "PIPELINING", "CHUNKING")
        dialog = offer + asked + DEMAND + "< 503 no\n" + UPGRADE + SENT + OK * 3 + GOODBYE
        async with scripted(dialog, server_context) as stream:
            session = await opened(stream)
            assert (await session.deliver(ENVELOPE, pieces(MESSAGE))).is_delivered
            await session.close()

    run(test())


def test_content_that_was_touched_is_not_sent_again() -> None:
    async def test() -> None:
        dialog = opening("STARTTLS", "PIPELINING", "CHUNKING") + SENT + OK * 3 + SENT + DEMAND + "< 503 no\n" * 2
        async with scripted(dialog + GOODBYE) as stream:
            session = await opened(stream)
            assert (await session.deliver(ENVELOPE, MESSAGE)).is_delivered
            assert (await session.deliver(ENVELOPE, pieces(MESSAGE))).answer(0).code == 451
            await session.close()

    run(test())


def test_tls_on_demand_step_by_step(server_context: SSLContext) -> None:
    async def test() -> None:
        asked = "> MAIL FROM:<a@a.example>\n> RCPT TO:<b@b.example>\n"
        offer = opening("STARTTLS", "PIPELINING", "CHUNKING")
        dialog = offer + asked + DEMAND + "< 503 no\n" + UPGRADE + asked + OK * 2
        dialog += "> BDAT 4 LAST\n> hi\n" + OK + GOODBYE
        async with scripted(dialog, server_context) as stream:
            session = await opened(stream)
            transaction = StepwiseTransaction(session, Envelope("a@a.example"))
            assert (await transaction.add_recipient(BOTH[0])).is_positive
            assert (await transaction.send(MESSAGE)).is_delivered
            await session.close()

    run(test())


def test_plain_text_behind_starttls() -> None:
    async def test() -> None:
        async with scripted(opening("STARTTLS") + "> STARTTLS\n< 220 go\n< 250 injected") as stream:
            with pytest.raises(OpeningError, match="clear"):
                await opened(stream, TlsPolicy.OPPORTUNISTIC)

    run(test())


def test_failed_handshake() -> None:
    async def test() -> None:
        async with scripted(opening("STARTTLS") + "> STARTTLS\n< 220 go\n! close") as stream:
            with pytest.raises(OpeningError, match="handshake"):
                await opened(stream, TlsPolicy.OPPORTUNISTIC)

    run(test())
