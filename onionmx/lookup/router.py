"""Routes of domains: what an operator wrote, what sync found, what DNS says."""

from collections.abc import Iterable
from pathlib import Path

from onionmx.answer import Answer, NoRoute
from onionmx.config import Configuration
from onionmx.dns.srv import SrvResolver
from onionmx.lookup.cache import CacheEntry
from onionmx.lookup.cache_file import read_cache, write_cache
from onionmx.lookup.files import RouteFiles
from onionmx.lookup.live import CacheStats, LiveRoutes
from onionmx.tor.resolver import srv_resolver


class Router:
    """Finds routes: own domains, pins, onions themselves, the map, then DNS with its cache.

    Args:
        files: own domains, pins and map.
        live: asks DNS for what they do not have; `None` where the map is the last word.
        resolver: what it asks, to be closed with the router.
    """

    def __init__(self, files: RouteFiles, live: LiveRoutes | None, resolver: SrvResolver | None = None) -> None:
        self._files = files
        self._live = live
        self._resolver = resolver

    @classmethod
    def from_configuration(cls, configuration: Configuration) -> "Router":
        """The router that the configuration describes.

        Raises:
            ConfigurationError: there is no resolver, or no way to ask it.
        """
        files = RouteFiles.from_configuration(configuration)
        if not configuration.lookup.live:
            return cls(files, None)
        resolver = srv_resolver(configuration.dns, configuration.tor)
        return cls(files, LiveRoutes(resolver.ask, configuration.lookup), resolver)

    def known(self, domain: str) -> Answer | None:
        """The answer for a domain where it needs no question, else `None`. Must be called in the event loop.

        Files are looked at every half second only: this is the fast way, for thousands of lookups a second.

        Args:
            domain: in normal form.
        """
        answer = self._files.get(domain)
        if answer is not None:
            return answer
        if self._live is None:
            return NoRoute(domain, "no entry in the map")
        return self._live.known(domain)

    async def route(self, domain: str) -> Answer:
        """Find the route of a domain; files are looked at each time.

        Whoever is cancelled here does not end a question that others wait for.

        Args:
            domain: in normal form.
        """
        self._files.look()
        answer = self._files.get(domain)
        if answer is not None:
            return answer
        if self._live is None:
            return NoRoute(domain, "no entry in the map")
        return await self._live.route(domain)

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
        if self._live:
            self._live.restore(entries)
        return len(entries)

    def inherit(self, other: "Router") -> None:
        """Take over what the cache of another router holds, as when the configuration is read again."""
        if self._live:
            self._live.restore(other.entries())

    async def close(self) -> None:
        """End all questions and close the map; whoever waits for an answer is told that nobody could tell."""
        if self._live:
            await self._live.close()
        if self._resolver:
            self._resolver.close()
        self._files.close()
