"""Which session a message gets, with sessions that only remember."""

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from contextlib import AsyncExitStack
from typing import TYPE_CHECKING, Any, cast

import pytest

from onionmx.config import RelaySection
from onionmx.errors import DnsError, TemporaryError
from onionmx.relay.sessions import pool as pool_module
from onionmx.relay.sessions import together
from onionmx.relay.sessions.member import Destination, Lease, Opened
from onionmx.relay.sessions.pool import SessionPool
from onionmx.relay.sessions.together import StillOpeningError
from onionmx.smtp.extensions import Extensions
from tests.mapfile.maps import A, B

if TYPE_CHECKING:
    from onionmx.smtp.client.session import ClientSession

TARGET = Destination((A, 25))


class Session:
    """As much of a session as the pool looks at."""

    def __init__(self, *, one_flight: bool) -> None:
        self.is_usable = True
        self.is_closed = False
        self.is_unconfirmed = False
        self.closing_cause = ""
        self.extensions = Extensions(pipelining=one_flight, chunking=one_flight)
        self.broke = 0

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
        self.early: tuple[Session, Callable[[], Coroutine[Any, Any, bool]]] | None = None
        self.allowed = asyncio.Event()
        self.allowed.set()
        self._one_flight = one_flight

    async def __call__(self, destination: Destination) -> Opened:
        self.asked.append(destination)
        await self.allowed.wait()
        if self.failure:
            raise self.failure
        session = Session(one_flight=self._one_flight)
        if self.early and self.sessions:
            (session, confirm), self.early = self.early, None
            return Opened(cast("ClientSession", session), {}, confirmation=asyncio.create_task(confirm()))
        self.sessions.append(session)

        def broke() -> None:
            session.broke += 1

        return Opened(cast("ClientSession", session), {"connect": 1.0}, broke)


class Messages:
    """Messages that hold sessions of a pool."""

    def __init__(self, pool: SessionPool, stack: AsyncExitStack) -> None:
        self.pool = pool
        self._stack = stack

    async def begin(
        self, destination: Destination = TARGET, *, exclusive: bool = False
    ) -> tuple[Lease, AsyncExitStack]:
        message = await self._stack.enter_async_context(AsyncExitStack())
        return await message.enter_async_context(self.pool.lease(destination, exclusive=exclusive)), message


def play(
    test: Callable[[Messages, Opening], Awaitable[None]], *, one_flight: bool = True, settings: RelaySection
) -> None:
    async def run() -> None:
        opening = Opening(one_flight=one_flight)
        pool = SessionPool(settings, opening)
        try:
            async with AsyncExitStack() as stack:
                await asyncio.wait_for(test(Messages(pool, stack), opening), 120)
        finally:
            await pool.close()
        assert all(session.is_closed for session in opening.sessions)

    asyncio.run(run())


async def settle_once(opening: Opening) -> None:
    """Let the openings that are under way come about, and no other."""
    under_way = len(opening.asked)
    while len(opening.sessions) < under_way:  # noqa: ASYNC110 -- the pool tells nobody
        await asyncio.sleep(0)


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
        assert len(opening.asked) == 1
        opening.failure = None
        assert not (await messages.begin())[0].reused

    play(test, settings=RelaySection(sessions_per_onion=4))


def test_one_opening_until_one_has_succeeded_then_more() -> None:
    """As Postfix's initial_destination_concurrency: a dead onion is asked once, however many messages there are."""

    async def test(messages: Messages, opening: Opening) -> None:
        opening.allowed.clear()
        waiting = [asyncio.create_task(messages.begin(exclusive=True)) for _ in range(20)]
        seen = []
        while len(opening.sessions) < 10:
            await settle()
            seen.append(len(opening.asked) - len(opening.sessions))
            opening.allowed.set()
            await settle_once(opening)
            opening.allowed.clear()
        assert seen == [1, 2, 4, 3]
        for task in waiting:
            task.cancel()

    play(test, settings=RelaySection(sessions_per_onion=10))


def test_one_message_waits_for_an_opening_that_takes_long(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "LONG", 0.01)

    async def test(messages: Messages, opening: Opening) -> None:
        opening.allowed.clear()
        first, *others = [asyncio.create_task(messages.begin()) for _ in range(5)]
        results = await asyncio.gather(*others, return_exceptions=True)
        assert [type(result) for result in results] == [StillOpeningError] * 4
        with pytest.raises(StillOpeningError):
            await messages.begin()
        assert not first.done()
        first.cancel()
        await settle()
        second = asyncio.create_task(messages.begin())
        await settle()
        assert not second.done(), "the one who waits next where the first has gone"
        opening.allowed.set()
        await second
        assert (await messages.begin())[0]
        assert len(opening.asked) == 2

    play(test, settings=RelaySection())


def test_messages_wait_for_a_session_that_serves_while_another_opening_takes_long(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(together, "LONG", 0.01)

    async def test(messages: Messages, opening: Opening) -> None:
        _, first = await messages.begin(exclusive=True)
        opening.allowed.clear()
        waiting = [asyncio.create_task(messages.begin(exclusive=True)) for _ in range(3)]
        pool = messages.pool._pools[TARGET]  # noqa: SLF001 -- nobody is told that the time has passed
        while not pool._opening.hang:  # noqa: ASYNC110, SLF001
            await asyncio.sleep(0.001)
        assert not any(task.done() for task in waiting)
        await first.aclose()
        _, second = await waiting[0]
        await second.aclose()
        assert (await waiting[1])[0].reused
        waiting[2].cancel()

    play(test, settings=RelaySection(sessions_per_onion=2))


def test_a_dead_onion_holds_up_no_other() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        opening.allowed.clear()
        dead = [Destination((A, port)) for port in range(1, 8)]
        waiting = [asyncio.create_task(messages.begin(one)) for one in dead * 10]
        await settle()
        assert sorted(opening.asked, key=str) == sorted(dead, key=str)
        opening.allowed.set()
        await messages.begin()
        opening.allowed.clear()
        for task in waiting:
            task.cancel()

    play(test, settings=RelaySection())


def test_only_session_that_dies_idle_while_another_is_opened_in_vain() -> None:
    """Nobody waits for what never comes: the message hears of the failure, and the next one is tried."""

    async def test(messages: Messages, opening: Opening) -> None:
        _, first = await messages.begin()
        opening.allowed.clear()
        served = asyncio.create_task(messages.begin())
        await settle()
        await first.aclose()
        _, second = await served
        await second.aclose()
        opening.sessions[0].is_usable = False
        waiting = asyncio.create_task(messages.begin())
        await settle()
        opening.failure = DnsError("F2")
        opening.allowed.set()
        with pytest.raises(DnsError):
            await waiting
        assert opening.sessions[0].broke == 1
        opening.failure = None
        assert not (await messages.begin())[0].reused

    play(test, settings=RelaySection(sessions_per_onion=2))


def test_who_waits_for_a_session_that_is_busy_for_long_gets_an_attempt(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(pool_module, "OPEN_AGAIN", 0.01)

    async def test(messages: Messages, opening: Opening) -> None:
        await messages.begin(exclusive=True)
        opening.failure = DnsError("F0")
        waiting = asyncio.create_task(messages.begin())
        while len(opening.asked) < 4:  # noqa: ASYNC110 -- the pool tells nobody
            await asyncio.sleep(0.001)
        opening.failure = None
        assert not (await waiting)[0].reused

    play(test, settings=RelaySection(sessions_per_onion=2))


def test_who_waits_for_a_session_that_takes_no_further_message_hears_of_a_failure(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """The next target can have the message at once, and not after `OPEN_AGAIN`."""
    monkeypatch.setattr(pool_module, "OPEN_AGAIN", 1000.0)

    async def test(messages: Messages, opening: Opening) -> None:
        await messages.begin()
        opening.failure = DnsError("F0")
        with pytest.raises(DnsError):
            await messages.begin()

    play(test, settings=RelaySection(messages_per_session=1, sessions_per_onion=2))


def test_place_of_a_session_that_ended_is_taken_at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """As where the peer allows only so many sessions: one has ended, and another is busy for long."""
    monkeypatch.setattr(pool_module, "OPEN_AGAIN", 1000.0)

    async def test(messages: Messages, opening: Opening) -> None:
        await messages.begin(exclusive=True)
        lease, second = await messages.begin(exclusive=True)
        opening.failure = DnsError("F0")
        waiting = asyncio.create_task(messages.begin(exclusive=True))
        await settle()
        opening.failure = None
        lease.retire()
        await second.aclose()
        assert not (await waiting)[0].reused
        assert len(opening.asked) == 4

    play(test, settings=RelaySection(sessions_per_onion=3))


def test_message_that_outlives_the_pool_ends_without_an_error() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        _, message = await messages.begin()
        await messages.pool.close()
        await message.aclose()
        assert opening.sessions[0].is_closed

    play(test, settings=RelaySection())


def test_session_that_broke_is_told_and_one_that_was_closed_is_not() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        for is_usable in (False, True):
            _, message = await messages.begin()
            opening.sessions[-1].is_usable = is_usable
            await message.aclose()
        assert [session.broke for session in opening.sessions] == [1, 0]

    play(test, settings=RelaySection(messages_per_session=1))


def test_retired_session_is_given_to_nobody() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        lease, message = await messages.begin()
        lease.retire()
        await message.aclose()
        assert not (await messages.begin())[0].reused
        await settle()
        assert opening.sessions[0].is_closed

    play(test, settings=RelaySection())


def test_peer_that_allows_one_connection_is_not_asked_for_another_by_each_message() -> None:
    """Messages share the one there is, or wait for it."""

    async def test(messages: Messages, opening: Opening) -> None:
        await messages.begin()
        opening.failure = DnsError("421 one connection is enough")
        for _ in range(5):
            assert (await messages.begin())[0].reused
        waiting = [asyncio.create_task(messages.begin(exclusive=True)) for _ in range(5)]
        await settle()
        assert len(opening.asked) == 2
        for task in waiting:
            task.cancel()

    play(test, settings=RelaySection())


def test_end_of_the_only_session_does_not_let_anybody_wait() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        lease, first = await messages.begin(exclusive=True)
        opening.failure = DnsError("421 one connection is enough")
        waiting = asyncio.create_task(messages.begin())
        await settle()
        opening.failure = None
        lease.retire()
        await first.aclose()
        assert not (await waiting)[0].reused
        assert len(opening.asked) == 3

    play(test, settings=RelaySection())


def test_failure_to_open_one_more_leaves_the_others_at_work() -> None:
    async def test(messages: Messages, opening: Opening) -> None:
        _, first = await messages.begin(exclusive=True)
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


def test_session_that_has_not_come_about_was_never_idle() -> None:
    """What is lost on it may have been accepted: nobody can say that its peer had closed it before."""

    async def test(messages: Messages, opening: Opening) -> None:
        unconfirmed = Session(one_flight=True)
        unconfirmed.is_unconfirmed = True
        never = asyncio.get_running_loop().create_future()

        async def confirm() -> bool:
            await never
            return True

        opening.early = (unconfirmed, confirm)
        await (await messages.begin())[1].aclose()  # lets several be opened at once
        messages.pool.drop_idle(TARGET)
        messages.pool.prepare(TARGET)
        await settle()
        waiting = [asyncio.create_task(messages.begin(exclusive=True)) for _ in range(2)]
        await waiting[0]  # on another one that was opened meanwhile
        waiting[1].cancel()
        await settle()
        lease, _ = await messages.begin()
        assert cast("Session", lease.session) is unconfirmed
        assert not lease.was_idle
        unconfirmed.is_closed = True

    play(test, settings=RelaySection())
