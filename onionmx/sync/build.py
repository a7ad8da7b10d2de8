"""The map that follows from what is known, and how it differs from the one that is there."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path

from onionmx.authenticate.demand.requirement import Demand
from onionmx.batches import batched
from onionmx.clock import Timestamp
from onionmx.config import MapSection
from onionmx.errors import MissingMapError
from onionmx.mapfile.cdb import COULD_NOT_TELL, MapReader, format_value, parse_value
from onionmx.mapfile.domains import local_answer
from onionmx.mapfile.entries import Entries
from onionmx.mapfile.pins import pinned_answer
from onionmx.mapfile.transport import folded_to, transport_records
from onionmx.mapfile.write import publish_records
from onionmx.onion import SUFFIX, Endpoint
from onionmx.sync.judge.entry import NOT_LISTED, entry_of, needs_look
from onionmx.sync.judge.looks import requirement_of
from onionmx.sync.judge.policy import UNSIGNED_NOW
from onionmx.sync.judge.rules import RulesOf
from onionmx.sync.report import MOST_DECISIONS, Decision, RunResult
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.store import Store
from onionmx.target import Source, Trust

DEFERRING = COULD_NOT_TELL.encode()
"""What the map has for a domain whose mail has to wait."""
_BATCH = 1000  # records that are looked up at once


@dataclass(frozen=True, slots=True)
class Base:
    """What decides beside the store.

    Attributes:
        pins: endpoints of the pinned domains, empty for `none`.
        local: domains of this host, which never enter the map.
        rules_of: what is believed of each domain.
        authenticates: whether proofs are asked for at all.
        digest: a text that is another where rules are.
    """

    pins: Entries
    local: frozenset[str]
    rules_of: RulesOf
    authenticates: bool = True
    digest: str = ""

    def has(self, domain: str) -> bool:
        """Whether there is nothing to ask for a domain: pins override DNS, and local domains are not routed."""
        return domain in self.pins or domain in self.local


@dataclass(slots=True)
class Changes:
    """How the next map differs from the old one.

    Attributes:
        old: number of entries in the old map.
        is_first: whether there is no old map, or one without checksums, which is written anew in any case.
        added: domains, as the others in alphabetical order.
        changed: domains with their old values.
        removed: domains with their old values.
    """

    old: int = 0
    is_first: bool = False
    added: list[str] = field(default_factory=list)
    changed: dict[str, bytes] = field(default_factory=dict)
    removed: dict[str, bytes] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.added) + len(self.changed) + len(self.removed)


@dataclass(frozen=True, slots=True)
class NextMap:
    """What is to be published.

    Attributes:
        values: of the map by domain, in alphabetical order; bytes, because there can be a million of them.
        demands: what a certificate must be like, by domain, for those that are routed because of a proof.
        until: when the first of the domains that defer does so no more, in seconds since 1970; 0 where none does.
    """

    values: dict[str, bytes]
    demands: dict[str, Demand]
    until: float = 0.0


def next_map(store: Store, base: Base, now: Timestamp) -> NextMap:
    """What follows from what is known.

    Args:
        store: what is known of domains.
        base: what decides beside it.
    """
    entries = {
        domain: format_value(endpoints)
        for domain, endpoints in base.pins.items()
        if endpoints and domain not in base.local
    }
    demands = {}
    ends = []
    for record in store.routed():
        domain = record.domain
        if base.has(domain):
            continue
        rules = base.rules_of(domain)
        entry = entry_of(record, rules, now)
        if entry.defers:
            entries[domain] = DEFERRING
            ends.append(record.defers_until)
        if entry.endpoints:
            entries[domain] = format_value(entry.endpoints)
            if needs_look(record, rules) and (requirement := requirement_of(record)) is not None:
                demands[domain] = requirement.demand
    return NextMap({domain: entries[domain] for domain in sorted(entries)}, demands, min(ends, default=0.0))


def compare(path: Path, new: Mapping[str, bytes]) -> Changes:
    """Compare the next map with the one at a path; where there is none, it is empty.

    Raises:
        MapError: it cannot be read.
    """
    changes = Changes()
    try:
        reader = MapReader(path)
    except MissingMapError:
        changes.is_first = True
        changes.added = list(new)
        return changes
    with reader:
        changes.is_first = not reader.has_checksums
        for key, value in reader.records():
            changes.old += 1
            domain = key.decode("ascii", "backslashreplace")
            wanted = new.get(domain)
            if wanted is None:
                changes.removed[domain] = value
            elif wanted != value:
                changes.changed[domain] = value
        if len(new) != changes.old - len(changes.removed):
            changes.added = [domain for domain in new if reader.get_value(domain) is None]
    return changes


def write(settings: MapSection, new: Mapping[str, bytes], changes: Changes) -> bool:
    """Publish the next map, and the one for Postfix, where they differ; whether the first did.

    Raises:
        MapError: it could not be written; the old one stays.
    """
    path = Path(settings.path)
    is_due = bool(changes) or changes.is_first
    if is_due:
        publish_records(path, ((domain.encode("ascii"), value) for domain, value in new.items()))
    if settings.transport_path:
        entries = {domain: parse_value(value) for domain, value in new.items()}
        _write_transport(Path(settings.transport_path), settings, entries)
    return is_due


def _write_transport(path: Path, settings: MapSection, entries: Entries) -> None:
    records = dict(transport_records(entries, settings.transport, settings.transport_result))
    with suppress(MissingMapError), MapReader(path) as reader:
        if reader.has_checksums and dict(reader.records()) == records:
            return
    publish_records(path, records.items())


def table_note(domain: str) -> str:
    """What the table for Postfix cannot do for a domain; empty where there is nothing to say."""
    other = folded_to(domain)
    if not other:
        return ""
    return (
        f"Postfix looks its Unicode form up as {other}, which may be another domain's name, so the table has no key "
        "of that form: let Postfix ask onionmx serve (socketmap) if clients send SMTPUTF8 mail"
    )


def decisions(  # noqa: PLR0913, PLR0917 -- everything that a decision came from
    changes: Changes,
    new: Mapping[str, bytes],
    store: Store,
    base: Base,
    now: Timestamp,
    note_of: Callable[[str], str] = lambda _domain: "",
) -> Iterator[Decision]:
    """What to say of each change, as far as a summary names them; the removed first: they are the ones to look at.

    Args:
        changes: between the maps.
        store: what is known of domains.
        base: what decides beside it.
        note_of: a remark on a domain that has an entry; empty for none.
    """
    named = islice((*changes.removed, *changes.changed, *changes.added), MOST_DECISIONS)
    for domains in batched(named, _BATCH):
        records = store.get(domains)
        for domain in domains:
            old = _endpoints(changes.removed.get(domain) or changes.changed.get(domain))
            record = records.get(domain)
            loud = record.decision if record and UNSIGNED_NOW in record.decision else ""
            if domain in changes.removed:
                reason = _why_removed(domain, record, base, now)
                yield Decision(domain, RunResult.REMOVED, old, (), reason=reason, notes=tuple(filter(None, [loud])))
                continue
            if new[domain] == DEFERRING:
                why = entry_of(record, base.rules_of(domain), now).why if record else ""
                yield Decision(domain, RunResult.UNDECIDED, old, parse_value(DEFERRING), reason=why)
                continue
            outcome = RunResult.CHANGED if domain in changes.changed else RunResult.ADDED
            source, trust = source_of(domain, record, base)
            notes = tuple(filter(None, [loud, note_of(domain)]))
            yield Decision(domain, outcome, old, parse_value(new[domain]), source, trust, notes=notes)


def source_of(domain: str, record: DomainRecord | None, base: Base) -> tuple[Source, Trust | None]:
    """Where the entry of a domain comes from, and what vouches for it."""
    if domain in base.pins:
        return Source.PIN, Trust.PINNED
    trust = record.established.trust if record and record.established else None
    return Source.ONION if domain.endswith(SUFFIX) else Source.SRV, trust


def _why_removed(domain: str, record: DomainRecord | None, base: Base, now: Timestamp) -> str:
    if domain in base.local:
        return local_answer(domain).reason
    if domain in base.pins:
        answer = pinned_answer(domain, base.pins[domain])
        return getattr(answer, "reason", "")
    if record is None:
        return NOT_LISTED
    return entry_of(record, base.rules_of(domain), now).why


def _endpoints(value: bytes | None) -> tuple[Endpoint, ...]:
    return parse_value(value) if value else ()
