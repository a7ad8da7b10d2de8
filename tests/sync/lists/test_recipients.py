"""Logs in every state between two rotations: each line counts once, and nothing is kept of it but a domain."""

import gzip
import os
import sqlite3
from contextlib import closing
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.clock import day_of
from onionmx.defaults import DAY
from onionmx.errors import ConfigurationError, StateError
from onionmx.mapfile.cdb import DEFERS
from onionmx.sync.lists.log_file import MAX_LINE, find_logs
from onionmx.sync.lists.outgoing import Outgoing
from onionmx.sync.lists.recipients import opened_recipients
from tests.mapfile.maps import A, make_map

NOW = 1_700_000_000.0


def delivery(number: int, domain: str = "example.org") -> str:
    return (
        f"2024-05-01 12:34:56 1s2Abc-{number:06}-2z => secret{number}@{domain} R=dnslookup T=remote_smtp "
        f'H=mx.example.org [192.0.2.1] C="250 OK"\n'
    )


def count(store: Path | None, *logs: Path, local: tuple[str, ...] = (), now: float = NOW) -> dict[str, int]:
    with opened_recipients(store, local, now) as recipients:
        for log in logs:
            assert not recipients.read_log(log)
        recipients.keep(30 * DAY)
        return {each.domain: each.recipients for each in recipients.counts()}


@pytest.fixture
def store(tmp_path: Path) -> Path:
    return tmp_path / "recipients.sqlite"


def test_what_is_appended_counts_once(tmp_path: Path, store: Path) -> None:
    log = tmp_path / "mainlog"
    log.write_text(delivery(1) + delivery(2)[:-20])
    assert count(store, log) == {"example.org": 1}
    assert count(store, log) == {"example.org": 1}
    log.write_text(delivery(1) + delivery(2) + delivery(3, "example.net"))
    assert count(store, log) == {"example.org": 2, "example.net": 1}


@given(st.lists(st.integers(0, 3000), max_size=5))
def test_a_log_that_grows(ends: list[int]) -> None:
    content = b"".join(delivery(number).encode() for number in range(10)) + b"junk\xff\n" * 20
    with TemporaryDirectory() as folder, opened_recipients(None, (), NOW) as recipients:
        log = Path(folder, "mainlog")
        for end in [*sorted(ends), len(content)]:
            log.write_bytes(content[:end])
            assert not recipients.read_log(log)
        assert [each.recipients for each in recipients.counts()] == [10]


def test_rotation_and_compression(tmp_path: Path, store: Path) -> None:
    log, first, second = tmp_path / "mainlog", tmp_path / "mainlog.1", tmp_path / "mainlog.2.gz"
    log.write_text(delivery(1))
    assert count(store, log) == {"example.org": 1}
    log.write_text(delivery(1) + delivery(2))
    log.rename(first)
    log.write_text(delivery(3))
    assert count(store, log, first) == {"example.org": 3}
    second.write_bytes(gzip.compress(first.read_bytes() + delivery(4).encode()))
    first.unlink()
    assert count(store, log, second) == {"example.org": 4}
    assert count(store, log, second) == {"example.org": 4}


def test_truncated_after_a_copy(tmp_path: Path, store: Path) -> None:
    log = tmp_path / "mainlog"
    log.write_text(delivery(1) + delivery(2))
    assert count(store, log) == {"example.org": 2}
    (tmp_path / "mainlog.1").write_bytes(log.read_bytes())
    log.write_text(delivery(3))
    assert count(store, log, tmp_path / "mainlog.1") == {"example.org": 3}


def test_a_log_that_is_being_compressed(tmp_path: Path, store: Path) -> None:
    log = tmp_path / "mainlog.2.gz"
    whole = gzip.compress(b"".join(delivery(number).encode() for number in range(2000)))
    log.write_bytes(whole[: len(whole) // 2])
    with opened_recipients(store, (), NOW) as recipients:
        assert "cannot be read to its end" in recipients.read_log(log)
        assert not recipients.read_log(log), "the same is said twice"
        recipients.keep(DAY)
    log.write_bytes(whole)
    assert count(store, log) == {"example.org": 2000}


def test_no_address_and_no_line_is_kept(tmp_path: Path, store: Path) -> None:
    log = tmp_path / "mainlog"
    log.write_text("".join(delivery(number, f"d{number}.example.org") for number in range(500)))
    count(store, log)
    content = store.read_bytes()
    assert b"d499.example.org" in content
    assert b"secret" not in content
    assert b"1s2Abc" not in content
    assert store.stat().st_mode & 0o777 == 0o600


def test_local_domains_do_not_count_and_are_forgotten(tmp_path: Path, store: Path) -> None:
    log = tmp_path / "mainlog"
    log.write_text(delivery(1) + delivery(2, "own.example"))
    assert count(store, log) == {"example.org": 1, "own.example": 1}
    assert count(store, log, local=("own.example",)) == {"example.org": 1}
    assert count(None, log, local=("own.example",)) == {"example.org": 1}


def test_recipients_are_counted_by_day_but_for_what_was_there_before(tmp_path: Path, store: Path) -> None:
    log = tmp_path / "mainlog"
    lines = [delivery(number, "local.example" if number == 4 else "example.org") for number in range(7)]

    def days(until: int, now: float) -> dict[str, int]:
        log.write_text("".join(lines[:until]))
        count(store, log, local=("local.example",), now=now)
        with opened_recipients(store, (), now, to_write=False) as recipients:
            return recipients.by_day()

    assert days(2, NOW) == {}, "a log of weeks, perhaps"
    assert days(3, NOW) == {day_of(NOW): 1}
    assert days(6, NOW + DAY) == {day_of(NOW): 1, day_of(NOW + DAY): 2}
    assert days(7, NOW + 31 * DAY) == {day_of(NOW + DAY): 2, day_of(NOW + 31 * DAY): 1}


def test_store_of_an_older_version_is_taken_over(tmp_path: Path, store: Path) -> None:
    log = tmp_path / "mainlog"
    log.write_text(delivery(1))
    count(store, log)
    with closing(sqlite3.connect(store)) as older:
        older.executescript("DROP TABLE day; PRAGMA user_version = 1")
    log.write_text(delivery(1) + delivery(2))
    assert count(store, log) == {"example.org": 2}


def test_a_domain_without_mail_is_forgotten(tmp_path: Path, store: Path) -> None:
    log = tmp_path / "mainlog"
    log.write_text(delivery(1))
    count(store, log)
    log.write_text(delivery(1) + delivery(2, "example.net"))
    assert count(store, log, now=NOW + 29 * DAY) == {"example.org": 1, "example.net": 1}
    assert count(store, log, now=NOW + 31 * DAY) == {"example.net": 1}


def test_what_is_not_kept_is_as_if_it_had_not_been(tmp_path: Path, store: Path) -> None:
    log = tmp_path / "mainlog"
    log.write_text(delivery(1))
    count(store, log)
    log.write_text(delivery(1) + delivery(2))
    before = store.read_bytes()
    with opened_recipients(store, (), NOW, to_write=False) as recipients:
        recipients.read_log(log)
        assert [each.recipients for each in recipients.counts()] == [2]
    assert store.read_bytes() == before
    with opened_recipients(store, (), NOW) as recipients:
        recipients.read_log(log)
    assert count(store) == {"example.org": 1}


def test_long_junk_and_broken_bytes(tmp_path: Path) -> None:
    log = tmp_path / "mainlog"
    log.write_bytes(b"\xff\x00" * MAX_LINE + delivery(1).encode() + delivery(2).encode() + b"\0" * 10 * MAX_LINE)
    assert count(None, log) == {"example.org": 1}


def test_most_mail_first(tmp_path: Path) -> None:
    log = tmp_path / "mainlog"
    log.write_text("".join(delivery(number, f"d{number % 3}.example") for number in range(8)))
    with opened_recipients(None, (), NOW) as recipients:
        recipients.read_log(log)
        recipients.add(["a.example", "d0.example"])
        assert [each.domain for each in recipients.counts()] == ["d0.example", "d1.example", "d2.example", "a.example"]
        assert [each.recipients for each in recipients.counts(2)] == [3, 3]


def test_how_much_could_go_over_onion(tmp_path: Path) -> None:
    log = tmp_path / "mainlog"
    log.write_text("".join(delivery(number, f"d{number % 4}.example") for number in range(8)))
    with opened_recipients(None, (), NOW) as recipients:
        recipients.read_log(log)
        assert recipients.outgoing(tmp_path / "none.cdb") == Outgoing(8, 0)
        entries = {f"x{number}.example": ((A, 25),) for number in range(1200)} | {
            "d1.example": ((A, 25),),
            "d2.example": DEFERS,
        }
        found = recipients.outgoing(make_map(tmp_path / "map.cdb", entries))
    assert found == Outgoing(8, 2)
    assert str(found) == "25.0 % of your outgoing mail could go over onion services (2 of 8 recipients)"


@pytest.mark.parametrize(
    ("outgoing", "start"),
    [
        (Outgoing(0, 0), "no outgoing mail"),
        (Outgoing(5, 0), "0 %"),
        (Outgoing(100_000, 1), "0.1 %"),
        (Outgoing(100_000, 99_999), "99.9 %"),
        (Outgoing(5, 5), "100 %"),
    ],
)
def test_some_is_not_none_and_most_is_not_all(outgoing: Outgoing, start: str) -> None:
    assert str(outgoing).startswith(start)


def test_logs_that_cannot_be_read(tmp_path: Path, store: Path) -> None:
    (tmp_path / "mainlog.xz").write_bytes(b"\xfd7zXZ\x00junk")
    with opened_recipients(store, (), NOW) as recipients:
        assert not recipients.read_log(tmp_path / "rotated-away")
        with pytest.raises(ConfigurationError, match="compressed by xz"):
            recipients.read_log(tmp_path / "mainlog.xz")
        with pytest.raises(ConfigurationError, match="Is a directory"):
            recipients.read_log(tmp_path)
    with pytest.raises(ConfigurationError, match="no file is seen"):
        find_logs([str(tmp_path / "nothing*")])


def test_names_with_stars(tmp_path: Path) -> None:
    (tmp_path / "folder.log").mkdir()
    for name in ("b.log", "a.log"):
        (tmp_path / name).touch()
    assert find_logs([f"{tmp_path}/*.log", f"{tmp_path}/a*"]) == [tmp_path / "a.log", tmp_path / "b.log"]


def test_a_damaged_store(store: Path) -> None:
    store.write_bytes(os.urandom(8192))
    with pytest.raises(StateError, match="move it away"):
        count(store)


def test_a_store_of_a_newer_version(store: Path) -> None:
    count(store)
    connection = sqlite3.connect(store)
    connection.execute("PRAGMA user_version = 99")
    connection.close()
    with pytest.raises(StateError, match="install that version again"):
        count(store)
