"""Answers of DNS as sync's judge lets them count: unsigned changes wait, whatever was restarted in between.

The judge sees all that is remembered of a domain, and what it decides is remembered before anybody hears of it.
"""

import asyncio
import logging
import time
from collections.abc import Coroutine
from functools import partial

import msgspec

from onionmx.answer import Answer, Ask, CouldNotTell, Found, NoRoute
from onionmx.clock import Clock
from onionmx.domain import Domain
from onionmx.errors import OnionmxError, StateError
from onionmx.routing.memory import Kept, Memory
from onionmx.sync.judge.entry import entry_of, needs_look
from onionmx.sync.judge.policy import Verdict, judge, settled
from onionmx.sync.judge.rules import Rules, RulesOf, TrustPolicy
from onionmx.sync.looking import Prover
from onionmx.sync.state.encoding import is_waiting
from onionmx.sync.state.record import DomainRecord, LastAnswer
from onionmx.target import Route, Source, Trust, targets_of

_ATTEMPTS = 5
"""At a record that other processes change meanwhile."""
_MOST_WATCHED = 10_000
"""Domains with a change that waits, which are asked again without anybody asking for them."""
_LEAST_WAIT = 60.0  # seconds until that

_logger = logging.getLogger(__name__)


class JudgedRoutes:
    """Asks DNS, lets the judge decide, and remembers. Belongs to one event loop.

    Args:
        memory: what is known of domains; closed with this.
        rules_of: what is believed of each domain.
        prover: finds out what a domain demands of its MX, and whether its onion MX has it; `None` where nobody has to
            prove anything.
    """

    def __init__(
        self,
        ask: Ask,
        memory: Memory,
        rules_of: RulesOf,
        prover: Prover | None,
        clock: Clock = time.time,
    ) -> None:
        self._ask = ask
        self._memory = memory
        self._rules_of = rules_of
        self._prover = prover
        self._clock = clock
        self._watched: dict[str, asyncio.TimerHandle] = {}
        self._tasks: set[asyncio.Task[None]] = set()
        self._is_begun = False
        self._is_closed = False

    def is_believed(self, answer: Answer) -> bool:
        """Whether an answer that was kept under other rules may still be given."""
        if not isinstance(answer, Found) or answer.route.trust is not Trust.UNSIGNED:
            return True
        return self._rules_of(answer.route.domain).belief is not TrustPolicy.DNSSEC

    async def ask(self, domain: Domain) -> Answer:
        """The answer for a domain that counts now."""
        self._begin()
        answer = await self._ask(domain)
        if isinstance(answer, CouldNotTell):
            return answer
        try:
            return await self._judged(domain, answer)
        except OnionmxError as error:
            return CouldNotTell(domain, f"what was seen before is not known: {error}")

    async def close(self) -> None:
        """End what is under way, and close the memory."""
        self._is_closed = True
        for timer in self._watched.values():
            timer.cancel()
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._memory.close()

    async def _judged(self, domain: str, answer: Found | NoRoute) -> Answer:
        rules = self._rules_of(domain)
        now = self._clock()
        for _ in range(_ATTEMPTS):
            kept = await self._decided(domain, answer, now, rules)
            if kept is not None:
                break
        else:
            raise StateError("another process changes it all the time")
        record = kept.record
        if not kept.is_remembered and _needs_memory(record, rules):
            words = "the memory of live lookups is full, and its unsigned record could change unnoticed"
            return CouldNotTell(domain, f"{words}: raise lookup.memory_size, or pin the domain")
        self._watch(record, now)
        return _answer(record, answer, rules, now)

    async def _decided(self, domain: str, answer: Found | NoRoute, now: float, rules: Rules) -> Kept | None:
        """What is known from now on; `None` where another process has changed it meanwhile."""
        to_look: list[Verdict] = []

        def hear(known: DomainRecord | None) -> Verdict:
            before = known or self._memory.blank(domain, now)
            verdict = judge(before, answer, now, rules)
            to_look[:] = [verdict] if self._is_to_look(verdict.record, rules) else []
            return Verdict(before) if to_look else _settled(verdict, now, rules)

        kept = await self._memory.revise(domain, hear)
        if self._prover is None or not to_look:
            return kept
        (heard,) = to_look
        looked = await self._prover.look(heard.record, now)
        seen = _settled(Verdict(looked.record, (*heard.history, *looked.history)), now, rules)
        noted = await self._memory.revise(domain, partial(_noted, kept.record, seen))
        return noted if noted.record == seen.record else None

    def _is_to_look(self, record: DomainRecord, rules: Rules) -> bool:
        return self._prover is not None and needs_look(record, rules)

    # A change that waits is taken when it was seen for long enough, whether there is mail for the domain or not.

    def _begin(self) -> None:
        if not self._is_begun:
            self._is_begun = True
            self._start(self._watch_all())

    async def _watch_all(self) -> None:
        try:
            records = await self._memory.waiting()
        except OnionmxError as error:
            _logger.error("%s", error)  # noqa: TRY400 -- the line says it all
            return
        now = self._clock()
        for record in records:
            self._watch(record, now)

    def _watch(self, record: DomainRecord, now: float) -> None:
        if timer := self._watched.pop(record.domain, None):
            timer.cancel()
        if is_waiting(record) and not self._is_closed and len(self._watched) < _MOST_WATCHED:
            wait = max(record.due_at - now, _LEAST_WAIT)
            loop = asyncio.get_running_loop()
            self._watched[record.domain] = loop.call_later(wait, self._look_again, record)

    def _look_again(self, record: DomainRecord) -> None:
        del self._watched[record.domain]
        self._start(self._ask_again(record))

    async def _ask_again(self, record: DomainRecord) -> None:
        if isinstance(await self.ask(record.domain), CouldNotTell) and record.domain not in self._watched:
            self._watch(msgspec.structs.replace(record, due_at=0.0), self._clock())

    def _start(self, work: Coroutine[None, None, None]) -> None:
        task = asyncio.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)


def _noted(before: DomainRecord, seen: Verdict, known: DomainRecord | None) -> Verdict:
    """What was seen counts for the record that was looked at, and for no other one."""
    return seen if known is None or known == before else Verdict(known)


def _settled(verdict: Verdict, now: float, rules: Rules) -> Verdict:
    after = settled(verdict.record, now, rules)
    return Verdict(after.record, (*verdict.history, *after.history))


def _needs_memory(record: DomainRecord, rules: Rules) -> bool:
    route = record.established
    return route is not None and route.trust is Trust.UNSIGNED and rules.belief is TrustPolicy.TOFU


def _answer(record: DomainRecord, answer: Found | NoRoute, rules: Rules, now: float) -> Answer:
    """What follows from a record in which an answer is noted."""
    # That a shared memory has it in no list says that it is in no map.
    entry = entry_of(msgspec.structs.replace(record, listed=True), rules, now)
    ttl = answer.route.ttl if isinstance(answer, Found) else answer.ttl
    if record.pending or record.doubt:
        # Taken at last, it is to count soon.
        ttl = int(min(record.due_at - now, ttl if ttl is not None else record.due_at - now))
    notes = answer.notes
    if record.established is None or not entry.endpoints:
        if entry.defers:
            return CouldNotTell(record.domain, f"{entry.why}: {record.decision}")
        if isinstance(answer, NoRoute) and record.answer is LastAnswer.NONE:
            return answer
        return NoRoute(record.domain, f"{entry.why}: {record.decision}", ttl, notes)
    if entry.why:
        notes = (*notes, entry.why)
    if waiting := record.pending or record.doubt:
        notes = (*notes, f"a change waits: {waiting.reason}")
    targets = targets_of(entry.endpoints)
    if isinstance(answer, Found):
        said = {target.endpoint: target for target in answer.route.targets}
        if all(endpoint in said for endpoint in entry.endpoints):
            targets = tuple(target for target in answer.route.targets if target.endpoint in entry.endpoints)
    return Found(Route(record.domain, targets, Source.SRV, record.established.trust, ttl), notes)
