"""Portions of a message, and routes beside each other: what was delivered keeps its reply."""

import asyncio
import itertools
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path

import pytest

from onionmx.onion import Endpoint
from onionmx.relay.delivery import Courier, Message
from onionmx.relay.sessions.member import Destination, Lease
from onionmx.relay.sessions.pool import SessionPool
from onionmx.smtp.reply import Reply
from tests.relay.peer import Peer
from tests.relay.relay import Relay, codes, play

ONE_RECIPIENT = "250-mx.example\r\n250-PIPELINING\r\n250-CHUNKING\r\n250 LIMITS RCPTMAX=1\r\n"


def test_a_portion_without_a_session_takes_no_reply_from_one_that_was_delivered(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    numbers = itertools.count(1)
    original = SessionPool.lease

    @asynccontextmanager
    async def lease(
        pool: SessionPool, destination: Destination, *, exclusive: bool = False, deadline: float | None = None
    ) -> AsyncIterator[Lease]:
        if next(numbers) == 3:  # after the look at the limits, and the first portion
            async with asyncio.timeout_at(deadline):
                await asyncio.Event().wait()
        async with original(pool, destination, exclusive=exclusive, deadline=deadline) as found:
            yield found

    async def test(relay: Relay) -> None:
        monkeypatch.setattr(SessionPool, "lease", lease)
        replies = await relay.send("a@example.org", "b@example.org")
        assert codes(replies[2:]) == ["250 2.0.0", "451 4.4.1"]
        assert len(relay.peer.messages) == 1

    play(tmp_path, test, Peer(replies={"EHLO": ONE_RECIPIENT}), deadline=5.0)


def test_a_fault_of_ours_on_one_route_takes_no_reply_from_another(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    original = Courier.deliver

    async def deliver(courier: Courier, message: Message, targets: tuple[Endpoint, ...]) -> list[Reply]:
        if message.domain == "two.example":
            raise RuntimeError("unforeseen")
        return await original(courier, message, targets)

    async def test(relay: Relay) -> None:
        monkeypatch.setattr(Courier, "deliver", deliver)
        replies = await relay.send("a@example.org", "b@two.example", "c@example.org")
        assert codes(replies[3:]) == ["250 2.0.0", "451 4.3.0", "250 2.0.0"]
        assert "delivery for two.example failed" in caplog.text

    play(tmp_path, test)
