"""Routes of domains: what an operator wrote, what sync found, what DNS says."""

from collections.abc import Iterable
from math import inf
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.answer import Answer, CouldNotTell, NoRoute
from onionmx.domain import Domain
from onionmx.routing.cache import CacheEntry
from onionmx.routing.cache_file import read_cache, write_cache
from onionmx.routing.files import RouteFiles
from onionmx.routing.judged import JudgedRoutes
from onionmx.routing.listing import Listing
from onionmx.routing.live import CacheStats, LiveRoutes
from onionmx.routing.standing import CachedAnswer, HitCount, Validity

if TYPE_CHECKING:
    import asyncio

_NO_ENTRY = "no entry in the map"


class Router:
    """Finds routes: local domains, pins, onions themselves, the map, then DNS with its cache.

    Args:
        files: local domains, pins and map.
        live: asks DNS for what they do not have; `None` where the map is the last word.
        judged: decides which answers count; closed with this.
    """

    def __init__(self, files: RouteFiles, live: LiveRoutes | None, judged: JudgedRoutes | None = None) -> None:
        self._files = files
        self._live = live
        self._judged = judged
        self._hits = HitCount()

    @property
    def validity(self) -> Validity:
        """Until when the valid answers of `known` may be given again."""
        return self._files.validity

    def known(self, domain: Domain) -> CachedAnswer | None:
        """The answer for a domain where it needs no question, else `None`. Must be called in the event loop.

        Files are looked at every half second only, and a TTL is what it was at the start: this is the fast way, for
        thousands of lookups a second.
        """
        answer = self._files.get(domain)
        if answer is None:
            if self._live is not None:
                return self._live.known(domain)
            answer = NoRoute(domain, _NO_ENTRY)
        # What files cannot tell is to be read again each time.
        return CachedAnswer(answer, self._hits, until=-inf if isinstance(answer, CouldNotTell) else inf)

    async def route(self, domain: Domain) -> Answer:
        """Find the route of a domain for people; files are looked at each time, and the TTL is what is left of it.

        A caller that is cancelled does not end a question that others wait for.
        """
        self._files.look()
        answer = await self.ask(domain)
        return self._live.with_time_left(answer) if self._live else answer

    async def ask(self, domain: Domain) -> Answer:
        """Find the route of a domain; as with `known`, files are looked at every half second only."""
        answer = self._files.get(domain)
        if answer is not None:
            return answer
        return await self._live.route(domain) if self._live else NoRoute(domain, _NO_ENTRY)

    def question(self, domain: Domain) -> "asyncio.Future[Answer] | None":
        """The question to DNS for a domain of which `known` has just said nothing; see `LiveRoutes.question`."""
        return self._live.question(domain) if self._live else None

    def check(self) -> None:
        """Look at the files now.

        Raises:
            ConfigurationError: local domains or pins have mistakes.
            MapError: the map is missing, unreadable or damaged.
        """
        self._files.check()

    def listing(self) -> Listing:
        """All domains that local domains, pins and map send to the relay, and none that only DNS knows.

        Raises:
            ConfigurationError: local domains or pins have mistakes.
            MapError: the map is missing, unreadable or damaged.
        """
        return self._files.listing()

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

    def retract(self) -> None:
        """Make all answers given so far invalid, as another router answers from now on."""
        self._files.retract()

    def inherit(self, other: "Router") -> None:
        """Take over what the cache of another router holds, as when the configuration is read again."""
        self._restore(other.entries())

    async def close(self) -> None:
        """End all questions and close the map; anyone who waits for an answer hears "could not tell"."""
        if self._live:
            await self._live.close()
        if self._judged:
            await self._judged.close()
        self._files.close()

    def _restore(self, entries: Iterable[CacheEntry]) -> None:
        if self._live:
            judged = self._judged
            self._live.restore(entry for entry in entries if judged is None or judged.is_believed(entry.answer))
