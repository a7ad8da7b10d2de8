"""One run of sync: take the lists, ask what is due, keep what was said, publish the map that follows.

A run can end at any moment. What was said is saved batch by batch, each of them whole or not at all, and the map is
built of what is saved, never the other way round. So a run that ends before the map is published leaves the old map and
a state that is ahead of it, and the next run publishes it, whether anything is due or not: the note about the map says
from which version of the routes it was built, and while routes are being changed there is no version that it could
match (see onionmx.sync.state.notes). A run that ends between the map and that note builds it once more and finds it
right.
"""

from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import ExitStack, closing, nullcontext, suppress
from dataclasses import dataclass, replace
from itertools import chain, islice
from pathlib import Path

from onionmx.answer import Answer
from onionmx.authenticate.demand.requirement import Demand
from onionmx.authenticate.proof.published import PublishedDemands, demands_path, publishing_demands
from onionmx.clock import Clock
from onionmx.config import Configuration
from onionmx.defaults import DAY
from onionmx.errors import LockedError, MissingMapError
from onionmx.files import is_missing
from onionmx.mapfile.cdb import DEFERS, MapReader, parse_value
from onionmx.mapfile.entries import Entries
from onionmx.mapfile.export import stale_exports, write_exports
from onionmx.mapfile.write import mark_checked, writer_lock
from onionmx.sync import removals
from onionmx.sync.after import mark_due
from onionmx.sync.asking import Asked, Asking, AskMany
from onionmx.sync.build import Base, Changes, NextMap, compare, decisions, next_map, table_note, write
from onionmx.sync.judge.entry import NOT_LISTED
from onionmx.sync.judge.policy import adopt
from onionmx.sync.judge.schedule import CLOCK_TOLERANCE
from onionmx.sync.lists.files import Lists, digest_of, read_lists
from onionmx.sync.lists.signature import SignedList, check_serials
from onionmx.sync.looking import Prover
from onionmx.sync.provenance import Provenance, after_sync, provenance_path, read_provenance, write_provenance
from onionmx.sync.removals import by_operator, deferrals, held_back, in_words, keep, over
from onionmx.sync.report import Decision, RunResult, Summary
from onionmx.sync.state import notes
from onionmx.sync.state.record import LastAnswer
from onionmx.sync.state.store import Store

_BATCH = 1000
_MAP_FORMAT = 3
"""Another number has every map written anew: 2 added the checksums."""
_FORGET_AFTER = 90 * DAY
"""Seconds after which a domain is forgotten that no list has any more, and that has no route."""


@dataclass(frozen=True, slots=True)
class Inputs:
    """What a run looks at.

    Attributes:
        base: pins, local domains, and what is believed.
        lists: of domains; `None` for those of the last run.
        signed: those of them that had to be signed, and are.
        shared_pins: to be put into a store that several hosts share; `None` for leaving them as they are.
    """

    base: Base
    lists: Lists | None = None
    signed: Sequence[SignedList] = ()
    shared_pins: Entries | None = None


@dataclass(frozen=True, slots=True)
class RunOptions:
    """What the operator wants of a run.

    Attributes:
        ask_all: ask for all listed domains, due or not.
        ask_none: only publish what is known.
        accept_removal: remove entries although they are many.
        accepted: domains whose change was accepted by name just now.
        dry_run: decide and report, but write no map; the store must be one that forgets.
    """

    ask_all: bool = False
    ask_none: bool = False
    accept_removal: bool = False
    accepted: Collection[str] = ()
    dry_run: bool = False


class SyncRun:
    """A run.

    Args:
        configuration: where the map is, and when to refuse one.
        prover: finds out what domains demand of their MXes, and has these prove themselves.
    """

    def __init__(
        self, configuration: Configuration, store: Store, questions: AskMany, prover: Prover, clock: Clock
    ) -> None:
        self._configuration = configuration
        self._store = store
        self._questions = questions
        self._prover = prover
        self._clock = clock
        self._path = Path(configuration.map.path)
        self._provenance = Provenance(0)

    async def synchronize(
        self, inputs: Inputs, wishes: RunOptions, on_answer: Callable[[Answer], None] = lambda _: None
    ) -> Summary:
        """Bring state and map up to date.

        Args:
            inputs: pins, domains and rules.
            on_answer: called with the answer to each question.

        Raises:
            LockedError: another run is at work on this map.
            MapError: the old map cannot be read, or the new one not be written; the old one stays.
            StateError: the state cannot be read or written; the map stays.
            DnsError: every lookup failed; nothing was published.
            ConfigurationError: a list has mistakes, or is older than one before; nothing was changed.
            SavedError: it cannot be told who has signed what before; nothing was changed.
        """
        started = self._clock()
        stamp = self._stamp(inputs)
        with ExitStack() as held:
            if not wishes.dry_run:
                held.enter_context(writer_lock(self._path))
            asked = Asked()
            self._provenance = read_provenance(self._path)
            check_serials(inputs.signed, self._provenance.serials, provenance_path(self._path))
            is_leader = self._lead(held)
            if is_leader:
                asked = await self._update(inputs, wishes, stamp, on_answer)
            summary = self._publish(inputs, wishes, stamp, asked)
            if not wishes.dry_run:
                mark_checked(self._path)
        seconds = self._clock() - started
        return replace(summary, started=started, seconds=seconds, is_led_elsewhere=not is_leader)

    def _lead(self, held: ExitStack) -> bool:
        """Whether this is the run that asks; of several hosts with one store, one is."""
        try:
            held.enter_context(self._store.run_lock())
        except LockedError:
            return False
        return True

    async def _update(
        self, inputs: Inputs, wishes: RunOptions, stamp: notes.MapStamp, on_answer: Callable[[Answer], None]
    ) -> Asked:
        now = self._clock()
        known = self._store.notes()
        is_listed_anew = self._take_lists(inputs.lists, known.get(notes.LISTS), now)
        if inputs.shared_pins is not None and self._store.pins() != dict(inputs.shared_pins):
            self._store.set_pins(inputs.shared_pins)
        if not stamp.is_known():
            self._adopt(inputs.base, now)
        asked = Asked()
        # Times in the store that lie ahead because the clock was ahead say nothing about what is due.
        is_set_back = notes.number(known, notes.LAST_RUN) > now + CLOCK_TOLERANCE
        due = () if wishes.ask_none else self._store.due(now, all_listed=wishes.ask_all or is_set_back)
        names = (domain for domain in due if not inputs.base.has(domain))
        if (first := next(names, None)) is not None:
            rules_of = inputs.base.rules_of
            asking = Asking(self._store, self._questions, rules_of, self._prover, self._clock, on_answer)
            asked = await asking.ask(chain((first,), names))
        notes.close_routes(self._store)
        if asked.count or is_listed_anew or wishes.ask_none:
            counts = self._store.counts()
            self._store.note(**{notes.LISTED: str(counts.listed), notes.PENDING: str(counts.pending)})
        if not wishes.ask_none:
            self._store.note(**{notes.LAST_RUN: str(now)})
        if is_listed_anew:
            self._store.forget(now - _FORGET_AFTER)
        return asked

    def _take_lists(self, lists: Lists | None, known: str | None, now: float) -> bool:
        if lists is None or (digest := digest_of(lists)) == known:
            return False
        domains = read_lists(lists)
        notes.open_routes(self._store)
        self._store.set_listed(domains, now)
        self._store.note(**{notes.LISTS: digest})
        return True

    def _adopt(self, base: Base, now: float) -> None:
        """Take over the entries of a map of which the state knows nothing.

        They are of the time before there was a state, or it was lost. What they lead to is established then, and no
        stranger's record is the first that is seen. What they had to show is taken over too: else anyone who keeps a
        policy from being read would have mail delivered without a certificate.
        """
        with closing(PublishedDemands(self._path)) as demands:
            for batch in self._entries():
                records = self._store.get(batch)
                verdicts = [
                    adopt(records[domain], batch[domain], now, _demand(demands, domain))
                    for domain in records
                    if records[domain].answer is LastAnswer.NEVER
                    and records[domain].established is None
                    and not base.has(domain)
                ]
                if verdicts:
                    notes.open_routes(self._store)
                    lines = [line for verdict in verdicts for line in verdict.history]
                    self._store.save([verdict.record for verdict in verdicts], lines)

    def _entries(self) -> Iterator[dict[str, tuple[tuple[str, int], ...]]]:
        with suppress(MissingMapError), MapReader(self._path) as reader:
            entries = (entry for entry in reader.entries() if entry[1] != DEFERS)  # of the others nothing is known
            while batch := dict(islice(entries, _BATCH)):
                yield batch

    def _publish(self, inputs: Inputs, wishes: RunOptions, stamp: notes.MapStamp, asked: Asked) -> Summary:
        now, base = self._clock(), inputs.base
        waited = stamp.held()
        are_accepted = bool(waited) if wishes.accept_removal else not waited.isdisjoint(wishes.accepted)
        if stamp.is_current(now) and not are_accepted:
            with MapReader(self._path) as reader:
                summary = self._summary(base, Changes(old=len(reader)), {}, asked, len(reader), wishes)
            return replace(summary, held=len(waited), refusal=stamp.why_held())
        version = stamp.version()
        new = next_map(self._store, base, now)
        changes = compare(self._path, new.values)
        settings = self._configuration.sync
        waits = deferrals(self._store, changes, now)
        free = by_operator(self._store, changes) | set(wishes.accepted) | over(changes, waits)
        held = [] if wishes.accept_removal else held_back(changes, waited - free, base, settings, free)
        if held:
            new = keep(new, changes, held, self._path, waits)
        note_of = table_note if self._configuration.map.transport_path else lambda _domain: ""
        found = {each.domain: each for each in decisions(changes, new.values, self._store, base, now, note_of)}
        begins = removals.decisions((domain for domain in held if domain not in waited), new)
        found |= {each.domain: each for each in begins}
        words = in_words(held, changes.old, settings)
        is_published = False
        if not wishes.dry_run:
            self._keep_signers(inputs, new)
            is_published = self._write(base, new, changes)
            stamp.set(version, new.until, held, words)
        summary = self._summary(base, changes, found, asked, len(new.values), wishes)
        return replace(summary, is_published=is_published, refusal=words, held=len(held))

    def _write(self, base: Base, new: NextMap, changes: Changes) -> bool:
        self._write_exports(new, changes)
        # Without the file the relay delivers nothing; one that it finds empty costs nothing.
        is_wanted = base.authenticates or not is_missing(demands_path(self._path))
        with publishing_demands(self._path, new.demands) if is_wanted else nullcontext():
            return write(self._configuration.map, new.values, changes)

    def _write_exports(self, new: NextMap, changes: Changes) -> None:
        """Before the map: mail for a domain that only the exports have yet is deferred by the relay, and not lost.

        A program that sees the map change finds them done.
        """
        exports = self._configuration.map.exports
        stale = []
        if exports:
            stale = stale_exports({domain: parse_value(value) for domain, value in new.values.items()}, exports)
        if self._configuration.sync.after and (stale or changes or changes.is_first):
            mark_due(self._path)
        write_exports(stale)

    def _keep_signers(self, inputs: Inputs, new: NextMap) -> None:
        if inputs.signed or self._provenance.signers:
            signed = None if inputs.lists is None else inputs.signed
            entries = {domain: value for domain, value in new.values.items() if domain not in inputs.base.pins}
            write_provenance(self._path, after_sync(self._provenance, signed, entries), self._provenance)

    def _summary(  # noqa: PLR0913, PLR0917 -- what a run has found out
        self, base: Base, changes: Changes, found: dict[str, Decision], asked: Asked, entries: int, wishes: RunOptions
    ) -> Summary:
        known = self._store.notes()
        listed = int(notes.number(known, notes.LISTED))
        pinned = self._store.get(base.pins)
        named = listed + sum(domain not in pinned or not pinned[domain].listed for domain in base.pins)
        removed = [each for each in found.values() if each.outcome is RunResult.REMOVED and each.reason != NOT_LISTED]
        counts = {
            RunResult.ADDED: len(changes.added),
            RunResult.CHANGED: len(changes.changed),
            RunResult.REMOVED: len(changes.removed),
            RunResult.KEPT: max(0, entries - len(changes.added) - len(changes.changed) - asked.failed_with_route),
            RunResult.UNDECIDED: asked.failed,
            RunResult.WITHOUT: max(0, named - entries - len(removed) - asked.failed + asked.failed_with_route),
        }
        all_decisions = asked.decisions | found
        return Summary(
            str(self._path),
            is_dry_run=wishes.dry_run,
            listed=listed,
            asked=asked.count,
            entries=entries,
            counts=counts,
            waiting=int(notes.number(known, notes.PENDING)),
            decisions=tuple(all_decisions[domain] for domain in sorted(all_decisions)),
            omitted=asked.omitted + max(0, len(changes) - len(found)),
        )

    def _stamp(self, inputs: Inputs) -> notes.MapStamp:
        settings, base = self._configuration.map, inputs.base
        paths = [self._path, demands_path(self._path)]
        paths += [Path(settings.transport_path)] if settings.transport_path else []
        paths += [Path(export.path) for export in settings.exports]
        signers = sorted((each.name, each.signer) for each in inputs.signed)
        made_of = (
            _MAP_FORMAT,
            settings,
            sorted(base.pins.items()),
            sorted(base.local),
            f"{base.digest}{signers or ''}",
        )
        return notes.MapStamp(self._store, paths, made_of)


def _demand(demands: PublishedDemands, domain: str) -> Demand | None:
    """What a domain demanded; nothing where the map has no file of demands, as one of an older version."""
    try:
        return demands.get(domain)
    except MissingMapError:
        return None
