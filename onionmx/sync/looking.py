"""Finding out what domains demand of their MXes, and having these prove themselves, while DNS is asked for others.

Each domain has one place, so one whose onion MXes hang holds up no other. What is found out is there to be saved at
once, and what takes too long for one run is left to the next one.
"""

import asyncio
from collections import deque
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from msgspec.structs import replace

from onionmx.answer import Answer
from onionmx.clock import Clock, Timestamp
from onionmx.isolation import OneFailedError, one_of_many
from onionmx.sync.judge.looks import not_told
from onionmx.sync.judge.proof import LOOK_AGAIN
from onionmx.sync.judge.verdict import Verdict
from onionmx.sync.state.record import DomainRecord

AT_ONCE = 200
"""Domains that are looked at, at the same time."""
MOST_WAITING = 10_000
"""Domains that wait for their turn, above which no more should be brought."""
_PAUSE = 1.0  # seconds for which what is found out waits to be saved together


class Prover(Protocol):
    """Finds out what a domain demands of its MX, and whether its onion MX has it."""

    async def look(self, record: DomainRecord, now: Timestamp) -> Verdict:
        """Look, as far as it is time to.

        Args:
            record: with an established route, or a change that waits.
        """


@dataclass(slots=True)
class Judged:
    """A domain of which DNS has told.

    Attributes:
        answer: of DNS.
        old: what was known before.
        verdict: what is known now.
    """

    answer: Answer
    old: DomainRecord
    verdict: Verdict


class Looking:
    """Looks at domains, several at the same time. Belongs to one event loop."""

    def __init__(self, prover: Prover, clock: Clock) -> None:
        self._prover = prover
        self._clock = clock
        self._waiting: deque[Judged] = deque()
        self._under_way: dict[str, Judged] = {}
        self._done: list[Judged] = []
        self._workers: set[asyncio.Task[None]] = set()

    @property
    def is_full(self) -> bool:
        """Whether it should be left to work for now."""
        return len(self._waiting) >= MOST_WAITING

    @property
    def left(self) -> list[Judged]:
        """Those that nothing is known of yet."""
        return [*self._under_way.values(), *self._waiting]

    def add(self, judged: Iterable[Judged]) -> None:
        """Have domains looked at; first those with a proof, which may come to its end."""
        self._waiting.extend(sorted(judged, key=lambda each: each.verdict.record.proof is None))
        for _ in range(min(AT_ONCE - len(self._workers), len(self._waiting))):
            worker = asyncio.create_task(self._work())
            self._workers.add(worker)
            worker.add_done_callback(self._ended)

    def take(self) -> list[Judged]:
        """Those that were looked at since the last call."""
        done, self._done = self._done, []
        return done

    async def wait(self) -> None:
        """Wait until more is known, a second at most.

        Raises:
            ConfigurationError: nobody can be looked at.
            StateError: what is known cannot be read.
        """
        if self._workers:
            ended, _ = await asyncio.wait(self._workers, timeout=_PAUSE)
            for worker in ended:
                worker.result()

    async def close(self) -> None:
        """Leave the rest."""
        for worker in self._workers:
            worker.cancel()
        await asyncio.gather(*self._workers, return_exceptions=True)
        self._workers.clear()

    async def _work(self) -> None:
        while self._waiting:
            judged = self._waiting.popleft()
            record = judged.verdict.record
            self._under_way[record.domain] = judged
            verdict = await self._look(record)
            judged.verdict = Verdict(verdict.record, (*judged.verdict.history, *verdict.history))
            del self._under_way[record.domain]
            self._done.append(judged)

    def _ended(self, worker: "asyncio.Task[None]") -> None:
        if worker.cancelled() or worker.exception() is None:  # else `wait` raises it
            self._workers.discard(worker)

    async def _look(self, record: DomainRecord) -> Verdict:
        now = self._clock()
        try:
            with one_of_many(record.domain):
                return await self._prover.look(record, now)
        except OneFailedError as error:
            record = not_told(record, str(error))
            return Verdict(replace(record, due_at=min(record.due_at, now + LOOK_AGAIN)))
