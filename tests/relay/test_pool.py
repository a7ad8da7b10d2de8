"""Which session a message gets, with sessions that only remember."""

import asyncio
from collections.abc import Awaitable, Callable
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, cast

import pytest

from onionmx.config import RelaySection
from onionmx.errors import DnsError, TemporaryError
from onionmx.relay.pool import Destination, Lease, Opened, SessionPool
from onionmx.smtp.extensions import Extensions
from tests.mapfile.maps import A, B

if TYPE_CHECKING:
    from onionmx.smtp.session import SmtpSession

TARGET = Destination((A, 25))


class Session:
    """As much of a session as the pool looks at."""

    def __init__(self, *, one_flight: bool) -> None:
        self.is_usable = True
        self.is_closed = False
        self.extensions = Extensions(pipelining=one_flight, chunking=one_flight)

    def abort(self) -> None:
        self.is_usable = False

    async def close(self) -> None:
        self.is_closed = True


class Opening:
    """Opens sessions when it is told to."""

    def __init__(self, *, one_flight: bool = True) -> None:
        self.sessions: list[Session] = []
        self.asked: list[Destination] = []
        self.failure: TemporaryError | None = None
        self.allowed = asyncio.Event()
        self.allowed.set()
        self._one_flight = one_flight

    async def __call__(self, destination: Destination) -> Opened:
        self.asked.append(destination)
        await self.allowed.wait()
        if self.failure:
            raise self.failure
        self.sessions.append(Session(one_flight=self._one_flight))
        return Opened(cast("SmtpSession", self.sessions[-1]), {"connect": 1.0})


class Messages:
    """Messages that hold sessions of a pool."""

    def __init__(self, pool: SessionPool, stack: AsyncExitStack) -> None:
        self._pool = pool
        self._stack = stack

    async def begin(
        self, destination: Destination = TARGET, *, exclusive: bool = False
    ) -> tuple[Lease, AsyncExitStack]:
        message = await self._stack.enter_async_context(AsyncExitStack())
        return await message.enter_async_context(self._pool.lease(destination, exclusive=exclusive)), message


def play(
    test: Callable[[Messages, Opening], Awaitable[None]], *, one_flight: bool = True, settings: RelaySection
) -> None:
    async def run() -> None:
        opening = Opening(one_flight=one_flight)
        pool = SessionPool(settings, opening)
        try:
            async with AsyncExitStack() as stack:
                await asyncio.wait_for(test(Messages(pool, stack), opening), 20)
        finally:
            await pool.close()
        assert all(session.is_closed for session in opening.sessions)

    asyncio.run(run())


async def settle() -> None:
    """Let everything run that can."""
    for _ in range(10):
        await asyncio.sleep(0)


def test_idle_session_is_used_again() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        lease, message = await messages.begin()
        assert (lease.reused, lease.stages) == (False, {"connect": 1.0})
        await message.aclose()
        lease, _ = await messages.begin()
        assert (lease.reused, lease.stages) == (True, {})
        assert len(opening.sessions) == 1
        await messages.begin(Destination((B, 25)))
        assert opening.asked == [TARGET, Destination((B, 25))]

    play(test, settings=RelaySection())


def test_sessions_are_shared_only_when_no_more_may_be_opened() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        leases = [(await messages.begin())[0] for _ in range(6)]
        assert len(opening.sessions) == 2
        used = [opening.sessions.index(cast("Session", lease.session)) for lease in leases]
        assert used[:2] == [0, 1]
        assert sorted(used) == [0, 0, 0, 1, 1, 1]
        waiting = asyncio.create_task(messages.begin())
        await settle()
        assert not waiting.done()
        waiting.cancel()

    play(test, settings=RelaySection(sessions_per_onion=2, transactions_in_flight=3))


@pytest.mark.parametrize(("one_flight", "exclusive"), [(False, False), (True, True)])
def test_sessions_that_cannot_be_shared(one_flight: bool, exclusive: bool) -> None:  # noqa: FBT001 -- parameters
    async def test(messages: Messages, opening: Opening) -> None:
        _, first = await messages.begin(exclusive=exclusive)
        waiting = asyncio.create_task(messages.begin())
        await settle()
        assert not waiting.done()
        await first.aclose()
        lease, _ = await waiting
        assert lease.reused
        assert len(opening.sessions) == 1

    play(test, one_flight=one_flight, settings=RelaySection(sessions_per_onion=1))


def test_session_that_becomes_free_serves_who_waits_for_a_new_one() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        _, first = await messages.begin()
        opening.allowed.clear()
        waiting = asyncio.create_task(messages.begin())
        await settle()
        assert len(opening.asked) == 2
        await first.aclose()
        assert (await waiting)[0].reused

    play(test, settings=RelaySection(sessions_per_onion=2))


def test_session_that_nobody_waits_for_any_more_rests() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        _, first = await messages.begin()
        opening.allowed.clear()
        waiting = asyncio.create_task(messages.begin())
        await settle()
        await first.aclose()
        _, second = await waiting
        opening.allowed.set()
        await settle()
        assert len(opening.sessions) == 2
        lease, _ = await messages.begin()
        assert cast("Session", lease.session) is opening.sessions[1]
        assert (lease.reused, lease.was_idle) == (False, True)
        await second.aclose()

    play(test, settings=RelaySection(sessions_per_onion=2))


def test_one_failure_speaks_for_all_who_wait() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        opening.failure = DnsError("F0")
        results = await asyncio.gather(*(messages.begin() for _ in range(50)), return_exceptions=True)
        assert all(isinstance(result, DnsError) for result in results)
        assert len(opening.asked) <= 4
        opening.failure = None
        assert not (await messages.begin())[0].reused

    play(test, settings=RelaySection(sessions_per_onion=4))


def test_failure_to_open_one_more_leaves_the_others_at_work() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        _, first = await messages.begin()
        opening.failure = DnsError("F0")
        waiting = asyncio.create_task(messages.begin())
        await settle()
        assert not waiting.done()
        await first.aclose()
        assert (await waiting)[0].reused

    play(test, settings=RelaySection(sessions_per_onion=2))


def test_session_that_broke_or_has_served_enough_is_not_used_again() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        _, message = await messages.begin()
        opening.sessions[0].is_usable = False
        await message.aclose()
        for _ in range(3):
            _, message = await messages.begin()
            await message.aclose()
        assert len(opening.sessions) == 3
        await settle()
        assert [session.is_closed for session in opening.sessions] == [True, True, False]

    play(test, settings=RelaySection(messages_per_session=2))


def test_idle_session_is_closed_after_its_time() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        _, message = await messages.begin()
        await message.aclose()
        while not opening.sessions[0].is_closed:  # noqa: ASYNC110 -- the pool tells nobody
            await asyncio.sleep(0.001)

    play(test, settings=RelaySection(idle_timeout=0.01))


def test_cancelled_wait_leaves_the_session_to_others() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        opening.allowed.clear()
        waiting = [asyncio.create_task(messages.begin()) for _ in range(3)]
        await settle()
        waiting[0].cancel()
        opening.allowed.set()
        await settle()
        waiting[1].cancel()
        assert (await waiting[2])[0]
        await messages.begin()
        assert len(opening.sessions) <= 2

    play(test, settings=RelaySection(sessions_per_onion=1, transactions_in_flight=3))
