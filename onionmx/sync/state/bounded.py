"""An embedded store that does not grow beyond a number of domains: of those that strangers can have us ask for.

What is in it protects a domain: it says which onions were there first, or that there is none. So one who has us ask for
many domains of his own must not drive out others. Room is made, in this order, by
- what was not due for long,
- the domains of one zone that has more than its share,
- signed denials of domains that never had a route.
Where that is not enough, there is no room for new domains. The operator's word stays in any case.
"""

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

from onionmx.batches import batched
from onionmx.clock import Timestamp
from onionmx.defaults import DAY
from onionmx.sync.state.encoding import LONGEST_WAIT
from onionmx.sync.state.record import DomainRecord, How
from onionmx.sync.state.sqlite import SqliteStore
from onionmx.target import Trust

UNUSED = 90 * DAY
"""Seconds since a domain was due, after which it gives way."""
SHARE = 100
"""A zone that has more than one of this many parts is too large for others to give way to it."""
BYTES = 4096
"""For each domain, in all: of the file."""
_STEP = 500  # new domains between two looks at how many there are, as other processes may write too
_PAUSE = 60.0  # seconds between two looks at a store that is full
_PAGE = 4096  # bytes of the file, SQLite's default
_FILLED = 0.9  # part of the file after which no domain is new
_PAGES_OF_ONE = 8  # that the largest record takes: its history, and the policy of the domain
_HISTORY = 10  # events of a domain
_SHORT = 3  # letters of a label as the second in `co.uk`
_PARAMETERS = 500


class BoundedStore(SqliteStore):
    """See `SqliteStore`.

    Args:
        most: domains, about.
        longest_wait: see `SqliteStore`.
    """

    # Somebody waits for each write, and a few seconds that a power failure takes are no loss of what was there before.
    _journal = "WAL"
    _synchronous = "NORMAL"

    def __init__(self, path: Path, most: int, *, longest_wait: float = LONGEST_WAIT) -> None:
        super().__init__(path, longest_wait=longest_wait)
        self._most = most
        self._pages = max(most * BYTES // _PAGE, 1)
        self._history_length = _HISTORY
        self._left = 0
        self._full_until = 0.0
        with self._translated():
            self._connection.execute(f"PRAGMA max_page_count = {self._pages}")

    def room(self, now: Timestamp) -> bool:
        """Whether there is room for one more domain, which is made if need be.

        Raises:
            StateError: the store cannot be read or written.
        """
        if self._left <= 0 and not self._full_until - _PAUSE <= now < self._full_until:
            self._left = self._free()
            for victims in (self._unused, self._crowded, self._denials):
                if self._left > 0:
                    break
                self._remove(victims(now))
                self._left = self._free()
            self._full_until = 0.0 if self._left > 0 else now + _PAUSE
        self._left -= 1
        return self._left >= 0

    def _free(self) -> int:
        with self._translated():
            pages = self._one("PRAGMA page_count") - self._one("PRAGMA freelist_count")
            domains = self._one("SELECT count(*) FROM domain")
        # The last pages are for what becomes of the domains that are there.
        left = int(self._pages * _FILLED) - pages
        return min(self._most - domains, left // _PAGES_OF_ONE, _STEP)

    def _unused(self, now: Timestamp) -> list[str]:
        return self._names("SELECT name FROM domain WHERE listed AND due_at < ?", now - UNUSED)

    def _crowded(self, _now: float) -> list[str]:
        names = self._names("SELECT name FROM domain ORDER BY due_at")
        (zone, number), *_ = Counter(map(zone_of, names)).most_common(1)
        share = max(self._most // SHARE, 1)
        return [name for name in names if zone_of(name) == zone][: max(number - share, 0)]

    def _denials(self, _now: float) -> list[str]:
        names = self._names("SELECT name FROM domain WHERE NOT routed ORDER BY due_at")
        never = [record.domain for record in self.get(names).values() if record.former is None]
        return [name for name in names if name in set(never)][: max(self._most // SHARE, 1)]

    def _names(self, query: str, *values: float) -> list[str]:
        with self._translated():
            return [name for (name,) in self._connection.execute(query, values)]

    def _remove(self, names: Iterable[str]) -> None:
        for some in batched(names, _PARAMETERS):
            gone = [name for name, record in self.get(some).items() if not is_operators(record)]
            marks = ", ".join("?" * len(gone))
            with self._transaction() as connection:
                for table in ("domain", "history"):
                    connection.execute(f"DELETE FROM {table} WHERE name IN ({marks})", gone)  # noqa: S608 -- marks only


def is_operators(record: DomainRecord) -> bool:
    """Whether the operator has decided something about a domain."""
    is_accepted = record.established is not None and record.established.trust is Trust.PINNED
    is_removed = record.removal is not None and record.removal.how is How.OPERATOR
    is_kept = record.doubt is not None and record.doubt.is_refused
    return is_accepted or is_removed or is_kept or bool(record.refused)


def zone_of(domain: str) -> str:
    """What one owner has, as far as its form tells: `example.org`, `example.co.uk`."""
    labels = domain.split(".")
    is_deep = len(labels) > 2 and len(labels[-1]) == 2 and len(labels[-2]) <= _SHORT  # noqa: PLR2004 -- of a country
    return ".".join(labels[-3 if is_deep else -2 :])
