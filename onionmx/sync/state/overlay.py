"""A store for trying things out: it reads another one and keeps what is written to itself."""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from heapq import merge

from msgspec.structs import replace

from onionmx.batches import batched
from onionmx.onion import Endpoint
from onionmx.sync.state.encoding import is_routed, is_waiting
from onionmx.sync.state.record import DomainRecord, HistoryLine, LastAnswer
from onionmx.sync.state.store import Change, Counts, Store

_BATCH = 1000


class DryRunStore(Store):
    """See `Store`; for one run, which never waits for another one.

    Args:
        base: is only read; `None` for one in which there is nothing.
    """

    def __init__(self, base: Store | None) -> None:
        self._base = base
        self._records: dict[str, DomainRecord] = {}
        self._listed: dict[str, None] | None = None
        self._notes: dict[str, str] = dict(base.notes()) if base else {}
        self._pins: dict[str, tuple[Endpoint, ...]] = base.pins() if base else {}
        self._history: list[HistoryLine] = []
        self._now = 0.0

    def run_lock(self) -> AbstractContextManager[None]:
        return nullcontext()

    def counts(self) -> Counts:
        if self._listed is None and not self._records:
            return self._base.counts() if self._base else Counts()
        answers = dict.fromkeys(LastAnswer, 0)
        pending = 0
        for batch in batched(self._all_listed(), _BATCH):
            for record in self.get(batch).values():
                answers[record.answer] += 1
                pending += is_waiting(record)
        found, none, unknown = answers[LastAnswer.FOUND], answers[LastAnswer.NONE], answers[LastAnswer.UNKNOWN]
        return Counts(sum(answers.values()), found, none, unknown, pending)

    def set_listed(self, domains: Iterable[str], now: float) -> int:
        self._listed = dict.fromkeys(domains)
        self._now = now
        return sum(len(batch) - len(self._known(batch)) for batch in batched(self._listed, _BATCH))

    def due(self, now: float, *, all_listed: bool = False) -> Iterator[str]:
        changed = dict(self._records)
        names: Iterable[str] = changed if self._listed is None else self._listed
        for batch in batched(names, _BATCH):
            for domain, record in self.get(batch).items():
                if record.listed and (all_listed or record.due_at <= now):
                    yield domain
        if self._listed is None and self._base:
            yield from (name for name in self._base.due(now, all_listed=all_listed) if name not in changed)

    def get(self, domains: Iterable[str]) -> dict[str, DomainRecord]:
        found = {}
        names = list(domains)
        known = self._known([name for name in names if name not in self._records])
        for name in names:
            record = self._records.get(name) or known.get(name)
            if record is None and self._listed is not None and name in self._listed:
                record = DomainRecord(name, self._now)
            if record is not None:
                found[name] = self._with_list(record)
        return found

    def routed(self) -> Iterator[DomainRecord]:
        known = self._base.routed() if self._base else iter(())
        base = (record for record in known if record.domain not in self._records)
        own = (self._records[domain] for domain in sorted(self._records))
        own_routed = (record for record in own if is_routed(record))
        return map(self._with_list, merge(base, own_routed, key=lambda record: record.domain))

    def save(self, records: Iterable[DomainRecord], history: Iterable[HistoryLine] = ()) -> None:
        self._records |= {record.domain: record for record in records}
        self._history += history

    def revise(self, domains: Iterable[str], change: Change) -> None:
        self.save(*change(self.get(domains)))

    def history(self, domain: str) -> list[HistoryLine]:
        known = self._base.history(domain) if self._base else []
        return known + [line for line in self._history if line.domain == domain]

    def forget(self, due_before: float) -> int:  # noqa: ARG002 -- of the protocol
        return 0

    def pins(self) -> dict[str, tuple[Endpoint, ...]]:
        return dict(self._pins)

    def set_pins(self, pins: Mapping[str, Sequence[Endpoint]]) -> None:
        self._pins = {domain: tuple(endpoints) for domain, endpoints in pins.items()}

    def notes(self) -> Mapping[str, str]:
        return dict(self._notes)

    def note(self, **texts: str) -> None:
        self._notes |= texts

    def close(self) -> None:
        pass  # the store below stays open

    def _known(self, domains: Iterable[str]) -> dict[str, DomainRecord]:
        return self._base.get(domains) if self._base else {}

    def _all_listed(self) -> Iterable[str]:
        if self._listed is not None:
            return self._listed
        return self._base.due(self._now, all_listed=True) if self._base else ()

    def _with_list(self, record: DomainRecord) -> DomainRecord:
        if self._listed is None:
            return record
        return replace(record, listed=record.domain in self._listed)
