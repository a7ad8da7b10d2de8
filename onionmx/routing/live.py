"""Routes that DNS tells now, or told a while ago: the cache, and the questions that fill it.

Questions are independent: one that hangs holds up only those who asked for the same domain.
"""

import asyncio
import logging
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from functools import partial
from math import inf
from random import Random

from onionmx.answer import Answer, Ask, CouldNotTell
from onionmx.config import LookupSection
from onionmx.domain import Domain
from onionmx.log import fields
from onionmx.routing.cache import Cache, CacheEntry
from onionmx.routing.standing import CachedAnswer
from onionmx.routing.troubles import Troubles

PATIENCE = 1.8
"""Seconds for DNS before an expired route is used in its place (RFC 8767 section 5, client response timer)."""
_REFRESHES = 50  # under way at the same time

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class CacheStats:
    """What the cache has done since the start.

    Attributes:
        hits: lookups answered from the cache in time.
        misses: lookups for which DNS was asked.
        coalesced: lookups that joined a question that was already under way.
        stale: lookups answered with an expired route because DNS did not answer.
        refreshes: questions asked for entries in use before their time was over.
        failures: questions that DNS could not answer.
        evictions: domains that gave way to others.
        size: domains in the cache now.
        asking: questions that are under way now.
    """

    hits: int = 0
    misses: int = 0
    coalesced: int = 0
    stale: int = 0
    refreshes: int = 0
    failures: int = 0
    evictions: int = 0
    size: int = 0
    asking: int = 0


class LiveRoutes:
    """Asks DNS, remembers the answers, and asks again before they are too old. Belongs to one event loop.

    Args:
        ask: asks DNS for one domain; its failures are answers, not exceptions.
        settings: size and limits of time of the cache.
        clock: seconds, never going back.
        patience: seconds for DNS before an expired route is used in its place.
    """

    def __init__(
        self,
        ask: Ask,
        settings: LookupSection,
        clock: Callable[[], float] = time.monotonic,
        patience: float = PATIENCE,
    ) -> None:
        self._ask = ask
        self._clock = clock
        self._patience = patience
        self._cache = Cache(settings, Random())  # noqa: S311 -- spreads refreshes, no secret
        self._stats = CacheStats()
        self._troubles = Troubles()
        self._questions: dict[str, asyncio.Future[Answer]] = {}
        self._tasks: set[asyncio.Task[Answer]] = set()
        self._refreshing = 0
        self._timer: asyncio.TimerHandle | None = None
        self._timer_at = inf
        self._is_closed = False

    def known(self, domain: Domain) -> CachedAnswer | None:
        """The answer for a domain that needs no question, or `None`. Must be called in the event loop."""
        now = self._clock()
        known = self._cache.fresh(domain, now)
        if known is None and self._cache.is_held(domain, now):
            stale = self._cache.stale(domain, now)
            if stale is not None:
                self._stats.stale += 1
                known = CachedAnswer(stale, self._cache.hits)
        if self._cache.next_due < self._timer_at and self._refreshing < _REFRESHES:
            self._set_timer(now)
        return known

    async def route(self, domain: Domain) -> Answer:
        """The answer for a domain: kept, or asked for now. A question that is under way is joined."""
        known = self.known(domain)
        if known is not None:
            return known.answer
        if self._is_closed:
            return CouldNotTell(domain, "stopped")
        question = self._question(domain)
        if self._cache.stale(domain, self._clock()) is None:
            return await asyncio.shield(question)
        await asyncio.wait((question,), timeout=self._patience)
        if question.done() and not isinstance(question.result(), CouldNotTell):
            return question.result()
        stale = self._cache.stale(domain, self._clock())
        if stale is None:
            return await asyncio.shield(question)
        self._stats.stale += 1
        return stale

    def question(self, domain: Domain) -> "asyncio.Future[Answer] | None":
        """The question for a domain of which `known` has just said nothing: to be waited for, never to be cancelled.

        Returns:
            `None` where an expired route may take its place, so that `route` is to be asked.
        """
        if self._is_closed or self._cache.stale(domain, self._clock()) is not None:
            return None
        return self._question(domain)

    def with_time_left(self, answer: Answer) -> Answer:
        """An answer of `known` or `route` with the TTL that is left of it."""
        return self._cache.with_time_left(answer, self._clock())

    def refresh(self) -> None:
        """Ask again for the entries in use whose time is nearly over; the timer does this."""
        now = self._clock()
        self._timer_at = inf
        while not self._is_closed and self._refreshing < _REFRESHES and (domain := self._cache.due(now)) is not None:
            if domain not in self._questions:
                self._stats.refreshes += 1
                self._refreshing += 1
                self._begin(domain).add_done_callback(self._refreshed)
        if self._refreshing < _REFRESHES:  # else the end of one of them goes on
            self._set_timer(now)

    def entries(self) -> list[CacheEntry]:
        """What the cache holds and may still use."""
        return list(self._cache.entries(self._clock()))

    def restore(self, entries: Iterable[CacheEntry]) -> None:
        """Take over what another cache held."""
        now = self._clock()
        for entry in entries:
            self._cache.restore(entry, now)

    def purge(self, domain: str) -> bool:
        """Forget a domain; whether there was anything to forget."""
        return self._cache.purge(domain)

    def stats(self) -> CacheStats:
        """Counters as they are now."""
        return replace(
            self._stats,
            hits=self._cache.hits.number,
            evictions=self._cache.evictions,
            size=len(self._cache),
            asking=len(self._questions),
        )

    async def close(self) -> None:
        """End all questions; anyone who waits for one hears "could not tell"."""
        self._is_closed = True
        if self._timer is not None:
            self._timer.cancel()
        for task in self._tasks:
            task.cancel()
        if self._tasks:
            await asyncio.wait(self._tasks)

    def _question(self, domain: str) -> "asyncio.Future[Answer]":
        """The one that is under way, or a new one."""
        question = self._questions.get(domain)
        if question is None:
            self._stats.misses += 1
            return self._begin(domain)
        self._stats.coalesced += 1
        return question

    def _begin(self, domain: str) -> "asyncio.Future[Answer]":
        # A future beside the task: who waits for it can neither cancel the task nor be cancelled with it.
        question: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._questions[domain] = question
        task = asyncio.create_task(self._work(domain))
        self._tasks.add(task)
        task.add_done_callback(partial(self._end, domain, question))
        return question

    async def _work(self, domain: str) -> Answer:
        return await self._ask(domain)

    def _end(self, domain: str, question: "asyncio.Future[Answer]", task: asyncio.Task[Answer]) -> None:
        self._tasks.discard(task)
        del self._questions[domain]
        now = self._clock()
        answer = _result(domain, task)
        if task.cancelled():
            pass  # by close()
        elif isinstance(answer, CouldNotTell):
            self._stats.failures += 1
            self._cache.fail(domain, answer.reason, now)
            self._troubles.report(domain, f"could not tell: {answer.reason}")
        else:
            self._cache.store(answer, now)
        question.set_result(answer)

    def _refreshed(self, _question: "asyncio.Future[Answer]") -> None:
        self._refreshing -= 1
        self.refresh()

    def _set_timer(self, now: float) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._timer_at = self._cache.next_due
        if self._timer_at != inf and not self._is_closed:
            self._timer = asyncio.get_running_loop().call_later(self._timer_at - now, self.refresh)


def _result(domain: str, task: asyncio.Task[Answer]) -> Answer:
    if task.cancelled():
        return CouldNotTell(domain, "stopped before DNS answered")
    error = task.exception()
    if error is not None:
        _logger.error("%s: internal error", domain, exc_info=error, extra=fields("internal_error", domain=domain))
        return CouldNotTell(domain, "internal error, which the log describes")
    return task.result()
