"""The tables of the embedded store, and how a file of an older version becomes one of this version."""

import sqlite3
import time
from collections.abc import Sequence

from onionmx import __version__
from onionmx.errors import StateError

APPLICATION_ID = 0x6F6E4D58
"""`onMX`, in the header of the file: PRAGMA application_id."""

_PRIMARY = 0xFF  # part of an extended error code (sqlite.org/rescode.html)
_PAUSE = 0.01  # seconds

Migration = Sequence[str]
"""Statements that bring a file from one version to the next."""

# WITHOUT ROWID: a record is looked for by its name, and a second tree from names to numbers would double the file.
# The index on `due_at` holds all that a run asks for, so that one with nothing to do reads little else.
_FIRST = (
    "CREATE TABLE about (key TEXT PRIMARY KEY, value NOT NULL) WITHOUT ROWID",
    "INSERT INTO about VALUES ('onionmx', ''), ('version', 0)",
    """CREATE TABLE domain (name TEXT PRIMARY KEY, first_seen REAL NOT NULL, listed INTEGER NOT NULL,
    due_at REAL NOT NULL, answer INTEGER NOT NULL, routed INTEGER NOT NULL, waits INTEGER NOT NULL,
    detail BLOB NOT NULL) WITHOUT ROWID""",
    "CREATE INDEX due ON domain (due_at, name, listed, answer) WHERE listed",
    "CREATE INDEX routed ON domain (name, listed, waits) WHERE routed",
    "CREATE TABLE history (id INTEGER PRIMARY KEY, name TEXT NOT NULL, event BLOB NOT NULL)",
    "CREATE INDEX history_name ON history (name)",
    "CREATE TABLE note (key TEXT PRIMARY KEY, text TEXT NOT NULL) WITHOUT ROWID",
    "CREATE TABLE pin (name TEXT PRIMARY KEY, endpoints TEXT NOT NULL) WITHOUT ROWID",
)

STEPS: tuple[Migration, ...] = (_FIRST,)
"""Step N makes version N + 1 of version N; a new file has version 0. A step that was released is never changed."""


def prepare(connection: sqlite3.Connection, steps: Sequence[Migration] = STEPS) -> None:
    """Bring the tables to the version that the steps lead to, all of them or none.

    Args:
        connection: in autocommit mode.
        steps: see `STEPS`.

    Raises:
        StateError: not a state of onionmx, or one of a newer version; does not name the file.
        sqlite3.Error: it cannot be read or written.
    """
    if _version(connection) == len(steps) and _pragma(connection, "application_id") == APPLICATION_ID:
        return
    connection.execute("BEGIN IMMEDIATE")
    try:
        _migrate(connection, steps)
        connection.execute("COMMIT")
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise


def _migrate(connection: sqlite3.Connection, steps: Sequence[Migration]) -> None:
    # Looked at once more: another process may have made the tables before this one got the lock.
    version = _version(connection)
    is_empty = not connection.execute("SELECT count(*) FROM sqlite_schema").fetchone()[0]
    if not is_empty and _pragma(connection, "application_id") != APPLICATION_ID:
        raise StateError("this is the database of another program: name another file")
    if version > len(steps):
        raise StateError(
            f"it has format {version} and was written by {_writer(connection)}, this is onionmx {__version__} and "
            f"reads formats up to {len(steps)}: install that version again, or move the file away to start anew; "
            f"the map stays"
        )
    for step in steps[version:]:
        for statement in step:
            connection.execute(statement)
    connection.execute("UPDATE about SET value = ? WHERE key = 'onionmx'", (__version__,))
    connection.execute(f"PRAGMA application_id = {APPLICATION_ID}")
    connection.execute(f"PRAGMA user_version = {len(steps)}")


def _writer(connection: sqlite3.Connection) -> str:
    try:
        version = connection.execute("SELECT value FROM about WHERE key = 'onionmx'").fetchone()[0]
    except (sqlite3.Error, TypeError):
        return "a newer onionmx"
    return f"onionmx {version}"


def _version(connection: sqlite3.Connection) -> int:
    return _pragma(connection, "user_version")


def _pragma(connection: sqlite3.Connection, name: str) -> int:
    return int(connection.execute(f"PRAGMA {name}").fetchone()[0])


def set_journal(connection: sqlite3.Connection, journal: str, patience: float) -> None:
    """Choose the kind of journal, also while another process makes the same file.

    SQLite waits for no lock where it switches to WAL (sqlite3_busy_handler, "deadlock").

    Args:
        connection: without a transaction.
        journal: as in `PRAGMA journal_mode`.
        patience: seconds.
    """
    end = time.monotonic() + patience
    while True:
        try:
            connection.execute(f"PRAGMA journal_mode = {journal}").fetchone()
        except sqlite3.OperationalError as error:
            if error.sqlite_errorcode & _PRIMARY != sqlite3.SQLITE_BUSY or time.monotonic() >= end:
                raise
            time.sleep(_PAUSE)
        else:
            return
