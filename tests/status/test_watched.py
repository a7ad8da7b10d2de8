"""What `onionmx watch` has seen from outside, in the status of this host."""

from pathlib import Path

import pytest
from msgspec.structs import replace

from onionmx.config import Configuration, MapSection, WatchSection
from onionmx.status.model import OnionStatus
from onionmx.status.watched import UNKNOWN_FROM_OUTSIDE, onions_watched, with_watch
from onionmx.watch.judge import Reach, Watched
from onionmx.watch.state import FORMAT, WatchState, watch_file, write_state
from tests.mapfile.maps import A, B

FOUND = OnionStatus(onion=A, published=True)


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Configuration:
    monkeypatch.setattr("onionmx.watch.state.FOLDER", tmp_path / "none")
    return Configuration(map=MapSection(path=str(tmp_path / "map.cdb")))


KNOWN = {Reach.REACHABLE: (True, 50.0), Reach.FAILED: (False, 50.0), Reach.UNKNOWN: (None, None)}


@pytest.mark.parametrize("reach", Reach)
def test_last_probe(configuration: Configuration, reach: Reach) -> None:
    write_state(watch_file(configuration), WatchState(FORMAT, [Watched(A, reach, 50.0, 100.0, "seen")]))
    status = with_watch(configuration, FOUND, 200.0)
    assert (status.reachable, status.reachable_since, status.reachable_why) == (*KNOWN[reach], "seen")
    assert status.published
    (alone,) = onions_watched(configuration, 200.0).services or ()
    assert (alone.onion, alone.reachable, alone.published) == (A, KNOWN[reach][0], None)
    assert onions_watched(configuration, 100_000.0).services is None
    assert with_watch(configuration, OnionStatus(onion=B), 200.0).reachable_why == UNKNOWN_FROM_OUTSIDE
    assert with_watch(configuration, FOUND, 100_000.0).reachable_why == UNKNOWN_FROM_OUTSIDE  # it does not run any more


def test_without_watch(configuration: Configuration) -> None:
    assert with_watch(configuration, FOUND, 200.0).reachable_why == UNKNOWN_FROM_OUTSIDE
    assert onions_watched(configuration, 200.0).why == UNKNOWN_FROM_OUTSIDE


def test_damaged(configuration: Configuration) -> None:
    watch_file(configuration).write_text("{")
    status = with_watch(configuration, FOUND, 200.0)
    assert status.reachable is None
    assert status.reachable_why.startswith("what onionmx watch knows cannot be read")
    assert onions_watched(configuration, 200.0).why == status.reachable_why


def test_a_patient_watch_is_not_taken_for_one_that_has_ended(configuration: Configuration) -> None:
    write_state(watch_file(configuration), WatchState(FORMAT, [Watched(A, Reach.FAILED, 50.0, 100.0, "seen")]))
    patient = replace(configuration, watch=WatchSection(interval=10.0, timeout=600.0))
    assert with_watch(patient, FOUND, 800.0).reachable is False
    assert with_watch(patient, FOUND, 3000.0).reachable is None
