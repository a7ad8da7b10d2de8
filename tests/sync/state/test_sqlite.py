"""What only a file can be: of another version, damaged, readable for others."""

import random
import sqlite3
from contextlib import closing, suppress
from pathlib import Path
from threading import Thread

import pytest

from onionmx import __version__
from onionmx.errors import StateError
from onionmx.sync.state.record import DomainRecord
from onionmx.sync.state.schema import APPLICATION_ID, STEPS, prepare
from onionmx.sync.state.sqlite import SqliteStore

from .records import WAITING, routed, taken

NOW = 1.8e9
FLIPS = 400


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "state.sqlite"


def filled(path: Path, number: int = 200) -> dict[str, DomainRecord]:
    """A store with some of everything in it."""
    with closing(SqliteStore(path)) as store:
        store.set_listed([f"{index}.example.org" for index in range(number)], NOW)
        records = {
            f"{index}.example.org": routed(f"{index}.example.org", pending=WAITING) for index in range(0, number, 3)
        }
        store.save(records.values(), map(taken, records))
        return records | store.get([f"{index}.example.org" for index in range(number)])


def execute(path: Path, *statements: str) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        for statement in statements:
            connection.execute(statement)


def test_only_its_owner_may_read_it(path: Path) -> None:
    filled(path)
    assert {file.name: file.stat().st_mode & 0o777 for file in path.parent.iterdir()} == {
        path.name: 0o600,
        f"{path.name}-journal": 0o600,
    }


def test_others_who_could_read_it_no_longer_can(path: Path) -> None:
    path.touch()
    path.chmod(0o644)
    SqliteStore(path).close()
    assert path.stat().st_mode & 0o777 == 0o600


def test_the_state_of_a_newer_version_is_left_alone(path: Path) -> None:
    filled(path)
    execute(path, "UPDATE about SET value = '7.0.0' WHERE key = 'onionmx'", f"PRAGMA user_version = {len(STEPS) + 1}")
    before = path.read_bytes()
    with pytest.raises(StateError) as caught:
        SqliteStore(path)
    assert str(caught.value) == (
        f"state {path}: it has format {len(STEPS) + 1} and was written by onionmx 7.0.0, this is onionmx {__version__} "
        f"and reads formats up to {len(STEPS)}: install that version again, or move the file away to start anew; "
        f"the map stays"
    )
    assert path.read_bytes() == before


def test_a_newer_version_that_keeps_its_name_elsewhere(path: Path) -> None:
    execute(path, "CREATE TABLE other (x)", f"PRAGMA application_id = {APPLICATION_ID}", "PRAGMA user_version = 99")
    with pytest.raises(StateError, match="format 99 and was written by a newer onionmx"):
        SqliteStore(path)


def test_the_database_of_another_program_is_left_alone(path: Path) -> None:
    execute(path, "CREATE TABLE mail (sender TEXT)", "PRAGMA user_version = 1")
    before = path.read_bytes()
    with pytest.raises(StateError, match="this is the database of another program: name another file"):
        SqliteStore(path)
    assert path.read_bytes() == before


def test_an_older_version_is_brought_up_to_date_with_all_it_knows(path: Path) -> None:
    filled(path)
    steps = [*STEPS, ("ALTER TABLE pin ADD COLUMN by TEXT NOT NULL DEFAULT ''",), ("CREATE TABLE more (x)",)]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        prepare(connection, steps)
        assert connection.execute("PRAGMA user_version").fetchone() == (len(steps),)
        assert connection.execute("SELECT count(*) FROM domain").fetchone() == (200,)
        assert connection.execute("SELECT count(*) FROM more").fetchone() == (0,)


def test_an_update_that_fails_leaves_the_older_version(path: Path) -> None:
    records = filled(path)
    steps = [*STEPS, ("CREATE TABLE more (x)", "INSERT INTO nowhere VALUES (1)")]
    with closing(sqlite3.connect(path, isolation_level=None)) as connection:
        with pytest.raises(sqlite3.OperationalError, match="nowhere"):
            prepare(connection, steps)
        prepare(connection, STEPS)
    with closing(SqliteStore(path)) as store:
        assert store.get(records) == records


@pytest.mark.parametrize(
    "content", [b"not a database" * 100, b"SQLite format 3\x00" + bytes(4000)], ids=["text", "zeros"]
)
def test_what_is_no_database_is_left_alone(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    with pytest.raises(StateError, match=f"mv {path} {path}.damaged`; the next sync starts anew, and the map stays"):
        SqliteStore(path)
    assert path.read_bytes() == content


def test_a_file_that_was_cut_off(path: Path) -> None:
    records = filled(path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    with pytest.raises(StateError, match=r"damaged`; the next sync starts anew"), closing(SqliteStore(path)) as store:
        store.get(records)


def test_the_message_is_right(path: Path) -> None:
    """What it says to do is done, and sync starts anew."""
    path.write_bytes(b"damaged" * 1000)
    with suppress(StateError):
        SqliteStore(path)
    path.rename(f"{path}.damaged")
    filled(path)


def test_flipped_bits_never_become_a_route(path: Path, tmp_path: Path) -> None:
    records = filled(path)
    content = path.read_bytes()
    chance = random.Random(6)
    damaged = tmp_path / "damaged.sqlite"
    noticed = 0
    for _ in range(FLIPS):
        changed = bytearray(content)
        for _ in range(8):
            changed[chance.randrange(len(changed))] ^= 1 << chance.randrange(8)
        damaged.write_bytes(changed)
        try:
            with closing(SqliteStore(damaged)) as store:
                found = [*store.routed(), *store.get(records).values()]
                for name in records:
                    store.history(name)
                assert all(isinstance(name, str) for name in store.due(NOW))
                store.counts()
                store.save([DomainRecord("new.example.org", NOW)])
        except StateError as error:
            assert "damaged" in str(error) or "newer" in str(error) or "another program" in str(error)
            noticed += 1
            continue
        for record in found:
            known = records.get(record.domain, DomainRecord(record.domain, NOW))  # a new name has no route
            assert (record.established, record.pending) == (known.established, known.pending)
    assert noticed > FLIPS / 10


def test_a_folder_that_cannot_be_made(tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(StateError, match=r"state .*/file/state cannot be opened: .*/file: File exists"):
        SqliteStore(tmp_path / "file" / "state")


def test_a_folder_in_its_place(tmp_path: Path) -> None:
    with pytest.raises(StateError, match="unable to open database file"):
        SqliteStore(tmp_path)


def test_two_that_write_at_once_wait_for_each_other(path: Path) -> None:
    """An acceptance by hand beside a run, for one."""
    filled(path)
    batches = 30

    def write(name: str) -> None:
        with closing(SqliteStore(path)) as store:
            for number in range(batches):
                store.save([DomainRecord(f"{name}-{number}.org", NOW)])

    writers = [Thread(target=write, args=(name,)) for name in ("a", "b", "c")]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    with closing(SqliteStore(path)) as store:
        assert store.counts().listed == 200 + 3 * batches
