"""To which domains this host writes, and how often: counted in its logs, and remembered when those are gone.

Nothing else of a log is kept: no address, no time of a message, no line. Of each log the position up to which it was
read is remembered, so that a run reads only what is new, and what was rotated or compressed meanwhile counts once.
"""

import os
import sqlite3
import sys
from collections import Counter
from collections.abc import Iterable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, replace
from io import BufferedIOBase
from pathlib import Path

from onionmx.batches import batched
from onionmx.clock import Timestamp, day_of
from onionmx.defaults import DAY
from onionmx.domain import Domain
from onionmx.errors import ConfigurationError, MissingMapError
from onionmx.files import NotRegularError, is_missing
from onionmx.mapfile.cdb import COULD_NOT_TELL, MapReader
from onionmx.sync.lists.exim import exim_recipient, is_unread_by_exim
from onionmx.sync.lists.log_file import (
    MOST_READ,
    READ_ERRORS,
    Budget,
    head_of,
    identity_of,
    opened_log,
    read_from,
    whole_lines,
)
from onionmx.sync.lists.outgoing import Outgoing
from onionmx.sync.lists.postfix import is_unread_by_postfix, postfix_recipient
from onionmx.sync.lists.recipient import LoggedRecipient
from onionmx.sync.state.schema import prepare
from onionmx.sync.state.sqlite import make_file, translated

FILE_NAME = "recipients.sqlite"
_IN_MEMORY = Path(":memory:")
_BUSY_TIMEOUT = 60.0  # seconds
_SHORTEST = 20  # bytes of a line that can be about a delivery
_MOST_COUNTED = 50_000  # domains in memory at once
_PARAMETERS = 500  # below SQLite's limit for one statement in any build
_FORGET_LOG = 400 * DAY  # seconds; no log is kept that long after the last line

_STEPS = (
    (
        "CREATE TABLE about (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
        "INSERT INTO about VALUES ('onionmx', '')",
        "CREATE TABLE recipient (name TEXT PRIMARY KEY, count INTEGER NOT NULL, last REAL NOT NULL) WITHOUT ROWID",
        """CREATE TABLE log (head BLOB PRIMARY KEY, position INTEGER NOT NULL, identity TEXT NOT NULL,
        last REAL NOT NULL) WITHOUT ROWID""",
    ),
    ("CREATE TABLE day (name TEXT PRIMARY KEY, count INTEGER NOT NULL) WITHOUT ROWID",),
)
_DAYS = 31  # for which recipients are counted by day
_FORMS = "expected those of Exim or Postfix, by themselves or through syslog"
_ADD_DAY = """INSERT INTO day VALUES (?, ?) ON CONFLICT (name) DO UPDATE SET count = count + excluded.count"""
_ADD = """INSERT INTO recipient VALUES (?, ?, ?) ON CONFLICT (name) DO UPDATE SET
count = count + excluded.count, last = max(last, excluded.last)"""


@dataclass(frozen=True, slots=True)
class _Pass:
    """What came of reading a log.

    Attributes:
        position: where the next run goes on.
        damage: why it could not be read to its end; empty where it could.
        unread: lines that look like deliveries and are in a form that is not known.
        is_unfinished: there is more than may be read at once.
    """

    position: int
    damage: str = ""
    unread: int = 0
    is_unfinished: bool = False

    def problems(self, name: str) -> str:
        """In words; empty for none."""
        unread = f"{name}: lines that look like deliveries and could not be read: {self.unread}; {_FORMS}"
        damage = f"{name} cannot be read to its end: {self.damage}"
        rest = f"{name} is larger than what is read at once: the next run goes on at byte {self.position}"
        told = {unread: self.unread, damage: self.damage, rest: self.is_unfinished}
        return "; ".join(words for words, is_so in told.items() if is_so)


@dataclass(frozen=True, slots=True)
class Count:
    """How often mail went to a domain.

    Attributes:
        recipients: of all messages.
    """

    domain: Domain
    recipients: int


class Recipients:
    """Domains and counts, in one transaction until `keep` is called; see `opened_recipients`.

    Args:
        path: of it, for messages.
        local: domains of this host, which do not count.
    """

    def __init__(self, connection: sqlite3.Connection, path: Path, local: frozenset[str], now: Timestamp) -> None:
        self._connection = connection
        self._path = path
        self._local = local
        self._now = now
        # The first time, logs of weeks are read: that mail is not of today.
        self._counts_days = bool(connection.execute("SELECT EXISTS (SELECT 1 FROM log)").fetchone()[0])

    def read_log(self, path: Path, budget: Budget | None = None) -> str:
        """Count what is new in a log.

        Args:
            budget: how much of it may be read; is used up.

        Returns:
            What could not be read: lines that look like deliveries, the rest of one that is damaged. Said once, until
            the file changes; empty where all is well.

        Raises:
            ConfigurationError: it cannot be opened; what was counted before stays.
            StateError: it cannot be counted.
        """
        try:
            identity = identity_of(path)
            if self._is_read(identity):
                return ""
            with opened_log(path) as log:
                return self._read_on(log, path, identity, budget or Budget(MOST_READ))
        except FileNotFoundError:
            return ""  # rotated away since its name was found: under its new name the next run finds it
        except NotRegularError as error:
            self._remember(os.fsencode(path), 0, identity)
            return f"log {path} is left out: {error.strerror}"
        except OSError as error:
            raise ConfigurationError(f"log {path} cannot be read: {error.strerror or error}") from error

    def read_stream(self, log: BufferedIOBase, name: str) -> str:
        """Count a log that is not to be remembered, such as standard input; the same as `read_log` otherwise."""
        budget = Budget(sys.maxsize)  # the one who pipes it in can end it
        return self._count(whole_lines(log, 0, budget), 0).problems(name)

    def add(self, domains: Iterable[str]) -> None:
        """Add domains of other sources, to which no mail was seen."""
        self._add(Counter(dict.fromkeys(domains, 0)))

    def keep(self, forget_after: float) -> None:
        """Make it durable, without the domains to which no mail went for so long.

        Args:
            forget_after: seconds.
        """
        with translated(self._path):
            self._connection.execute("DELETE FROM recipient WHERE last < ?", (self._now - forget_after,))
            self._connection.execute("DELETE FROM log WHERE last < ?", (self._now - _FORGET_LOG,))
            self._connection.execute("DELETE FROM day WHERE name <= ?", (day_of(self._now - _DAYS * DAY),))
            self._connection.execute("COMMIT")

    def counts(self, top: int = 0) -> Iterator[Count]:
        """The domains, those with the most recipients first.

        Args:
            top: only so many of them; 0 for all.
        """
        with translated(self._path):
            rows = self._connection.execute(
                "SELECT name, count FROM recipient ORDER BY count DESC, name LIMIT ?", (top or -1,)
            )
            yield from (Count(*row) for row in rows)

    def by_day(self) -> dict[str, int]:
        """Remote recipients by the day on which they were read, in the time zone of this host."""
        with translated(self._path):
            return dict(self._connection.execute("SELECT name, count FROM day ORDER BY name"))

    def outgoing(self, map_path: Path) -> Outgoing:
        """How much of the mail has an onion to go to.

        Args:
            map_path: the map; may be missing.

        Raises:
            MapError: it cannot be read.
        """
        with translated(self._path):
            (total,) = self._connection.execute("SELECT coalesce(sum(count), 0) FROM recipient").fetchone()
            try:
                with MapReader(map_path) as reader:
                    deferring = COULD_NOT_TELL.encode()
                    keys = (key.decode("ascii", "replace") for key, to in reader.records() if to != deferring)
                    return Outgoing(total, sum(map(self._sum, batched(keys, _PARAMETERS))))
            except MissingMapError:
                return Outgoing(total, 0)

    def _sum(self, domains: list[str]) -> int:
        marks = ",".join("?" * len(domains))
        query = f"SELECT coalesce(sum(count), 0) FROM recipient WHERE name IN ({marks})"  # noqa: S608 -- marks only
        return int(self._connection.execute(query, domains).fetchone()[0])

    def _is_read(self, identity: str) -> bool:
        with translated(self._path):
            found = self._connection.execute("UPDATE log SET last = ? WHERE identity = ?", (self._now, identity))
            return found.rowcount > 0

    def _remember(self, head: bytes, position: int, identity: str) -> None:
        with translated(self._path):
            self._connection.execute(
                "INSERT OR REPLACE INTO log VALUES (?, ?, ?, ?)", (head, position, identity, self._now)
            )

    def _read_on(self, log: BufferedIOBase, path: Path, identity: str, budget: Budget) -> str:
        try:
            head = head_of(log)
        except READ_ERRORS as error:
            return f"log {path} cannot be read: {error}"
        if head is None:
            return ""
        with translated(self._path):
            row = self._connection.execute("SELECT position FROM log WHERE head = ?", (head,)).fetchone()
        start = row[0] if row else 0
        done = self._count(read_from(log, start, budget), start)
        if budget.left <= 0:
            done = replace(done, is_unfinished=True)
            identity = ""  # there is something new in it, whether it changes or not
        self._remember(head, done.position, identity)
        return done.problems(f"log {path}")

    def _count(self, lines: Iterator[tuple[bytes, int]], position: int) -> _Pass:
        counted: Counter[str] = Counter()
        damage = ""
        unread = 0
        try:
            for line, end in lines:
                position = end
                if len(line) < _SHORTEST:
                    continue
                if recipient := recipient_of(line):
                    counted[recipient.domain] += recipient.is_final
                    if len(counted) >= _MOST_COUNTED:
                        self._add(counted)
                elif is_unread(line):
                    unread += 1
        except READ_ERRORS as error:
            damage = str(error)
        self._add(counted)
        return _Pass(position, damage, unread)

    def _add(self, counted: Counter[str]) -> None:
        rows = [(domain, number, self._now) for domain, number in counted.items() if domain not in self._local]
        total = sum(number for _, number, _ in rows)
        with translated(self._path):
            self._connection.executemany(_ADD, rows)
            if total and self._counts_days:
                self._connection.execute(_ADD_DAY, (day_of(self._now), total))
        counted.clear()


def recipient_of(line: bytes) -> LoggedRecipient | None:
    """The remote recipient that a line of either MTA's log is about."""
    return exim_recipient(line) or postfix_recipient(line)


def is_unread(line: bytes) -> bool:
    """Whether a line looks like a delivery of either MTA, in a form that cannot be read."""
    return is_unread_by_exim(line) or is_unread_by_postfix(line)


@contextmanager
def opened_recipients(
    path: Path | None, local: Iterable[str], now: Timestamp, *, to_write: bool = True
) -> Iterator[Recipients]:
    """Open the counts. Nothing of what is done with them is there afterwards unless it was kept.

    Args:
        path: the file; `None` for counts that nobody remembers.
        local: domains of this host, which do not count, and are not remembered any more.
        to_write: else a copy in memory of what is in the file, if there is one.

    Raises:
        StateError: it cannot be opened, is damaged, or belongs to a newer version.
    """
    local = frozenset(local)
    place = path or _IN_MEMORY
    with translated(place):
        if path and to_write:
            make_file(path)
        with closing(_connected(path if to_write else None)) as connection:
            if path and not to_write and not is_missing(path):
                with closing(_connected(path)) as kept:
                    kept.backup(connection)
            connection.execute("PRAGMA trusted_schema = OFF")
            connection.execute("PRAGMA temp_store = MEMORY")
            prepare(connection, _STEPS)
            connection.execute("BEGIN IMMEDIATE")
            connection.executemany("DELETE FROM recipient WHERE name = ?", ((domain,) for domain in local))
            yield Recipients(connection, place, local, now)


def _connected(path: Path | None) -> sqlite3.Connection:
    return sqlite3.connect(path or _IN_MEMORY, timeout=_BUSY_TIMEOUT, isolation_level=None)
