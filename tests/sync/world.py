"""A host that runs sync, a DNS whose answers a test writes, and a clock that it moves."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from dataclasses import dataclass
from dataclasses import replace as replace_requirement
from pathlib import Path

from msgspec.structs import replace

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.authenticate.demand.policy_lookup import PolicyAnswer
from onionmx.authenticate.demand.requirement import EnforcedPolicy, parse_requirement
from onionmx.authenticate.proof.prove import NotProven, Proven
from onionmx.config import Configuration, Export, MapSection, SyncSection
from onionmx.mapfile.cdb import MapReader
from onionmx.onion import Endpoint
from onionmx.sync.build import Base
from onionmx.sync.judge.policy import Verdict
from onionmx.sync.judge.proof import Proofs
from onionmx.sync.judge.rules import TrustPolicy, make_rules
from onionmx.sync.report import Summary
from onionmx.sync.run import Inputs, RunOptions, SyncRun
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.sqlite import SqliteStore
from onionmx.sync.state.store import Store
from onionmx.target import Route, Source, Target, Trust
from tests.mapfile.maps import A

HOUR = 3600.0
DAY = 24 * HOUR
START = 1_800_000_000.0


def found(domain: str, *onions: str, trust: Trust = Trust.UNSIGNED, ttl: int = 3600) -> Found:
    targets = tuple(Target(onion, 25, priority) for priority, onion in enumerate(onions or (A,)))
    return Found(Route(domain, targets, Source.SRV, trust, ttl))


def none(domain: str, trust: Trust = Trust.UNSIGNED, ttl: int = 3600) -> NoRoute:
    return NoRoute(domain, "no such name in DNS", ttl, trust=trust)


def unknown(domain: str) -> CouldNotTell:
    return CouldNotTell(domain, "answered SERVFAIL")


class NoDemands:
    """No domain demands anything of its MX."""

    async def look(self, record: DomainRecord, now: float) -> Verdict:
        return Verdict(replace(record, requirement_expires=now + DAY))


class Silent:
    """Nobody can tell what domains demand."""

    async def look(self, record: DomainRecord, now: float) -> Verdict:
        return Verdict(replace(record, due_at=min(record.due_at, now + HOUR)))


class Demanding:
    """These domains demand a proof, and only these onions have one."""

    def __init__(self, domains: Iterable[str], onions: Iterable[str], requirement: str) -> None:
        self.domains = set(domains)
        self.onions = set(onions)
        self.requirement = requirement

    async def look(self, record: DomainRecord, now: float) -> Verdict:
        if record.domain not in self.domains:
            return Verdict(replace(record, requirement="", requirement_expires=now + DAY, proof=None))
        return await Proofs(self, self._show).look(record, now)

    async def requirement_of(self, domain: str, known: EnforcedPolicy | None = None) -> PolicyAnswer:
        del known
        return replace_requirement(parse_requirement(self.requirement), domain=domain)

    async def _show(self, requirement: EnforcedPolicy, endpoints: tuple[Endpoint, ...]) -> Proven | NotProven:
        shown = tuple(endpoint for endpoint in endpoints if endpoint[0] in self.onions)
        return Proven(shown, ("mx.example",), requirement.expires) if shown else NotProven("test")


@dataclass
class World:
    """One host.

    Attributes:
        folder: with map and state.
        answers: of DNS; a domain that is not in it has no onion MX.
        now: seconds since 1970.
        settings: of sync.
        pins: that hold.
        local: domains of the host.
        beliefs: that differ for some domains.
        prover: who proves.
        exports: that the map has.
    """

    folder: Path

    def __post_init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self.now = START
        self.settings = SyncSection()
        self.pins: dict[str, tuple[Endpoint, ...]] = {}
        self.local: frozenset[str] = frozenset()
        self.beliefs: dict[str, TrustPolicy] = {}
        self.prover: NoDemands | Silent | Demanding | Proofs = NoDemands()
        self.lists: list[str] = []
        self.authenticates = True
        self.exports: tuple[Export, ...] = ()

    @property
    def map(self) -> Path:
        return self.folder / "map.cdb"

    def open(self) -> SqliteStore:
        return SqliteStore(self.folder / "state.sqlite")

    async def questions(self, domains: Iterable[str]) -> AsyncGenerator[Answer, None]:
        for domain in domains:
            self.asked.append(domain)
            await asyncio.sleep(0)
            yield self.answers.get(domain, none(domain))

    def base(self) -> Base:
        rules_of = make_rules(self.settings, self.beliefs, authenticates=self.authenticates)
        return Base(self.pins, self.local, rules_of, self.authenticates, repr((self.settings.trust, self.beliefs)))

    def run(self, wishes: RunOptions | None = None, store: Store | None = None) -> Summary:
        """Run sync once; `asked` holds the questions of this run alone."""
        self.asked.clear()
        settings = MapSection(path=str(self.map), exports=self.exports)
        configuration = Configuration(map=settings, sync=self.settings)
        own = None if store else self.open()
        used = store or own
        assert used
        try:
            lists = [("list", "\n".join(self.lists).encode())]
            run = SyncRun(configuration, used, self.questions, self.prover, lambda: self.now)
            return asyncio.run(run.synchronize(Inputs(self.base(), lists), wishes or RunOptions()))
        finally:
            if own:
                own.close()

    def pass_time(self, seconds: float) -> None:
        self.now += seconds

    @property
    def entries(self) -> dict[str, tuple[Endpoint, ...]]:
        with MapReader(self.map) as reader:
            return dict(reader.entries())

    def record(self, domain: str) -> DomainRecord:
        store = self.open()
        try:
            return store.get([domain])[domain]
        finally:
            store.close()

    def events(self, domain: str) -> list[str]:
        store = self.open()
        try:
            return [line.event for line in store.history(domain)]
        finally:
            store.close()
