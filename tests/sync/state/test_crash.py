"""Real processes that are killed at any moment, and a disk that is full."""

import random
import sqlite3
import subprocess
import sys
import time
from contextlib import closing
from pathlib import Path

from onionmx.sync.state.sqlite import SqliteStore
from tests.small_disk import with_own_mounts

from .writer import SHARED

PROJECT = Path(__file__).parents[3]
KILLS = 25
LONGEST_LIFE = 0.03  # seconds after the first batch; one takes some milliseconds


def test_killed_at_any_moment(tmp_path: Path) -> None:
    path = tmp_path / "state.sqlite"
    chance = random.Random(9)
    last = 0
    for _ in range(KILLS):
        last = max(last, _killed_writer(path, chance.uniform(0, LONGEST_LIFE)))
        with closing(sqlite3.connect(path)) as connection:
            assert connection.execute("PRAGMA integrity_check").fetchall() == [("ok",)]
        with closing(SqliteStore(path)) as store:
            records = list(store.routed())
            assert len(records) == SHARED
            (batch,) = {int(record.decision) for record in records}
            assert batch in {last, last + 1}, "the last one that was reported, or the one that was under way"
            known = store.get(f"batch-{number}.example.org" for number in range(1, batch + 2))
            assert set(known) == {f"batch-{number}.example.org" for number in range(1, batch + 1)}
            assert store.history("0.example.org")[-1].at == batch
    assert last >= KILLS


def _killed_writer(path: Path, life: float) -> int:
    """The last batch of which it said that it was saved."""
    command = [sys.executable, "-m", "tests.sync.state.writer", str(path)]
    with subprocess.Popen(command, stdout=subprocess.PIPE, cwd=PROJECT) as process:
        assert process.stdout
        first = process.stdout.readline()
        time.sleep(life)  # not waiting: a moment of its life, chosen at random
        process.kill()
        return int((first + process.stdout.read()).splitlines()[-1])


def test_full_disk(tmp_path: Path) -> None:
    command = [*with_own_mounts(), sys.executable, "-m", "tests.sync.state.on_full_disk", str(tmp_path)]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.stdout.startswith("as it should be"), result.stderr
    assert result.returncode == 0
    assert not list(tmp_path.iterdir()), "the file system was its own"
