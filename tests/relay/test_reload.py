"""SIGHUP while transactions are open: they end with the configuration with which they began, however late."""

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest
from msgspec.structs import replace

from onionmx.config import AuthenticateSection
from onionmx.errors import ConfigurationError
from onionmx.relay.run import RelayService
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.reply import Reply
from onionmx.smtp.server import Client
from tests.mapfile.maps import A
from tests.relay.onion_mx import OnionMx, running
from tests.relay.relay import LMTP, MESSAGE, SMTP, configured, pieces


def play(tmp_path: Path, test: Callable[[RelayService, OnionMx], Awaitable[None]]) -> None:
    async def run() -> None:
        async with running(OnionMx()) as mx, asyncio.timeout(120):
            configuration = configured(tmp_path, mx.port, {"example.org": ((A, 25),)})
            relay = RelayService(configuration, [])
            await relay.start()
            try:
                await test(relay, mx)
            finally:
                await relay.stop()

    asyncio.run(run())


@pytest.mark.parametrize("client", [SMTP, LMTP], ids=["SMTP", "LMTP"])
def test_transaction_keeps_what_it_began_with(tmp_path: Path, client: Client) -> None:
    async def test(relay: RelayService, mx: OnionMx) -> None:
        transaction = await relay.begin(Envelope("me@sender.test"), client)
        assert not isinstance(transaction, Reply)
        for name in ("a", "b"):
            assert (await transaction.recipient(Recipient(f"{name}@example.org"), more_follow=False)).is_positive
        relay.take(relay.configuration)
        (former,) = relay._former  # noqa: SLF001
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(asyncio.shield(former), 0.1)
        replies = await transaction.content(pieces(MESSAGE))
        assert all(reply.is_positive for reply in replies)
        assert len(mx.taken) == 1
        await former
        assert not relay._former  # noqa: SLF001

    play(tmp_path, test)


def test_file_of_authorities_that_cannot_be_used_is_refused_before_a_message_needs_it(tmp_path: Path) -> None:
    async def test(relay: RelayService, _mx: OnionMx) -> None:
        before = relay._delivering  # noqa: SLF001
        authenticate = AuthenticateSection(ca_file=str(tmp_path / "missing.pem"))
        with pytest.raises(ConfigurationError, match=r"authenticate\.ca_file"):
            relay.take(replace(relay.configuration, authenticate=authenticate))
        assert relay._delivering is before  # noqa: SLF001

    play(tmp_path, test)


def test_reload_without_a_transaction_closes_the_sessions_at_once(tmp_path: Path) -> None:
    async def test(relay: RelayService, mx: OnionMx) -> None:
        transaction = await relay.begin(Envelope("me@sender.test"), LMTP)
        assert not isinstance(transaction, Reply)
        await transaction.recipient(Recipient("a@example.org"), more_follow=False)
        await transaction.content(pieces(MESSAGE))
        relay.take(relay.configuration)
        await asyncio.gather(*relay._former)  # noqa: SLF001
        assert mx.verbs[-1] == "QUIT"

    play(tmp_path, test)


def test_several_reloads_each_end_with_their_own_transactions(tmp_path: Path) -> None:
    async def test(relay: RelayService, _mx: OnionMx) -> None:
        transactions = []
        for _ in range(3):
            transactions.append(await relay.begin(Envelope("me@sender.test"), LMTP))
            relay.take(relay.configuration)
        formers = list(relay._former)  # noqa: SLF001
        for transaction, former in zip(reversed(transactions), reversed(formers), strict=True):
            assert not isinstance(transaction, Reply)
            assert not former.done()
            await transaction.abandon()
            await former

    play(tmp_path, test)
