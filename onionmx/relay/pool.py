"""Sessions with onion MXes, kept open for the next message.

A message takes an idle session if there is one. If not, a further session is opened as long as the limit allows; once
it is reached, messages share sessions whose peer takes several transactions in one flight (RFC 2920 section 3.1), and
only then they wait. Whatever becomes free first serves the message that has waited longest.
"""

import asyncio
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import NamedTuple

from onionmx.authenticate.requirement import Demand
from onionmx.config import RelaySection
from onionmx.onion import Endpoint
from onionmx.relay import metrics
from onionmx.smtp.session import SmtpSession

Open = Callable[["Destination"], Awaitable["Opened"]]
"""Opens a session, EHLO said. What it raises reaches those who wait for it."""


class Destination(NamedTuple):
    """An onion MX, and what a session with it is good for: one that was opened for less is never used for more.

    Attributes:
        endpoint: onion and port.
        demand: what its certificate was, or is to be, checked for; `None` for nothing.
    """

    endpoint: Endpoint
    demand: Demand | None = None


@dataclass(frozen=True, slots=True)
class Opened:
    """A new session.

    Attributes:
        session: EHLO said.
        stages: seconds that each stage of opening it took.
    """

    session: SmtpSession
    stages: dict[str, float]


@dataclass(eq=False, slots=True)
class _Member:
    """A session of the pool.

    Attributes:
        uses: transactions that were given to it.
        leases: transactions that have it now.
        exclusive: one that must not share it has it now.
        was_idle: nobody had it when it was taken the last time, so the peer may have closed it before.
        idle: closes it, while nobody has it.
    """

    session: SmtpSession
    stages: dict[str, float]
    uses: int = 0
    leases: int = 0
    exclusive: bool = False
    was_idle: bool = False
    idle: asyncio.TimerHandle | None = field(default=None, repr=False)


@dataclass(frozen=True, slots=True)
class Lease:
    """A session for one transaction.

    Attributes:
        session: to be used for one transaction.
        reused: another transaction has had it before.
        was_idle: nobody had it before, so the peer may have closed it meanwhile.
        stages: seconds that each stage of opening it took; empty where it is reused.
    """

    session: SmtpSession
    reused: bool
    was_idle: bool
    stages: dict[str, float]


class _Waiter:
    """Someone who waits for a session."""

    __slots__ = ("exclusive", "future")

    def __init__(self, future: asyncio.Future[_Member], *, exclusive: bool) -> None:
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
        self._members: list[_Member] = []  # the one used last stands at the end
        self._opening: set[asyncio.Task[None]] = set()
        self._closing: set[asyncio.Task[None]] = set()
        self._waiters: deque[_Waiter] = deque()

    @property
    def is_empty(self) -> bool:
        """Whether nothing would be lost by forgetting this pool."""
        return not (self._members or self._opening or self._closing or self._waiters)

    async def acquire(self, *, exclusive: bool) -> _Member:
        if not self._waiters and (member := self._pick(exclusive=exclusive)):
            return self._take(member, exclusive=exclusive)
        waiter = _Waiter(asyncio.get_running_loop().create_future(), exclusive=exclusive)
        self._waiters.append(waiter)
        self._open_for_waiters()
        try:
            return await waiter.future
        except asyncio.CancelledError:
            if waiter.future.done() and not waiter.future.cancelled() and not waiter.future.exception():
                self.release(waiter.future.result())
            elif waiter in self._waiters:
                self._waiters.remove(waiter)
            raise

    def release(self, member: _Member) -> None:
        member.leases -= 1
        member.exclusive = False
        if not member.leases:
            if not member.session.is_usable or member.uses >= self._settings.messages_per_session:
                self._drop(member)
            else:
                self._rest(member)
        self._serve_waiters()

    def drop_idle(self) -> None:
        for member in [member for member in self._members if not member.leases]:
            self._drop(member)

    def _rest(self, member: _Member) -> None:
        """Nobody needs the session now: keep it for a while."""
        loop = asyncio.get_running_loop()
        member.idle = loop.call_later(self._settings.idle_timeout, self._drop, member)

    async def close(self) -> None:
        for task in self._opening:
            task.cancel()
        for member in list(self._members):
            self._drop(member)
        await asyncio.gather(*self._opening, *self._closing, return_exceptions=True)

    def _pick(self, *, exclusive: bool) -> _Member | None:
        usable = [member for member in self._members if self._has_room(member)]
        for member in reversed(usable):
            if not member.leases:
                return member
        if exclusive or len(self._members) + len(self._opening) < self._settings.sessions_per_onion:
            return None
        shared = [member for member in usable if self._can_share(member)]
        return min(shared, key=lambda member: member.leases, default=None)

    def _has_room(self, member: _Member) -> bool:
        return member.session.is_usable and member.uses < self._settings.messages_per_session

    def _can_share(self, member: _Member) -> bool:
        has_place = member.leases < self._settings.transactions_in_flight
        return has_place and not member.exclusive and member.session.extensions.one_flight

    def _take(self, member: _Member, *, exclusive: bool) -> _Member:
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

    def _open_for_waiters(self) -> None:
        if len(self._waiters) <= len(self._opening):
            return
        for member in [member for member in self._members if not member.leases and not self._has_room(member)]:
            self._drop(member)
        free = self._settings.sessions_per_onion - len(self._members) - len(self._opening)
        for _ in range(min(free, len(self._waiters) - len(self._opening))):
            task = asyncio.get_running_loop().create_task(self._open())
            self._opening.add(task)
            task.add_done_callback(self._opened)

    async def _open(self) -> None:
        opened = await self._open_session(self._destination)
        self._members.append(_Member(opened.session, opened.stages))
        metrics.sessions.labels("open").inc()

    def _opened(self, task: asyncio.Task[None]) -> None:
        self._opening.discard(task)
        if task.cancelled() or (error := task.exception()) is None:
            self._serve_waiters()
            for member in self._members:
                if not member.leases and member.idle is None:
                    self._rest(member)
            return
        # Those who wait are served by the sessions that are left. Where none is, one failure speaks for all of them:
        # a queue flush must not try one after the other.
        if not (self._members or self._opening):
            failed, self._waiters = self._waiters, deque()
            for waiter in failed:
                if not waiter.future.done():
                    waiter.future.set_exception(error)
            self._on_change(self._destination)

    def _drop(self, member: _Member) -> None:
        self._members.remove(member)
        if member.idle is not None:
            member.idle.cancel()
        metrics.sessions.labels("open").dec()
        if not member.session.is_usable:
            member.session.abort()
        task = asyncio.get_running_loop().create_task(member.session.close())
        self._closing.add(task)
        task.add_done_callback(self._closed)

    def _closed(self, task: asyncio.Task[None]) -> None:
        self._closing.discard(task)
        self._on_change(self._destination)


class SessionPool:
    """The sessions with all onion MXes.

    Args:
        settings: limits.
        open_session: opens a session.
    """

    def __init__(self, settings: RelaySection, open_session: Open) -> None:
        self._settings = settings
        self._open_session = open_session
        self._pools: dict[Destination, _EndpointPool] = {}

    @asynccontextmanager
    async def lease(self, destination: Destination, *, exclusive: bool = False) -> AsyncIterator[Lease]:
        """Have a session for one transaction.

        Args:
            destination: where it leads, and what was checked there.
            exclusive: no other transaction may ride on the session meanwhile, as it would have to wait for a client
                that sends slowly.

        Raises:
            TemporaryError: whatever opening a session raised.
        """
        pool = self._pools.get(destination)
        if pool is None:
            pool = _EndpointPool(destination, self._settings, self._open_session, self._forget_if_empty)
            self._pools[destination] = pool
        member = await pool.acquire(exclusive=exclusive)
        try:
            reused = member.uses > 1
            yield Lease(member.session, reused, member.was_idle, {} if reused else member.stages)
        finally:
            pool.release(member)

    def drop_idle(self, destination: Destination) -> None:
        """Close the idle sessions with a peer that has closed one of them: the others are as old."""
        if pool := self._pools.get(destination):
            pool.drop_idle()

    async def close(self) -> None:
        """Close all sessions."""
        pools, self._pools = list(self._pools.values()), {}
        await asyncio.gather(*(pool.close() for pool in pools))

    def _forget_if_empty(self, destination: Destination) -> None:
        if destination in self._pools and self._pools[destination].is_empty:
            del self._pools[destination]
