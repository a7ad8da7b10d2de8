"""The domains that the ordinary resolver is asked for: several at the same time, and again after a pause."""

import asyncio
from collections import deque
from collections.abc import Callable
from heapq import heappop, heappush
from time import monotonic

from onionmx.answer import Answer, Ask, CouldNotTell
from onionmx.config import DnsSection
from onionmx.isolation import OneFailedError, one_of_many

_WAITING = 1000  # domains in the queue, above which no more should be brought
_PAUSING = 10_000  # domains that wait to be asked again, above which no more should be brought


class OrdinaryQueue:
    """Asks the ordinary resolver, with the concurrency and the retries of `[dns]`.

    Args:
        ask: the ordinary resolver.
        settings: concurrency and retries.
        answered: called with each final answer.
        ended: called when some of the work has come to its end.

    Attributes:
        error: what `ask` raised.
    """

    def __init__(
        self, ask: Ask, settings: DnsSection, answered: Callable[[Answer], None], ended: Callable[[], None]
    ) -> None:
        self.error: BaseException | None = None
        self._ask = ask
        self._settings = settings
        self._answered = answered
        self._on_end = ended
        self._waiting: deque[tuple[str, int]] = deque()
        self._pausing: list[tuple[float, str, int]] = []
        self._workers: set[asyncio.Task[None]] = set()

    @property
    def is_full(self) -> bool:
        """Whether it should be left to work for now."""
        return len(self._waiting) >= _WAITING or len(self._pausing) >= _PAUSING

    @property
    def is_idle(self) -> bool:
        """Whether it has nothing to do."""
        return not (self._waiting or self._pausing or self._workers)

    def add(self, domain: str) -> None:
        """Have a domain asked for."""
        self._queue(domain, 0)

    def wake(self, now: float) -> None:
        """Ask again for those whose pause is over."""
        while self._pausing and self._pausing[0][0] <= now:
            _, domain, attempt = heappop(self._pausing)
            self._queue(domain, attempt)

    def clear(self) -> list[str]:
        """Take back the domains that nobody has begun to ask for."""
        domains = [domain for domain, _ in self._waiting] + [domain for _, domain, _ in self._pausing]
        self._waiting.clear()
        self._pausing.clear()
        return domains

    async def close(self) -> None:
        """Cancel everything."""
        self.clear()
        for worker in self._workers:
            worker.cancel()
        if self._workers:
            await asyncio.wait(self._workers)

    def _queue(self, domain: str, attempt: int) -> None:
        self._waiting.append((domain, attempt))
        self._start_worker()

    def _start_worker(self) -> None:
        if len(self._workers) < self._settings.concurrency:
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._ended)

    async def _work(self) -> None:
        while self._waiting:
            domain, attempt = self._waiting.popleft()
            try:
                with one_of_many(domain):
                    answer = await self._ask(domain)
            except OneFailedError as error:
                answer = CouldNotTell(domain, str(error))
            if isinstance(answer, CouldNotTell) and attempt < self._settings.retries:
                due = monotonic() + self._settings.retry_delay * 2**attempt
                heappush(self._pausing, (due, domain, attempt + 1))
            else:
                self._answered(answer)

    def _ended(self, worker: "asyncio.Task[None]") -> None:
        self._workers.discard(worker)
        if worker.cancelled():
            return
        self.error = self.error or worker.exception()
        if self._waiting and not self.error:
            self._start_worker()
        self._on_end()
