"""Fills a small file system of its own with state, until there is no room left, and looks at what is there then.

Run it `with_own_mounts`: the file system ends with the process.
"""

import sys
from contextlib import closing
from itertools import count
from pathlib import Path

from onionmx.errors import StateError
from onionmx.sync.state.sqlite import SqliteStore
from tests.small_disk import small_disk

from .records import routed, taken

BATCH = 50
ROOM = 1024 * 1024


def main(folder: Path) -> None:
    """Fill it."""
    ballast = folder / "ballast"
    ballast.write_bytes(bytes(300_000))
    path = folder / "state.sqlite"
    saved = 0
    with closing(SqliteStore(path)) as store:
        for number in count():
            try:
                _save(store, number)
            except StateError as error:
                assert f"state {path}: no space left" in str(error), error
                break
            saved += 1
        _check(store, saved)
        for _ in range(3):
            try:
                _save(store, saved)
            except StateError as error:
                assert "no space left" in str(error), error
    assert saved
    with closing(SqliteStore(path)) as store:
        _check(store, saved)
        try:
            store.set_listed((f"{number}.example.net" for number in range(50_000)), 1.0)
        except StateError as error:
            assert "no space left" in str(error), error
        else:
            raise AssertionError("there was room")
        _check(store, saved)
        ballast.unlink()
        _save(store, saved)
        _check(store, saved + 1)
    print("as it should be", saved)  # noqa: T201 -- what the test reads


def _save(store: SqliteStore, number: int) -> None:
    names = [f"{index}.{number}.example.org" for index in range(BATCH)]
    store.save(map(routed, names), map(taken, names))


def _check(store: SqliteStore, saved: int) -> None:
    assert store.counts().listed == saved * BATCH, (store.counts(), saved)
    assert len(list(store.routed())) == saved * BATCH
    assert len(list(store.due(1e9))) == saved * BATCH
    for number in range(saved):
        assert store.history(f"0.{number}.example.org") == [taken(f"0.{number}.example.org")]


if __name__ == "__main__":
    with small_disk(Path(sys.argv[1]), ROOM):
        main(Path(sys.argv[1]))
