"""Asking DNS for the domains that are due, and keeping what it says."""

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing
from dataclasses import dataclass, field
from time import monotonic

from msgspec.structs import replace

from onionmx.answer import Answer, CouldNotTell, Found
from onionmx.clock import Clock
from onionmx.errors import DnsError
from onionmx.isolation import OneFailedError, one_of_many
from onionmx.sync.judge.entry import needs_look
from onionmx.sync.judge.looks import not_told
from onionmx.sync.judge.policy import Verdict, judge, settled
from onionmx.sync.judge.proof import LOOK_AGAIN
from onionmx.sync.judge.rules import RulesOf
from onionmx.sync.looking import Judged, Looking, Prover
from onionmx.sync.report import MOST_DECISIONS, Decision, RunResult
from onionmx.sync.state.notes import open_routes
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.store import Store

BATCH = 10_000
"""Answers that are saved together at most: room for them, and a second's work of a fast run."""
BATCH_TIME = 10.0
"""Seconds for which answers wait to be saved: a run that is killed asks again for those, and for what is on its way."""
MOST_HELD = 10_000
"""Failures without one answer in between, after which it is known that it is not the fault of the domains."""
MOST_TIME = 3600.0
"""Seconds for which a run waits for proofs while it has nothing else to do."""

AskMany = Callable[[Iterable[str]], AsyncGenerator[Answer, None]]
"""Finds one answer for each of many domains, in any order."""


@dataclass(slots=True)
class Asked:
    """What came of asking.

    Attributes:
        count: domains that were asked.
        failed: those for which it could not be told.
        failed_with_route: those of them that keep a route.
        decisions: about domains that failed for the first time, whose change begins to wait, or with notes.
        omitted: number of further ones.
    """

    count: int = 0
    failed: int = 0
    failed_with_route: int = 0
    decisions: dict[str, Decision] = field(default_factory=dict)
    omitted: int = 0

    def note(self, decision: Decision) -> None:
        """Name a decision in the report."""
        if len(self.decisions) < MOST_DECISIONS:
            self.decisions[decision.domain] = decision
        else:
            self.omitted += 1


class Asking:
    """Asks, decides and saves in batches.

    Args:
        store: what is known, and will be.
        rules_of: what is believed of each domain.
        prover: finds out what a domain demands of its MX.
        on_answer: called with each answer, to show progress.
    """

    def __init__(  # noqa: PLR0913, PLR0917 -- each of them is something else
        self,
        store: Store,
        questions: AskMany,
        rules_of: RulesOf,
        prover: Prover,
        clock: Clock,
        on_answer: Callable[[Answer], None],
    ) -> None:
        self._store = store
        self._questions = questions
        self._rules_of = rules_of
        self._looking = Looking(prover, clock)
        self._patience = MOST_TIME
        self._clock = clock
        self._on_answer = on_answer
        self._asked = Asked()

    async def ask(self, domains: Iterable[str]) -> Asked:
        """Ask for all of these domains.

        Raises:
            DnsError: every lookup failed, also of domains that DNS has told of before: that says something about this
                host and nothing about them, so nothing of it is kept.
            StateError: it cannot be saved; what was saved before is whole.
        """
        try:
            await self._ask(domains)
            await self._finish()
        finally:
            await self._looking.close()
        return self._asked

    async def _ask(self, domains: Iterable[str]) -> None:
        batch: list[Answer] = []
        begun = self._clock()
        held: list[CouldNotTell] = []
        is_told = False
        async with aclosing(self._questions(domains)) as answers:
            async for answer in answers:
                self._on_answer(answer)
                if is_told or not isinstance(answer, CouldNotTell):
                    is_told = True
                    batch.append(answer)
                    if len(batch) >= BATCH or self._clock() - begun >= BATCH_TIME:
                        await self._keep(batch)
                        batch = []
                        begun = self._clock()
                    continue
                held.append(answer)
                if len(held) >= MOST_HELD:
                    self._refuse_news(held)
                    is_told = True
        if held and not is_told:
            self._refuse_news(held)
        for start in range(0, len(held), BATCH):
            await self._keep(held[start : start + BATCH])
        await self._keep(batch)

    def _refuse_news(self, failed: list[CouldNotTell]) -> None:
        for start in range(0, len(failed), BATCH):
            domains = [answer.domain for answer in failed[start : start + BATCH]]
            records = self._store.get(domains)
            if not all(domain in records and records[domain].failures for domain in domains):
                raise DnsError(
                    f"every lookup failed ({len(failed)}), nothing was published; the last one: {failed[-1].reason}"
                )

    async def _keep(self, answers: Iterable[Answer]) -> None:
        by_domain = {_domain_of(answer): answer for answer in answers}
        now = self._clock()
        known = self._store.get(by_domain) if by_domain else {}
        judged = [
            self._judge(known.get(domain) or DomainRecord(domain, now), answer, now)
            for domain, answer in by_domain.items()
        ]
        to_look_at = [each for each in judged if needs_look(each.verdict.record, self._rules_of(each.old.domain))]
        looked_at = {each.old.domain for each in to_look_at}
        self._save([each for each in judged if each.old.domain not in looked_at])
        self._save(self._looking.take())
        while self._looking.is_full and self._patience > 0:
            await self._wait()
        if self._looking.is_full:
            self._leave(to_look_at)
        else:
            self._looking.add(to_look_at)

    async def _finish(self) -> None:
        """Wait for what is still looked at."""
        while self._looking.left and self._patience > 0:
            await self._wait()
        self._save(self._looking.take())
        self._leave(self._looking.left)

    async def _wait(self) -> None:
        """Wait for a while, and save what is known then."""
        begun = monotonic()
        await self._looking.wait()
        self._patience -= monotonic() - begun
        self._save(self._looking.take())

    def _leave(self, judged: Sequence[Judged]) -> None:
        """Leave domains to the next run: until then it could not be told."""
        words = f"what it demands of its MX, or whether its onion MX has it, was not known within {MOST_TIME:g} s"
        for each in judged:
            # A moment later than now, or this very run would ask again.
            record = replace(not_told(each.verdict.record, words), due_at=self._clock() + 1.0)
            each.verdict = Verdict(record, each.verdict.history)
        self._keep_verdicts(judged)
        for each in judged:
            self._report(CouldNotTell(each.old.domain, words), each.old, each.old, is_news=True)

    def _judge(self, old: DomainRecord, answer: Answer, now: float) -> Judged:
        try:
            with one_of_many(old.domain):
                return Judged(answer, old, judge(old, answer, now, self._rules_of(old.domain)))
        except OneFailedError as error:
            record = replace(old, decision=str(error), due_at=now + LOOK_AGAIN)
            return Judged(CouldNotTell(old.domain, str(error)), old, Verdict(record))

    def _save(self, judged: Sequence[Judged]) -> None:
        self._keep_verdicts(judged)
        for each in judged:
            self._report(each.answer, each.old, each.verdict.record)

    def _keep_verdicts(self, judged: Sequence[Judged]) -> None:
        if not judged:
            return
        for each in judged:
            self._settle(each)
        if any(_routing(each.old) != _routing(each.verdict.record) for each in judged):
            # Before the first of them is saved: see onionmx.sync.state.notes.
            open_routes(self._store)
        self._store.save(
            [each.verdict.record for each in judged], [line for each in judged for line in each.verdict.history]
        )

    def _settle(self, judged: Judged) -> None:
        record = judged.verdict.record
        if record.established or record.pending:
            after = settled(record, self._clock(), self._rules_of(record.domain))
            judged.verdict = Verdict(after.record, (*judged.verdict.history, *after.history))

    def _report(self, answer: Answer, old: DomainRecord, new: DomainRecord, *, is_news: bool = False) -> None:
        self._asked.count += 1
        endpoints = new.established.endpoints if new.established else ()
        if isinstance(answer, CouldNotTell):
            self._asked.failed += 1
            self._asked.failed_with_route += new.established is not None
            # Once, and not in each letter that cron sends.
            if is_news or new.failures == 1 or old.established != new.established:
                self._asked.note(Decision(new.domain, RunResult.UNDECIDED, endpoints, endpoints, reason=answer.reason))
        elif why := _begins_to_wait(old, new):
            self._asked.note(
                Decision(new.domain, RunResult.WAITING, endpoints, endpoints, reason=why, notes=answer.notes)
            )
        elif answer.notes:
            outcome = RunResult.KEPT if endpoints else RunResult.WITHOUT
            self._asked.note(Decision(new.domain, outcome, endpoints, endpoints, reason=new.reason, notes=answer.notes))


def _domain_of(answer: Answer) -> str:
    return answer.route.domain if isinstance(answer, Found) else answer.domain


def _begins_to_wait(old: DomainRecord, new: DomainRecord) -> str:
    """Why a change begins to wait; empty where none does."""
    if new.doubt and old.doubt is None:
        return f"its onion MX does not show what it demands any more: {new.doubt.reason}"
    known = {frozenset(each.endpoints) for each in (old.pending, *old.rivals) if each}
    waits = (each for each in (new.pending, *new.rivals) if each)
    return next((each.reason for each in waits if frozenset(each.endpoints) not in known), "")


def _routing(record: DomainRecord) -> object:
    """All of a record that the map is made of."""
    established = record.established
    route = established and (established.endpoints, established.trust)
    return route, record.requirement, bool(record.requirement_expires), record.proof, record.defers_until
