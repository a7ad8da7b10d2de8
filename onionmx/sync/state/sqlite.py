"""The embedded store: one file, for the sync of one host."""

import math
import os
import sqlite3
import stat
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import AbstractContextManager, ExitStack, contextmanager, suppress
from pathlib import Path

from onionmx.batches import batched
from onionmx.errors import MapError, StateError
from onionmx.mapfile.write import writer_lock
from onionmx.onion import Endpoint
from onionmx.sync.state.encoding import (
    HISTORY_LENGTH,
    LONGEST_WAIT,
    UnreadableError,
    decode_events,
    decode_pin,
    decode_record,
    encode_event,
    encode_pin,
    encode_record,
    is_routed,
    is_waiting,
)
from onionmx.sync.state.record import DomainRecord, HistoryLine, LastAnswer
from onionmx.sync.state.schema import prepare, set_journal
from onionmx.sync.state.store import Change, Counts, Store

_MODE = 0o600  # it tells to whom this host writes
_OTHERS = stat.S_IRWXG | stat.S_IRWXO
_BUSY_TIMEOUT = 60.0  # seconds; the longest transaction is that of a list of a million new domains
_CACHE = 32 * 1024  # KiB
_PAGE = 5000  # rows that are read at once; between two reads nothing is locked
_BATCH = 20_000  # records that are sorted at once
_PARAMETERS = 500  # below SQLite's limit for one statement in any build
_AFTER_ALL_NAMES = "\x7f"  # domains are ASCII

_SAVE = """INSERT INTO domain VALUES (?, ?, ?, ?, ?, ?, ?, ?) ON CONFLICT (name) DO UPDATE SET
first_seen = excluded.first_seen, listed = excluded.listed, due_at = excluded.due_at, answer = excluded.answer,
routed = excluded.routed, waits = excluded.waits, detail = excluded.detail"""
_RECORD = "SELECT name, first_seen, listed, due_at, detail FROM domain"
_ROUTED = f"{_RECORD} WHERE routed AND name > ? ORDER BY name LIMIT ?"
_DUE = """SELECT due_at, name FROM domain WHERE listed AND (due_at, name) > (?, ?) AND due_at <= ?
ORDER BY due_at, name LIMIT ?"""
_LISTED = "SELECT name FROM domain WHERE listed AND name > ? ORDER BY name LIMIT ?"
_COUNTS = """SELECT count(*), coalesce(sum(answer = 1), 0), coalesce(sum(answer = 2), 0), coalesce(sum(answer = 3), 0)
FROM domain WHERE listed"""
_ANSWERS = {LastAnswer.NEVER: 0, LastAnswer.FOUND: 1, LastAnswer.NONE: 2, LastAnswer.UNKNOWN: 3}
_NEW = """INSERT INTO domain SELECT name, ?, 1, 0, 0, 0, 0, x'' FROM temp.listing
WHERE NOT EXISTS (SELECT 1 FROM domain WHERE domain.name = listing.name)"""
# The plus keeps SQLite from the index, so that both trees are walked in the same order.
_GONE = """UPDATE domain SET listed = 0 WHERE +listed
AND NOT EXISTS (SELECT 1 FROM temp.listing WHERE listing.name = domain.name)"""
_BACK = """UPDATE domain SET listed = 1 WHERE NOT listed
AND EXISTS (SELECT 1 FROM temp.listing WHERE listing.name = domain.name)"""
_TRIM = """DELETE FROM history WHERE name = ?1
AND id <= (SELECT id FROM history WHERE name = ?1 ORDER BY id DESC LIMIT 1 OFFSET ?2)"""
_FORGET = "DELETE FROM domain WHERE NOT listed AND NOT routed AND due_at < ?"
_FORGET_HISTORY = """DELETE FROM history
WHERE name IN (SELECT name FROM domain WHERE NOT listed AND NOT routed AND due_at < ?)"""

_Row = tuple[str, float, int, float, bytes]


class SqliteStore(Store):
    """State in an SQLite file; see `Store`. To be used by one thread at a time.

    Args:
        path: the file; it and its folder are made. Nobody but the owner may read it.
        longest_wait: seconds; see `LONGEST_WAIT`.

    Raises:
        StateError: it cannot be opened, is damaged, or belongs to a newer version.
    """

    _journal = "TRUNCATE"
    _synchronous = "FULL"

    def __init__(self, path: Path, *, longest_wait: float = LONGEST_WAIT) -> None:
        self._path = path
        self._longest_wait = longest_wait
        self._history_length = HISTORY_LENGTH
        with self._translated():
            make_file(path)
            self._connection = sqlite3.connect(
                path, timeout=_BUSY_TIMEOUT, isolation_level=None, check_same_thread=False
            )
        try:
            with self._translated():
                self._set_up()
        except BaseException:
            self._connection.close()
            raise

    def _set_up(self) -> None:
        # A rollback journal, not a WAL: on a full disk it can still be read and rolled back, where a WAL needs room
        # for its index before the first read and for a checkpoint before it gives any back. Truncated, because FULL
        # makes that durable, while the removal of a journal would also need its folder to be written.
        set_journal(self._connection, self._journal, _BUSY_TIMEOUT)
        self._connection.execute(f"PRAGMA synchronous = {self._synchronous}")
        self._connection.execute(f"PRAGMA cache_size = -{_CACHE}")
        # Not in /var/tmp, which may be full, and where the names of a whole list have no business.
        self._connection.execute("PRAGMA temp_store = MEMORY")
        # A damaged schema is an error, not a program.
        self._connection.execute("PRAGMA trusted_schema = OFF")
        prepare(self._connection)

    @contextmanager
    def run_lock(self) -> Iterator[None]:
        # The kernel gives it back when the process ends.
        with ExitStack() as held:
            try:
                held.enter_context(writer_lock(self._path))
            except MapError as error:
                raise StateError(f"state {self._path}: the lock cannot be made: {error.__cause__}") from error
            yield

    def counts(self) -> Counts:
        with self._translated():
            listed, found, none, unknown = self._connection.execute(_COUNTS).fetchone()
            pending = self._one("SELECT count(*) FROM domain WHERE routed AND listed AND waits")
        return Counts(listed, found, none, unknown, pending)

    def set_listed(self, domains: Iterable[str], now: float) -> int:
        # Only rows that change are written.
        with self._transaction() as connection:
            self._fill_listing(domains)
            new = connection.execute(_NEW, (now,)).rowcount
            connection.execute(_GONE)
            connection.execute(_BACK)
            connection.execute("DROP TABLE temp.listing")
        return new

    def _fill_listing(self, domains: Iterable[str]) -> None:
        # Sorted by SQLite's sorter: a tree that is filled in the order of a list takes five times as long.
        connection = self._connection
        connection.execute("CREATE TEMP TABLE unsorted (name TEXT NOT NULL)")
        for names in batched(domains, _PARAMETERS):
            marks = ", ".join(["(?)"] * len(names))
            connection.execute(f"INSERT INTO temp.unsorted VALUES {marks}", names)  # noqa: S608 -- marks only
        connection.execute("CREATE TEMP TABLE listing (name TEXT PRIMARY KEY) WITHOUT ROWID")
        connection.execute("INSERT INTO temp.listing SELECT DISTINCT name FROM temp.unsorted ORDER BY name")
        connection.execute("DROP TABLE temp.unsorted")

    def due(self, now: float, *, all_listed: bool = False) -> Iterator[str]:
        if all_listed:
            # Not by the time: one that is saved meanwhile is due later, and would come again.
            yield from self._all_listed()
            return
        yield from self._due_between((-math.inf, ""), now)
        yield from self._due_between((now + self._longest_wait, _AFTER_ALL_NAMES), math.inf)

    def _all_listed(self) -> Iterator[str]:
        after = ""
        while True:
            with self._translated():
                names = [name for (name,) in self._connection.execute(_LISTED, (after, _PAGE))]
                if not all(isinstance(name, str) for name in names):
                    raise UnreadableError("a name is no text")
            if not names:
                return
            after = names[-1]
            yield from names

    def _due_between(self, after: tuple[float, str], last: float) -> Iterator[str]:
        while True:
            with self._translated():
                rows = self._connection.execute(_DUE, (*after, last, _PAGE)).fetchall()
                if not all(isinstance(name, str) for _, name in rows):
                    raise UnreadableError("a name is no text")
            if not rows:
                return
            after = rows[-1]
            for _, name in rows:
                yield name

    def get(self, domains: Iterable[str]) -> dict[str, DomainRecord]:
        found: dict[str, DomainRecord] = {}
        with self._translated():
            for names in batched(domains, _PARAMETERS):
                marks = ", ".join("?" * len(names))
                rows = self._connection.execute(f"{_RECORD} WHERE name IN ({marks})", names)
                found |= {row[0]: _record(row) for row in rows}
        return found

    def routed(self) -> Iterator[DomainRecord]:
        after = ""
        while True:
            with self._translated():
                rows = self._connection.execute(_ROUTED, (after, _PAGE)).fetchall()
                records = list(map(_record, rows))
            if not records:
                return
            after = records[-1].domain
            yield from records

    def save(self, records: Iterable[DomainRecord], history: Iterable[HistoryLine] = ()) -> None:
        with self._transaction() as connection:
            self._save(connection, records, history)

    def revise(self, domains: Iterable[str], change: Change) -> None:
        with self._transaction() as connection:
            self._save(connection, *change(self.get(domains)))

    def _save(
        self, connection: sqlite3.Connection, records: Iterable[DomainRecord], history: Iterable[HistoryLine]
    ) -> None:
        # In the order of the tree: a page that several of them share is changed once.
        for some in batched(records, _BATCH):
            connection.executemany(_SAVE, map(_row, sorted(some, key=_name)))
        lines = list(history)
        connection.executemany(
            "INSERT INTO history (name, event) VALUES (?, ?)", ((line.domain, encode_event(line)) for line in lines)
        )
        connection.executemany(_TRIM, ((name, self._history_length) for name in {line.domain for line in lines}))

    def history(self, domain: str) -> list[HistoryLine]:
        with self._translated():
            rows = self._connection.execute("SELECT event FROM history WHERE name = ? ORDER BY id", (domain,))
            return decode_events(domain, (event for (event,) in rows))

    def forget(self, due_before: float) -> int:
        with self._transaction() as connection:
            connection.execute(_FORGET_HISTORY, (due_before,))
            return connection.execute(_FORGET, (due_before,)).rowcount

    def pins(self) -> dict[str, tuple[Endpoint, ...]]:
        with self._translated():
            rows = self._connection.execute("SELECT name, endpoints FROM pin ORDER BY name")
            return {name: decode_pin(name, text) for name, text in rows}

    def set_pins(self, pins: Mapping[str, Sequence[Endpoint]]) -> None:
        with self._transaction() as connection:
            connection.execute("DELETE FROM pin")
            connection.executemany(
                "INSERT INTO pin VALUES (?, ?)", ((name, encode_pin(endpoints)) for name, endpoints in pins.items())
            )

    def notes(self) -> dict[str, str]:
        with self._translated():
            return dict(self._connection.execute("SELECT key, text FROM note").fetchall())

    def note(self, **texts: str) -> None:
        with self._transaction() as connection:
            connection.executemany("INSERT OR REPLACE INTO note VALUES (?, ?)", texts.items())

    def close(self) -> None:
        self._connection.close()

    def _one(self, query: str) -> int:
        row = self._connection.execute(query).fetchone()
        if row is None or not isinstance(row[0], int):
            raise UnreadableError("a number that is always there is missing")
        return row[0]

    @contextmanager
    def _transaction(self) -> Iterator[sqlite3.Connection]:
        with self._translated():
            self._connection.execute("BEGIN IMMEDIATE")
            try:
                yield self._connection
                self._connection.execute("COMMIT")
            except BaseException:
                # After some errors SQLite has rolled back by itself; what cannot be now is when it is opened next.
                with suppress(sqlite3.Error):
                    if self._connection.in_transaction:
                        self._connection.execute("ROLLBACK")
                raise

    def _translated(self) -> AbstractContextManager[None]:
        return translated(self._path)


def make_file(path: Path) -> None:
    """Make a file that nobody but its owner may read, and its folder, where they are not there yet."""
    path.parent.mkdir(parents=True, exist_ok=True)
    # By SQLite itself it would be made with the mode that the umask leaves.
    with suppress(FileExistsError):
        os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, _MODE))
    if path.stat().st_mode & _OTHERS:
        path.chmod(_MODE)


@contextmanager
def translated(path: Path) -> Iterator[None]:
    """Say what to do where SQLite, or the file below it, fails."""
    try:
        yield
    except StateError as error:
        raise StateError(f"state {path}: {error}") from error
    except sqlite3.Error as error:
        raise StateError(f"state {path}: {_described(error, path)}") from error
    except (UnreadableError, UnicodeDecodeError) as error:  # the latter: a message of SQLite that quotes the damage
        raise StateError(f"state {path}: {_damaged(error, path)}") from error
    except OSError as error:
        raise StateError(f"state {path} cannot be opened: {error.filename}: {error.strerror}") from error


def _described(error: sqlite3.Error, path: Path) -> str:
    match getattr(error, "sqlite_errorcode", 0) & 0xFF:  # the rest of an extended code is detail
        case sqlite3.SQLITE_FULL:
            return (
                "no space left: nothing of the last step was written, all before it is there; make room and run again"
            )
        case sqlite3.SQLITE_BUSY | sqlite3.SQLITE_LOCKED:
            return f"another process has been writing it for {_BUSY_TIMEOUT:g} s; run again later"
        case sqlite3.SQLITE_READONLY | sqlite3.SQLITE_CANTOPEN | sqlite3.SQLITE_PERM:
            return f"{error}: it must belong to the user that runs sync, and so must its folder"
        case sqlite3.SQLITE_IOERR:
            return f"{error}: look at the disk and at its quotas; nothing of the last step was written"
        case sqlite3.SQLITE_CORRUPT | sqlite3.SQLITE_NOTADB:
            return _damaged(error, path)
    return f"{error}; if that happens again, {_damaged('it may be damaged', path)}"


def _damaged(what: object, path: Path) -> str:
    return f"{what}: move it away, as by `mv {path} {path}.damaged`; the next sync starts anew, and the map stays"


def _row(record: DomainRecord) -> tuple[str, float, bool, float, int, bool, bool, bytes]:
    return (
        record.domain,
        record.first_seen,
        record.listed,
        record.due_at,
        _ANSWERS[record.answer],
        is_routed(record),
        is_waiting(record),
        encode_record(record),
    )


def _record(row: _Row) -> DomainRecord:
    name, first_seen, listed, due_at, detail = row
    return decode_record(name, detail, first_seen=first_seen, listed=bool(listed), due_at=due_at)


def _name(record: DomainRecord) -> str:
    return record.domain
