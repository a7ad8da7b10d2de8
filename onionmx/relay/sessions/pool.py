"""Sessions with onion MXes, kept open for the next message.

A message takes an idle session if there is one. If not, a further session is opened as long as the limits allow; once
they are reached, messages share sessions whose peer takes several transactions in one flight (RFC 2920 section 3.1),
and only then they wait. Whatever becomes free first serves the message that has waited longest.

One session is opened first, and several at once only after it has come about, as with Postfix's
initial_destination_concurrency: what a hundred messages would learn of a dead onion, one opening finds out, and where
it takes long only one of them waits for it (see `together`).

A session that begins early (`states.Early`) has its first message before its peer has said a word; all others wait
until it has come about.
"""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable
from contextlib import AbstractAsyncContextManager
from functools import partial

from onionmx.config import RelaySection
from onionmx.relay import metrics
from onionmx.relay.sessions.member import Destination, Lease, Member, Opened
from onionmx.relay.sessions.together import Openings, StillOpeningError
from onionmx.relay.sessions.warm import Warmth
from onionmx.smtp.client.session import ClientSession

OPEN_AGAIN = 10.0
"""Seconds until a further session is opened for those who wait although the last one did not come about."""

Open = Callable[[Destination], Awaitable[Opened]]
"""Opens a session, EHLO said. What it raises reaches those who wait for it."""


class _Waiter:
    """Someone who waits for a session."""

    __slots__ = ("exclusive", "future")

    def __init__(self, future: asyncio.Future[Member], *, exclusive: bool) -> None:
        self.future = future
        self.exclusive = exclusive


class _EndpointPool:
    """The sessions with one onion and port."""

    def __init__(
        self,
        destination: Destination,
        settings: RelaySection,
        open_session: Open,
        on_change: Callable[[Destination], None],
    ) -> None:
        self._destination = destination
        self._on_change = on_change
        self._settings = settings
        self._open_session = open_session
        self._members: list[Member] = []  # the one used last is at the end
        self._opening = Openings(self._let_few_wait)
        self._closing: set[asyncio.Task[None]] = set()
        self._waiters: deque[_Waiter] = deque()
        self._opening_at_once = 1
        self._again: asyncio.TimerHandle | None = None

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be lost by forgetting this pool."""
        return not (self._members or self._opening or self._closing or self._waiters)

    async def acquire(self, *, exclusive: bool, deadline: float | None) -> Member:
        if not self._waiters and (member := self._pick(exclusive=exclusive)):
            return self._take(member, exclusive=exclusive)
        if self._hangs and len(self._waiters) >= self._expected:
            raise StillOpeningError(self._destination.endpoint)
        waiter = _Waiter(asyncio.get_running_loop().create_future(), exclusive=exclusive)
        self._waiters.append(waiter)
        self._open_for_waiters()
        async with asyncio.timeout_at(deadline):
            return await self._served(waiter)

    async def _served(self, waiter: _Waiter) -> Member:
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and not waiter.future.exception():
                self.release(waiter.future.result())
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def release(self, member: Member) -> None:
        member.leases -= 1
        member.exclusive = False
        if member not in self._members:
            return  # the pool was closed meanwhile
        if not member.leases:
            if not member.has_room:
                self._drop(member)
            else:
                self._rest(member)
        self._serve_waiters()

    def drop_idle(self) -> None:
        for member in [member for member in self._members if not member.leases and member.is_confirmed]:
            self._drop(member)

    def _rest(self, member: Member) -> None:
        """Nobody needs the session now: keep it for a while."""
        loop = asyncio.get_running_loop()
        member.idle = loop.call_later(self._settings.idle_timeout, self._drop, member)

    async def close(self) -> None:
        self._stop_waiting_to_open()
        for task in self._opening:
            task.cancel()
        for member in list(self._members):
            self._drop(member)
        await asyncio.gather(*self._opening, *self._closing, return_exceptions=True)

    def _pick(self, *, exclusive: bool) -> Member | None:
        usable = [member for member in self._members if member.has_room]
        for member in reversed(usable):
            if not member.leases and (member.is_confirmed or not exclusive):
                return member
        if exclusive or self._may_open:
            return None
        shared = [member for member in usable if self._can_share(member)]
        return min(shared, key=lambda member: member.leases, default=None)

    @property
    def _may_open(self) -> int:
        """How many further sessions may be opened now: none for a while after a failure, as long as none of them ends.

        A peer may allow only so many, and those who wait can share them.
        """
        if self._again is not None:
            return 0
        confirmed = sum(member.is_confirmed for member in self._members)
        free = self._settings.sessions_per_onion - confirmed - len(self._opening)
        return max(0, min(free, self._opening_at_once - len(self._opening)))

    def _can_share(self, member: Member) -> bool:
        has_place = member.leases < self._settings.transactions_in_flight
        is_open = member.is_confirmed and not member.exclusive
        return has_place and is_open and member.session.extensions.one_flight

    def _take(self, member: Member, *, exclusive: bool) -> Member:
        member.was_idle = member.idle is not None
        if member.idle is not None:
            member.idle.cancel()
            member.idle = None
        member.uses += 1
        member.leases += 1
        member.exclusive = exclusive
        self._members.remove(member)
        self._members.append(member)
        return member

    def _serve_waiters(self) -> None:
        while self._waiters:
            waiter = self._waiters[0]
            member = self._pick(exclusive=waiter.exclusive)
            if member is None:
                break
            self._waiters.popleft()
            if not waiter.future.done():
                waiter.future.set_result(self._take(member, exclusive=waiter.exclusive))
        self._open_for_waiters()

    def prepare(self) -> None:
        """Open a session for a message that is on its way here, where it would have to wait for one."""
        if not self._waiters and not self._opening and self._pick(exclusive=False) is None:
            self._open_some(1)

    def _open_for_waiters(self) -> None:
        if len(self._waiters) <= self._expected:
            return
        self._drop_useless()
        self._open_some(len(self._waiters) - self._expected)

    def _open_some(self, count: int) -> None:
        for _ in range(min(self._may_open, count)):
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opened)

    @property
    def _expected(self) -> int:
        """Sessions that are being opened and not yet given to a message."""
        return len(self._opening) - sum(not member.is_confirmed and bool(member.uses) for member in self._members)

    @property
    def _has_room(self) -> bool:
        return any(member.has_room and member.is_confirmed for member in self._members)

    @property
    def _hangs(self) -> bool:
        return self._opening.hang and not self._has_room

    def _let_few_wait(self) -> None:
        while self._hangs and len(self._waiters) > self._expected:
            waiter = self._waiters.pop()
            if not waiter.future.done():
                waiter.future.set_exception(StillOpeningError(self._destination.endpoint))

    async def _open(self) -> None:
        opened = await self._open_session(self._destination)
        member = Member(opened, self._limit_of(opened.session))
        self._members.append(member)
        metrics.sessions.labels("open").inc()
        if opened.confirmation is not None:
            self._hand_over(member)
            await opened.confirmation
            member.limit = min(member.limit, self._limit_of(opened.session))

    def _hand_over(self, member: Member) -> None:
        """Give a session that began early to the first who may have it."""
        waiter = next((each for each in self._waiters if not each.exclusive and not each.future.done()), None)
        if waiter is not None:
            self._waiters.remove(waiter)
            waiter.future.set_result(self._take(member, exclusive=False))

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            if not task.cancelled():
                self._opening_at_once = min(self._opening_at_once + 1, self._settings.sessions_per_onion)
            self._drop_useless()
            self._serve_waiters()
            for member in self._members:
                if not member.leases and member.idle is None and member.is_confirmed:
                    self._rest(member)
            return
        self._opening_at_once = 1
        self._drop_useless()
        # Those who wait are served by the sessions that are left. Where none is, or only such that take no further
        # message, one failure speaks for all of them: a queue flush must not try one after the other.
        if self._opening or self._has_room:
            self._wait_to_open()
            self._serve_waiters()
        else:
            failed, self._waiters = self._waiters, deque()
            for waiter in failed:
                if not waiter.future.done():
                    waiter.future.set_exception(error)
            self._on_change(self._destination)

    def _wait_to_open(self) -> None:
        """The sessions that are left may be busy for long: nobody shall wait for them alone."""
        self._stop_waiting_to_open()
        self._again = asyncio.get_running_loop().call_later(OPEN_AGAIN, self._open_again)

    def _open_again(self) -> None:
        self._again = None
        self._open_for_waiters()

    def _stop_waiting_to_open(self) -> None:
        if self._again is not None:
            self._again.cancel()
            self._again = None

    def _limit_of(self, session: ClientSession) -> int:
        """Transactions that a session may have: what the operator says of this onion, or the peer (RFC 9422).

        Exim 4.98 announces the 1000 that it takes in a session, and still delivers only the first 10 of them at once.
        """
        settings = self._settings
        said = settings.messages_per_session_of.get(self._destination.endpoint[0])
        announced = session.extensions.mail_max
        if announced is None:
            return said or settings.messages_per_session
        if said or session.extensions.pipe_connect:
            return min(said or settings.messages_per_session, announced)
        return announced

    def _drop_useless(self) -> None:
        """Close the sessions that nobody has and nobody can use."""
        for member in [member for member in self._members if not member.leases and not member.has_room]:
            self._drop(member)

    def _drop(self, member: Member) -> None:
        self._members.remove(member)
        self._stop_waiting_to_open()  # a peer that allows only so many has a place now
        if member.idle is not None:
            member.idle.cancel()
        metrics.sessions.labels("open").dec()
        if member.opened.confirmation is not None and member.session.is_unconfirmed:
            member.opened.confirmation.cancel()  # that we give it up says nothing to those who wait for it
        if not member.session.is_usable:
            member.opened.broke()
            member.session.abort()
        task = asyncio.get_running_loop().create_task(member.session.close())
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        self._on_change(self._destination)


class _Leasing:
    """Has a session of a pool; a class, as a generator takes as long as all else that a lease needs."""

    def __init__(self, pool: Callable[[], _EndpointPool], *, exclusive: bool, deadline: float | None) -> None:
        self._find = pool
        self._exclusive = exclusive
        self._deadline = deadline

    async def __aenter__(self) -> Lease:
        self._pool = self._find()
        member = self._member = await self._pool.acquire(exclusive=self._exclusive, deadline=self._deadline)
        reused = member.uses > 1
        opened = member.opened
        stages = {} if reused else opened.stages
        return Lease(member.session, reused, member.was_idle, stages, opened.confirmation, member.retire)

    async def __aexit__(self, *_: object) -> None:
        self._pool.release(self._member)


class SessionPool:
    """The sessions with all onion MXes.

    Args:
        settings: limits.
        open_session: opens a session.

    Attributes:
        warmth: which onion MXes get most mail; counted only where `relay.warm` asks for it.
    """

    def __init__(self, settings: RelaySection, open_session: Open) -> None:
        self._settings = settings
        self._open_session = open_session
        self._pools: dict[Destination, _EndpointPool] = {}
        self.warmth = Warmth()

    def lease(
        self, destination: Destination, *, exclusive: bool = False, deadline: float | None = None
    ) -> AbstractAsyncContextManager[Lease]:
        """Have a session for one transaction.

        Args:
            destination: where it leads, and what was checked there.
            exclusive: no other transaction may ride on the session meanwhile, as it would have to wait for a client
                that sends slowly.
            deadline: time of the event loop at which to stop waiting for it.

        Raises:
            TemporaryError: whatever opening a session raised.
            TimeoutError: the deadline has passed.
        """
        if self._settings.warm:
            self.warmth.count(destination)
        return _Leasing(partial(self._pool_of, destination), exclusive=exclusive, deadline=deadline)

    def prepare(self, destination: Destination) -> None:
        """Begin to open a session for a message that is on its way here."""
        self._pool_of(destination).prepare()

    def drop_idle(self, destination: Destination) -> None:
        """Close the idle sessions with a peer that has closed one of them: the others are as old."""
        if pool := self._pools.get(destination):
            pool.drop_idle()

    async def close(self) -> None:
        """Close all sessions."""
        pools, self._pools = list(self._pools.values()), {}
        await asyncio.gather(*(pool.close() for pool in pools))

    def _pool_of(self, destination: Destination) -> _EndpointPool:
        pool = self._pools.get(destination)
        if pool is None:
            pool = _EndpointPool(destination, self._settings, self._open_session, self._forget_if_empty)
            self._pools[destination] = pool
        return pool

    def _forget_if_empty(self, destination: Destination) -> None:
        if destination in self._pools and self._pools[destination].is_empty:
            del self._pools[destination]
