"""Routes of domains: what an operator wrote, what sync found, what DNS says."""

from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.answer import Answer, CouldNotTell, NoRoute
from onionmx.authenticate.demand.remember import RememberedInquiry
from onionmx.authenticate.proof.guard import Guard
from onionmx.config import Configuration
from onionmx.dns.srv import SrvResolver
from onionmx.routing.cache import CacheEntry
from onionmx.routing.cache_file import read_cache, write_cache
from onionmx.routing.files import RouteFiles
from onionmx.routing.judged import JudgedRoutes
from onionmx.routing.live import CacheStats, LiveRoutes
from onionmx.routing.standing import Hits, Outlook, Standing
from onionmx.tor.resolver import srv_resolver

if TYPE_CHECKING:
    import asyncio

_NO_ENTRY = "no entry in the map"


class Router:
    """Finds routes: own domains, pins, onions themselves, the map, then DNS with its cache.

    Args:
        files: own domains, pins and map.
        live: asks DNS for what they do not have; `None` where the map is the last word.
        resolver: what it asks, to be closed with the router.
        guard: what it asks for proofs, likewise.
        judged: decides which answers count, likewise.
    """

    def __init__(
        self,
        files: RouteFiles,
        live: LiveRoutes | None,
        resolver: SrvResolver | None = None,
        guard: Guard | None = None,
        judged: JudgedRoutes | None = None,
    ) -> None:
        self._files = files
        self._live = live
        self._resolver = resolver
        self._guard = guard
        self._judged = judged
        self._hits = Hits()

    @classmethod
    def from_configuration(cls, configuration: Configuration, *, to_write: bool = True) -> "Router":
        """The router that the configuration describes.

        Args:
            configuration: settings.
            to_write: else what DNS says now is not remembered.

        Raises:
            ConfigurationError: there is no resolver, or no way to ask it, or the file of `sync.trust_of` has mistakes.
        """
        files = RouteFiles.from_configuration(configuration)
        if not configuration.lookup.live:
            return cls(files, None)
        resolver = srv_resolver(configuration.dns, configuration.tor)
        guard = Guard.from_configuration(configuration)
        judged = JudgedRoutes.from_configuration(configuration, resolver.ask, guard, to_write=to_write)
        return cls(files, LiveRoutes(judged.ask, configuration.lookup), resolver, guard, judged)

    @property
    def inquiry(self) -> RememberedInquiry | None:
        """Finds out what domains demand; `None` where routes are not asked in DNS, or nothing has to be proven."""
        return self._guard.inquiry if self._guard else None

    @property
    def outlook(self) -> Outlook:
        """Until when answers of `known` that stand may be given again."""
        return self._files.outlook

    def known(self, domain: str) -> Standing | None:
        """The answer for a domain where it needs no question, else `None`. Must be called in the event loop.

        Files are looked at every half second only, and a TTL is what it was at the start: this is the fast way, for
        thousands of lookups a second.

        Args:
            domain: in normal form.
        """
        answer = self._files.get(domain)
        if answer is None:
            if self._live is not None:
                return self._live.known(domain)
            answer = NoRoute(domain, _NO_ENTRY)
        # What files cannot tell is to be read again each time.
        return Standing(answer, self._hits, until=-inf if isinstance(answer, CouldNotTell) else inf)

    async def route(self, domain: str) -> Answer:
        """Find the route of a domain for people; files are looked at each time, and the TTL is what is left of it.

        Whoever is cancelled here does not end a question that others wait for.

        Args:
            domain: in normal form.
        """
        self._files.look()
        answer = await self.ask(domain)
        return self._live.with_time_left(answer) if self._live else answer

    async def ask(self, domain: str) -> Answer:
        """Find the route of a domain; as with `known`, files are looked at every half second only.

        Args:
            domain: in normal form.
        """
        answer = self._files.get(domain)
        if answer is not None:
            return answer
        return await self._live.route(domain) if self._live else NoRoute(domain, _NO_ENTRY)

    def question(self, domain: str) -> "asyncio.Future[Answer] | None":
        """The question to DNS for a domain of which `known` has just said nothing; see `LiveRoutes.question`.

        Args:
            domain: in normal form.
        """
        return self._live.question(domain) if self._live else None

    def check(self) -> None:
        """Look at the files now.

        Raises:
            ConfigurationError: own domains or pins have mistakes.
            MapError: the map is missing, unreadable or damaged.
        """
        self._files.check()

    def entries(self) -> Iterable[CacheEntry]:
        """What the cache holds and may still use, the domain asked for longest ago first."""
        return self._live.entries() if self._live else ()

    def purge(self, domain: str) -> bool:
        """Make the cache forget a domain; whether there was anything to forget."""
        return self._live is not None and self._live.purge(domain)

    def stats(self) -> CacheStats:
        """Counters of the cache as they are now."""
        return self._live.stats() if self._live else CacheStats()

    def save(self, path: Path) -> None:
        """Write the cache into a file, which is replaced whole.

        Raises:
            CacheError: it could not be written; the old one stays.
        """
        write_cache(path, self.entries())

    def load(self, path: Path) -> int:
        """Take over the cache of an earlier run; a file that cannot be used is a warning in the log and no more.

        Returns:
            Number of entries read.
        """
        entries = read_cache(path)
        self._restore(entries)
        return len(entries)

    def keep_policies(self, path: Path) -> None:
        """Take over the MTA-STS policies that an earlier run knew, and keep those of this one; for daemons."""
        if self.inquiry:
            self.inquiry.keep_in(path)

    def retract(self) -> None:
        """Let no answer stand that was given so far, as another router answers from now on."""
        self._files.retract()

    def inherit(self, other: "Router") -> None:
        """Take over what the cache of another router holds, as when the configuration is read again."""
        self._restore(other.entries())
        if self.inquiry and other.inquiry:
            self.inquiry.inherit(other.inquiry)

    async def close(self) -> None:
        """End all questions and close the map; whoever waits for an answer is told that nobody could tell."""
        if self._live:
            await self._live.close()
        if self._judged:
            await self._judged.close()
        if self._guard:
            await self._guard.close()
        if self._resolver:
            self._resolver.close()
        self._files.close()

    def _restore(self, entries: Iterable[CacheEntry]) -> None:
        if self._live:
            judged = self._judged
            self._live.restore(entry for entry in entries if judged is None or judged.is_believed(entry.answer))
