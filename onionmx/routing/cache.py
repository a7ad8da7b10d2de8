"""Answers of DNS, for as long as they may be kept. No I/O; the caller tells the time.

- A route is kept for its TTL, "no route" for the time that the SOA allows (RFC 2308 section 5), both within bounds.
- Failures are not kept. But a route whose time is over stays usable while DNS fails (RFC 8767), and after a failure
  it is used for a while without asking again first.
- What is in use is asked again before its time is over, at a moment that chance decides, so that entries that came
  together do not all leave together.
- At the limit, the domain that was asked for longest ago gives way.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace
from heapq import heapify, heappop, heappush
from math import ceil, inf
from operator import itemgetter
from random import Random

from onionmx.answer import Answer, Found, NoRoute
from onionmx.config import LookupSection
from onionmx.domain import Domain
from onionmx.routing.standing import CachedAnswer, HitCount

HOLD = 60.0
"""Seconds after a failure for which an expired route is used at once, without waiting for DNS first."""
_RETRY = 30.0, 40.0  # seconds after a failure; RFC 8767 section 5: not more often than every 30 s
_REFRESH = 0.8, 0.95  # share of its time after which an entry in use is asked again
_SLACK = 64  # outdated lines of the schedule that are not worth a clean-up

Kept = Found | NoRoute
"""What may be kept."""


@dataclass(frozen=True, slots=True)
class CacheEntry:
    """An entry as seen from outside.

    Attributes:
        answer: what DNS said.
        remaining: seconds until its time is over; below zero where it is over.
        used: whether anybody asked for it since DNS said so.
    """

    domain: Domain
    answer: Kept
    remaining: float
    used: bool = False


@dataclass(slots=True, kw_only=True)
class _Entry(CachedAnswer):
    """It is valid while it is in use: the first use of it, and the first after a failure, plan a question."""

    answer: Kept
    expires: float
    refresh_at: float
    used: bool = False
    held_until: float = -inf
    failure: str = ""


class Cache:
    """Bounded, and blind to everything but what it is told.

    All times are seconds of one clock that never goes back.

    Args:
        settings: size and limits of time.
        random: decides when entries are asked again.
    """

    def __init__(self, settings: LookupSection, random: Random) -> None:
        self._settings = settings
        self._random = random
        self._entries: dict[str, _Entry] = {}
        # The entries, oldest question first, as they were when the last one gave way. An entry that was asked for since
        # then is passed over, so a lookup has nothing to put in order.
        self._oldest: Iterator[tuple[float, str]] = iter(())
        self._schedule: list[tuple[float, str]] = []
        self.hits = HitCount()
        self.evictions = 0

    def __len__(self) -> int:
        """Number of domains."""
        return len(self._entries)

    @property
    def next_due(self) -> float:
        """When `due` has something to say; infinity where nothing is planned."""
        return self._schedule[0][0] if self._schedule else inf

    def fresh(self, domain: str, now: float) -> CachedAnswer | None:
        """The answer for a domain while its time is not over, with the TTL that it had at the start.

        It is valid until then, or until it is replaced, forgotten, or could not be asked again.
        """
        entry = self._entries.get(domain)
        if entry is None or now >= entry.expires:
            return None
        self._use(domain, entry, now)
        entry.until = entry.expires
        entry.hits.number += 1
        return entry

    def with_time_left(self, answer: Answer, now: float) -> Answer:
        """An answer of `fresh` with the TTL that is left; any other as it is."""
        entry = self._entries.get(answer.route.domain if isinstance(answer, Found) else answer.domain)
        if entry is None or answer is not entry.answer:
            return answer
        return _with_ttl(entry.answer, max(0, ceil(entry.expires - now)))

    def stale(self, domain: str, now: float) -> Found | None:
        """The route of a domain whose time is over but that may still be used while DNS fails, marked so."""
        entry = self._entries.get(domain)
        if entry is None or not isinstance(entry.answer, Found) or not self._is_usable(entry, now):
            return None
        self._use(domain, entry, now)
        note = f"its time was over {now - entry.expires:.0f} s ago; kept because {entry.failure or 'DNS is slow'}"
        route = replace(entry.answer.route, ttl=0, stale=True)
        return Found(route, (*entry.answer.notes, note))

    def is_held(self, domain: str, now: float) -> bool:
        """Whether DNS failed for this domain a moment ago, so that a stale route need not wait for it again."""
        entry = self._entries.get(domain)
        return entry is not None and now < entry.held_until

    def store(self, answer: Kept, now: float) -> None:
        """Keep what DNS said. An answer without TTL is not from DNS and not kept."""
        ttl = answer.route.ttl if isinstance(answer, Found) else answer.ttl
        if ttl is None:
            return
        lifetime = min(max(ttl, self._settings.min_ttl), self._settings.max_ttl)
        self._insert(_domain(answer), answer, lifetime, now, refresh_after=lifetime * self._random.uniform(*_REFRESH))

    def fail(self, domain: str, reason: str, now: float) -> None:
        """DNS could not tell about a domain: keep what is there, and do not ask again at once."""
        entry = self._entries.get(domain)
        if entry is not None:
            entry.failure = reason
            entry.held_until = now + HOLD
            entry.refresh_at = now + self._random.uniform(*_RETRY)
            entry.used = False
            entry.until = -inf

    def due(self, now: float) -> str | None:
        """Take the next domain that is in use and to be asked again now; `store` or `fail` must follow."""
        while self._schedule and self._schedule[0][0] <= now:
            when, domain = heappop(self._schedule)
            entry = self._entries.get(domain)
            if entry is not None and entry.used and entry.refresh_at == when:
                entry.refresh_at = inf
                return domain
        return None

    def purge(self, domain: str) -> bool:
        """Forget a domain; whether there was anything to forget."""
        return self._drop(domain)

    def entries(self, now: float) -> Iterator[CacheEntry]:
        """What is kept and may still be used, the domain asked for longest ago first."""
        for domain, entry in sorted(self._entries.items(), key=lambda item: item[1].asked_at):
            if now < entry.expires or (isinstance(entry.answer, Found) and self._is_usable(entry, now)):
                remaining = entry.expires - now
                answer = _with_ttl(entry.answer, max(0, ceil(remaining)))
                yield CacheEntry(domain, answer, remaining, entry.used)

    def restore(self, entry: CacheEntry, now: float) -> None:
        """Take an entry over from another cache. Its time is not longer than a new answer's would be."""
        remaining = min(entry.remaining, self._settings.max_ttl)
        is_positive = isinstance(entry.answer, Found)
        if remaining > 0 or (is_positive and -remaining < self._settings.max_stale_seconds):
            refresh_after = max(0.0, remaining) * self._random.uniform(0, _REFRESH[1])
            self._insert(entry.domain, entry.answer, remaining, now, refresh_after=refresh_after)

    def _insert(self, domain: str, answer: Kept, lifetime: float, now: float, *, refresh_after: float) -> None:
        kept = _with_ttl(answer, max(0, int(lifetime)))
        self._drop(domain)
        self._entries[domain] = _Entry(
            answer=kept, hits=self.hits, asked_at=now, expires=now + lifetime, refresh_at=now + refresh_after
        )
        while len(self._entries) > self._settings.cache_size:
            self._give_way()
            self.evictions += 1

    def _give_way(self) -> None:
        """Drop the entry that was asked for longest ago."""
        for asked_at, domain in self._oldest:
            entry = self._entries.get(domain)
            if entry is not None and entry.asked_at == asked_at:
                self._drop(domain)
                return
        moments = ((entry.asked_at, domain) for domain, entry in self._entries.items())
        self._oldest = iter(sorted(moments, key=itemgetter(0)))
        self._give_way()

    def _drop(self, domain: str) -> bool:
        entry = self._entries.pop(domain, None)
        if entry is None:
            return False
        entry.until = -inf
        return True

    def _is_usable(self, entry: _Entry, now: float) -> bool:
        return 0 <= now - entry.expires < self._settings.max_stale_seconds

    def _use(self, domain: str, entry: _Entry, now: float) -> None:
        entry.asked_at = now
        if entry.used:
            return
        entry.used = True
        heappush(self._schedule, (entry.refresh_at, domain))
        if len(self._schedule) > 2 * len(self._entries) + _SLACK:
            # Lines of entries that gave way are still in it: questions for junk must not make it grow.
            self._schedule = [
                (entry.refresh_at, name)
                for name, entry in self._entries.items()
                if entry.used and entry.refresh_at != inf
            ]
            heapify(self._schedule)


def _domain(answer: Kept) -> str:
    return answer.route.domain if isinstance(answer, Found) else answer.domain


def _with_ttl(answer: Kept, ttl: int) -> Kept:
    if isinstance(answer, NoRoute):
        if answer.ttl == ttl:
            return answer
        return NoRoute(answer.domain, answer.reason, ttl, answer.notes, answer.trust)
    route = answer.route
    if route.ttl == ttl and not route.stale:
        return answer
    return Found(type(route)(route.domain, route.targets, route.source, route.trust, ttl), answer.notes)
