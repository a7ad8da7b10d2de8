"""What `onionmx watch` has seen from outside, in the status of this host."""

from pathlib import Path

import pytest

from onionmx.config import Configuration, MapSection
from onionmx.doctor.machine import Machine
from onionmx.status.look.tor import UNKNOWN_FROM_OUTSIDE, with_watch
from onionmx.status.model import OnionStatus
from onionmx.watch.judge import Reach, Watched
from onionmx.watch.state import FORMAT, WatchState, watch_file, write_state
from tests.mapfile.maps import A, B

FOUND = OnionStatus(onion=A, published=True)


@pytest.fixture
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    monkeypatch.setattr("onionmx.watch.state.FOLDER", tmp_path / "none")
    return Machine(Configuration(map=MapSection(path=str(tmp_path / "map.cdb"))))


KNOWN = {Reach.REACHABLE: (True, 50.0), Reach.FAILED: (False, 50.0), Reach.UNKNOWN: (None, None)}


@pytest.mark.parametrize("reach", Reach)
def test_last_probe(machine: Machine, reach: Reach) -> None:
    write_state(watch_file(machine.configuration), WatchState(FORMAT, [Watched(A, reach, 50.0, 100.0, "seen")]))
    status = with_watch(machine, FOUND, 200.0)
    assert (status.reachable, status.reachable_since, status.reachable_why) == (*KNOWN[reach], "seen")
    assert status.published
    assert with_watch(machine, OnionStatus(onion=B), 200.0).reachable_why == UNKNOWN_FROM_OUTSIDE
    assert with_watch(machine, FOUND, 100_000.0).reachable_why == UNKNOWN_FROM_OUTSIDE  # it does not run any more


def test_without_watch(machine: Machine) -> None:
    assert with_watch(machine, FOUND, 200.0).reachable_why == UNKNOWN_FROM_OUTSIDE


def test_damaged(machine: Machine) -> None:
    watch_file(machine.configuration).write_text("{")
    status = with_watch(machine, FOUND, 200.0)
    assert status.reachable is None
    assert status.reachable_why.startswith("what onionmx watch knows cannot be read")
