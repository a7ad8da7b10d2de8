"""Runs that end in the middle: at every step that touches the store or the map, and by SIGKILL at any moment."""

import os
import signal
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from random import Random
from typing import Any, cast

import pytest

from onionmx.config import Export, SyncSection
from onionmx.mapfile.cdb import MapReader
from onionmx.mapfile.check import check
from onionmx.mapfile.export import write_exports
from onionmx.mapfile.write import mark_checked, publish_records
from onionmx.sync.after import mark_due, note_path
from onionmx.sync.run import RunOptions
from onionmx.sync.state.store import Store
from onionmx.target import Trust
from tests.mapfile.maps import A, B, C, make_map
from tests.sync.world import DAY, World, found, none

STEPS = ("set_listed", "get", "routed", "save", "note", "notes", "counts", "forget", "due", "set_pins", "pins")
KILLS = 40


class Killed(BaseException):
    """The process ends here."""


class Countdown:
    """Ends the process at one of its steps.

    Args:
        steps: after which it ends.
    """

    def __init__(self, steps: int) -> None:
        self.left = steps

    def step(self) -> None:
        if self.left == 0:
            raise Killed
        self.left -= 1

    def around(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """End before it, or after it."""

        def wrapped(*arguments: Any, **named: Any) -> Any:  # noqa: ANN401 -- whatever it takes and gives
            self.step()
            result = function(*arguments, **named)
            self.step()
            return result

        return wrapped


class MortalStore:
    """A store whose process may end before or after each call."""

    def __init__(self, store: Store, countdown: Countdown) -> None:
        self._store = store
        self._countdown = countdown

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 -- a method of the store
        method = getattr(self._store, name)
        return self._countdown.around(method) if name in STEPS else method


def prepare(folder: Path) -> World:
    """A world in which the next run adds, changes, removes, keeps and adopts."""
    folder.mkdir()
    world = World(folder)
    world.exports = (Export(path=str(folder / "domains.txt")),)
    names = ("kept", "changed", "gone", "unlisted")
    world.lists = [f"{name}.example" for name in names]
    world.answers = {domain: found(domain, A, trust=Trust.DNSSEC) for domain in world.lists}
    world.run()
    make_map(world.map, world.entries | {"adopted.example": ((C, 25),)})
    (folder / "domains.txt").write_text("".join(f"{domain}\n" for domain in sorted(world.entries)))
    world.lists.remove("unlisted.example")
    world.lists += ["new.example", "adopted.example"]
    for name in ("changed", "new"):
        world.answers[f"{name}.example"] = found(f"{name}.example", B, trust=Trust.DNSSEC)
    world.answers["gone.example"] = none("gone.example", Trust.DNSSEC)
    world.answers["adopted.example"] = found("adopted.example", B)
    world.pass_time(DAY)
    world.settings = SyncSection(after=("/bin/true",))
    return world


def exported(world: World) -> list[str]:
    return (world.folder / "domains.txt").read_text().splitlines()


EXPECTED = {
    "adopted.example": ((C, 25),),
    "changed.example": ((B, 25),),
    "kept.example": ((A, 25),),
    "new.example": ((B, 25),),
}


def test_at_every_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for steps in range(1000):
        world = prepare(tmp_path / str(steps))
        before, exported_before = world.entries, exported(world)
        countdown = Countdown(steps)
        store = world.open()
        with monkeypatch.context() as patch:
            for module in ("onionmx.sync.build", "onionmx.authenticate.proof.published"):
                patch.setattr(f"{module}.publish_records", countdown.around(publish_records))
            for function in (mark_checked, mark_due, write_exports):
                patch.setattr(f"onionmx.sync.run.{function.__name__}", countdown.around(function))
            try:
                world.run(RunOptions(), cast("Store", MortalStore(store, countdown)))
                is_whole = True
            except Killed:
                is_whole = False
            finally:
                store.close()
        assert world.entries in (before, EXPECTED)
        # No domain of the next map goes to the open internet because an MTA reads the exports.
        assert set(exported(world)) >= world.entries.keys() & EXPECTED.keys(), f"after step {steps}"
        if world.entries != before or exported(world) != exported_before:
            assert note_path(world.map).exists(), f"after step {steps}"
        world.run()
        assert world.entries == EXPECTED, f"after step {steps}"
        assert exported(world) == sorted(EXPECTED), f"after step {steps}"
        assert note_path(world.map).exists(), f"after step {steps}"
        assert not world.run().is_published
        assert world.events("changed.example") == ["taken", "changed"]
        assert world.events("adopted.example") == ["taken", "pending"]
        if is_whole:
            assert steps > 30
            return
    raise AssertionError("the run never ended")


def fork_run(world: World, wishes: RunOptions) -> int:
    child = os.fork()
    if child == 0:
        try:
            world.run(wishes)
        finally:
            os._exit(0)
    return child


def test_by_sigkill_at_any_moment(tmp_path: Path) -> None:
    random = Random(8)
    world = World(tmp_path)
    world.lists = [f"{number}.example" for number in range(1800)]
    onions = (A, B, C)

    def answer_all(turn: int) -> None:
        world.answers = {
            domain: found(domain, onions[(turn + number) % 3], trust=Trust.DNSSEC)
            for number, domain in enumerate(world.lists)
            if number % 3
        }

    answer_all(0)
    start = time.monotonic()
    world.run()
    length = time.monotonic() - start
    died = turn = 0
    while died < KILLS:
        turn += 1
        answer_all(turn)
        child = fork_run(world, RunOptions(ask_all=True))
        time.sleep(random.uniform(0.0, length))
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if os.WIFSIGNALED(status):
            died += 1
        else:
            length *= 0.95  # it was over before: the first run took longer than they do now
        with MapReader(world.map) as reader:
            assert list(check(reader)) == []
            assert len(reader) == 1200
    world.run(RunOptions(ask_all=True))
    assert {domain: endpoints[0][0] for domain, endpoints in world.entries.items()} == {
        domain: onions[(turn + number) % 3] for number, domain in enumerate(world.lists) if number % 3
    }
    left = {path.name for path in leftovers(tmp_path)}
    assert left <= {"map.cdb", "map.cdb.lock", "map.cdb.demands", "state.sqlite", "state.sqlite.lock"}, left


def leftovers(folder: Path) -> Iterator[Path]:
    """Files that a killed run may leave are swept away by nobody; SQLite's journal is emptied by the next run."""
    return (path for path in folder.iterdir() if path.stat().st_size and not path.name.startswith("."))
