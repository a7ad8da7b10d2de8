"""Both stores behave like a dictionary, whatever is done with them, and in whatever order."""

from collections import defaultdict

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule, run_state_machine_as_test
from msgspec.structs import replace

from onionmx.sync.state.encoding import HISTORY_LENGTH, LONGEST_WAIT, is_routed, is_waiting
from onionmx.sync.state.record import DomainRecord, HistoryLine, LastAnswer
from onionmx.sync.state.store import Counts

from .conftest import Open
from .records import DOMAINS, endpoints, lines, records, times

STEPS = 15


class Model(RuleBasedStateMachine):
    def __init__(self, open_it: Open) -> None:
        super().__init__()
        self.open_it = open_it
        self.store = open_it()
        with self.store.run_lock():
            self.store.set_listed([], 0.0)
            self.store.save(DomainRecord(domain, 0.0, listed=False) for domain in DOMAINS)
            self.store.forget(1.0)
            self.store.set_pins({})
        self.notes = dict(self.store.notes())
        self.known: dict[str, DomainRecord] = {}
        self.lines: dict[str, list[HistoryLine]] = defaultdict(list)

    @rule(domains=st.lists(st.sampled_from(DOMAINS)), now=times)
    def set_listed(self, domains: list[str], now: float) -> None:
        new = set(domains) - set(self.known)
        assert self.store.set_listed(domains, now) == len(new)
        for domain in new:
            self.known[domain] = DomainRecord(domain, now)
        self.known = {domain: replace(record, listed=domain in domains) for domain, record in self.known.items()}

    @rule(batch=st.lists(records, unique_by=lambda record: record.domain), history=st.lists(lines))
    def save(self, batch: list[DomainRecord], history: list[HistoryLine]) -> None:
        self.store.save(batch, history)
        self.known |= {record.domain: record for record in batch}
        for line in history:
            self.lines[line.domain] = [*self.lines[line.domain], line][-HISTORY_LENGTH:]

    @rule(names=st.lists(st.sampled_from(DOMAINS), unique=True), now=times)
    def revise(self, names: list[str], now: float) -> None:
        def change(found: dict[str, DomainRecord]) -> tuple[list[DomainRecord], list[HistoryLine]]:
            assert found == {name: self.known[name] for name in names if name in self.known}
            return [replace(found.get(name) or DomainRecord(name, now), reason="revised") for name in names], []

        self.store.revise(names, change)
        self.known |= {
            name: replace(self.known.get(name) or DomainRecord(name, now), reason="revised") for name in names
        }

    @rule(before=times)
    def forget(self, before: float) -> None:
        gone = [r.domain for r in self.known.values() if not r.listed and not is_routed(r) and r.due_at < before]
        assert self.store.forget(before) == len(gone)
        for domain in gone:
            del self.known[domain]
            self.lines.pop(domain, None)

    @rule(pins=st.dictionaries(st.sampled_from(DOMAINS), endpoints))
    def set_pins(self, pins: dict[str, tuple[tuple[str, int], ...]]) -> None:
        self.store.set_pins(pins)
        assert list(self.store.pins().items()) == sorted(pins.items())

    @rule(notes=st.dictionaries(st.sampled_from("abc"), st.text()))
    def note(self, notes: dict[str, str]) -> None:
        self.store.note(**notes)
        self.notes |= notes
        assert self.store.notes() == self.notes

    @rule(now=times)
    def due(self, now: float) -> None:
        listed = sorted((record for record in self.known.values() if record.listed), key=_by_due)
        late = [record.domain for record in listed if record.due_at <= now]
        ahead = [record.domain for record in listed if record.due_at > now + LONGEST_WAIT]
        assert list(self.store.due(now)) == late + ahead
        assert sorted(self.store.due(now, all_listed=True)) == sorted(record.domain for record in listed)

    @rule()
    def reopen(self) -> None:
        self.store.close()
        self.store = self.open_it()

    @invariant()
    def is_the_same(self) -> None:
        assert self.store.get(DOMAINS) == self.known
        assert list(self.store.routed()) == [r for _, r in sorted(self.known.items()) if is_routed(r)]
        assert {domain: self.store.history(domain) for domain in DOMAINS} == {d: self.lines.get(d, []) for d in DOMAINS}
        listed = [record for record in self.known.values() if record.listed]
        answers = [record.answer for record in listed]
        found, none, unknown = map(answers.count, (LastAnswer.FOUND, LastAnswer.NONE, LastAnswer.UNKNOWN))
        assert self.store.counts() == Counts(len(listed), found, none, unknown, sum(map(is_waiting, listed)))

    def teardown(self) -> None:
        with self.store.run_lock():
            self.store.save(DomainRecord(domain, 0.0, listed=False) for domain in DOMAINS)
            self.store.forget(1.0)
        self.store.close()


def _by_due(record: DomainRecord) -> tuple[float, str]:
    return record.due_at, record.domain


def test_like_a_dictionary(open_it: Open) -> None:
    class Opened(Model):
        def __init__(self) -> None:
            super().__init__(open_it)

    run_state_machine_as_test(Opened, settings=settings(stateful_step_count=STEPS))
