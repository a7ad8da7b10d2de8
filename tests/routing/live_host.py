"""A host with live lookups, restarted before each question, with a DNS that a test writes and a clock that it moves."""

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.answer import Answer
from onionmx.config import Configuration, LookupSection, MapSection, SyncSection
from onionmx.routing.files import RouteFiles
from onionmx.routing.judged import JudgedRoutes
from onionmx.routing.live import LiveRoutes
from onionmx.routing.memory import Memory
from onionmx.routing.router import Router
from onionmx.sync.setup import configured_rules
from onionmx.sync.state.sqlite import SqliteStore
from tests.sync.world import START, NoDemands, none

if TYPE_CHECKING:
    from onionmx.sync.looking import Prover


class LiveHost:
    """One host.

    Attributes:
        answers: of DNS; a domain that is not in it has no onion MX.
        now: seconds since 1970.
        prover: who proves.
        trust: which records are believed.
        memory: the file.
    """

    def __init__(self, folder: Path) -> None:
        self.answers: dict[str, Answer] = {}
        self.now = START
        self.prover: Prover = NoDemands()
        self.trust = "tofu"
        self.memory = folder / "live.sqlite"
        self.beliefs = folder / "trust"
        self.beliefs.touch()
        (folder / "pins").touch()
        self._folder = folder

    @property
    def configuration(self) -> Configuration:
        return Configuration(
            map=MapSection(path=str(self._folder / "map.cdb")),
            sync=SyncSection(
                pins=str(self._folder / "pins"),
                trust=self.trust,  # type: ignore[arg-type]
                trust_of=str(self.beliefs),
            ),
            lookup=LookupSection(live=True),
        )

    async def _resolve(self, domain: str) -> Answer:
        await asyncio.sleep(0)
        return self.answers.get(domain, none(domain))

    def router(self) -> Router:
        configuration = self.configuration
        rules_of = configured_rules(configuration)
        memory = Memory.from_configuration(configuration)
        judged = JudgedRoutes(self._resolve, memory, rules_of, self.prover, lambda: self.now)
        live = LiveRoutes(judged.ask, configuration.lookup)
        return Router(RouteFiles.from_configuration(configuration), live, judged=judged)

    def ask(self, domain: str) -> Answer:
        """The answer of a router that has just been started."""

        async def ask() -> Answer:
            router = self.router()
            try:
                return await router.route(domain)
            finally:
                await router.close()

        return asyncio.run(ask())

    def store(self) -> SqliteStore:
        return SqliteStore(self.memory)
