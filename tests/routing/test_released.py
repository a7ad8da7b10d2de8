"""What serve and `onionmx lookup` make of the file of released domains, as it comes, goes, ages and is damaged."""

import asyncio
import logging
import os
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

from onionmx.answer import CouldNotTell, Found, NoRoute, Unroutable
from onionmx.config import LocalSection
from onionmx.fallback.released import LONGEST
from onionmx.fallback.writing import write_released
from onionmx.mapfile.cdb import DEFERS
from onionmx.routing.files import RouteFiles
from onionmx.routing.router import Router
from tests.fallback.test_released import FAULTS
from tests.mapfile.maps import A, B, make_map

DOMAIN, OTHER, PINNED, OWN = "released.example", "other.example", "pinned.example", "own.example"
LOOKUPS = 10_000


@pytest.fixture
def files(tmp_path: Path) -> Iterator[RouteFiles]:
    make_map(tmp_path / "map.cdb", {DOMAIN: ((A, 25),), OTHER: ((B, 25),), "defers.example": DEFERS})
    (tmp_path / "pins").write_text(f"{PINNED} {A}\n")
    os.utime(tmp_path / "pins", (0, 0))
    files = RouteFiles(
        LocalSection(domains=(OWN,)),
        tmp_path / "pins",
        tmp_path / "map.cdb",
        released=str(tmp_path / "released.cdb"),
        look_interval=0.0,
    )
    yield files
    files.close()


def test_released_comes_and_goes(files: RouteFiles, tmp_path: Path) -> None:
    assert isinstance(files.get(DOMAIN), Found)
    validity = files.validity
    write_released(tmp_path / "released.cdb", (DOMAIN, PINNED, OWN, A, "defers.example", "live.example"))
    answer = files.get(DOMAIN)
    assert type(answer) is NoRoute
    assert answer.reason.startswith("released")
    assert validity.until < 0, "answers that were given before count no longer"
    assert isinstance(files.get(OTHER), Found)
    assert isinstance(files.get(PINNED), Found)
    assert isinstance(files.get(A), Found)
    assert isinstance(files.get("defers.example"), CouldNotTell)
    assert isinstance(files.get("live.example"), NoRoute), "without a question to DNS"
    assert isinstance(files.get("bad.onion"), Unroutable)
    write_released(tmp_path / "released.cdb", ())
    assert isinstance(files.get(DOMAIN), Found)


def test_file_that_grows_old_is_not_believed(
    files: RouteFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_released(tmp_path / "released.cdb", (DOMAIN,))
    assert isinstance(files.get(DOMAIN), NoRoute)
    later = time.time() + LONGEST + 1
    monkeypatch.setattr("onionmx.fallback.released.time.time", lambda: later)
    for _ in range(3):
        assert isinstance(files.get(DOMAIN), Found)
    (line,) = (each.getMessage() for each in caplog.records if each.levelno >= logging.WARNING)
    assert "was not confirmed by the relay" in line


def test_old_file_without_entries_is_as_it_should_be(
    files: RouteFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_released(tmp_path / "released.cdb", ())
    os.utime(tmp_path / "released.cdb", (1, 1))
    assert isinstance(files.get(DOMAIN), Found)
    assert not [each for each in caplog.records if each.levelno >= logging.WARNING]


@pytest.mark.parametrize("fault", FAULTS)
def test_no_fault_of_the_file_makes_no_route(
    files: RouteFiles, tmp_path: Path, caplog: pytest.LogCaptureFixture, fault: str
) -> None:
    write_released(tmp_path / "released.cdb", (DOMAIN,))
    assert isinstance(files.get(DOMAIN), NoRoute)
    FAULTS[fault](tmp_path / "released.cdb")
    for _ in range(100):
        assert isinstance(files.get(DOMAIN), Found)
    assert len([each for each in caplog.records if "nothing is taken as released" in each.getMessage()]) <= 1


def test_map_that_cannot_be_read_goes_before_what_is_released(files: RouteFiles, tmp_path: Path) -> None:
    write_released(tmp_path / "released.cdb", (DOMAIN,))
    assert isinstance(files.get(DOMAIN), NoRoute)
    make_map(tmp_path / "new", {}).write_bytes(b"damaged")
    (tmp_path / "new").rename(tmp_path / "map.cdb")
    assert isinstance(files.get(DOMAIN), CouldNotTell)


def test_without_rules_no_fault_ever_means_no_route(files: RouteFiles, tmp_path: Path) -> None:
    """Ten thousand lookups of domains with onions, under every fault of the files beside them."""
    router = Router(files, None)
    released = tmp_path / "released.cdb"
    changes = [None, *FAULTS.values()]

    async def ask() -> None:
        for number in range(LOOKUPS):
            if number % (LOOKUPS // len(changes)) == 0 and (change := changes[number * len(changes) // LOOKUPS]):
                if released.is_dir():
                    released.rmdir()
                released.unlink(missing_ok=True)
                write_released(released, (DOMAIN, OTHER))
                change(released)
            for domain in (DOMAIN, OTHER):
                assert not isinstance(await router.ask(domain), NoRoute)

    asyncio.run(ask())
