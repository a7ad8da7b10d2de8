"""A root that cannot be made is a failure, unless it is one of testing and an older one is there."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

import pytest

from . import roots
from .roots import KEPT, LONGEST_KEPT, RELEASES, Release, RootError, obtain
from .run import Run


@pytest.fixture(autouse=True)
def no_archive(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """An mmdebstrap that always fails."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.setattr(roots, "ATTEMPTS", 1)
    (tmp_path / "bin").mkdir()
    (tmp_path / "bin/mmdebstrap").write_text("#!/bin/sh\nexit 1\n")
    (tmp_path / "bin/mmdebstrap").chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}/bin:{os.environ['PATH']}")
    monkeypatch.setattr(time, "sleep", lambda _seconds: None)


def left(release: Release, age: float) -> None:
    """Leave a root of that age, in seconds."""
    root = roots.cache_folder() / release.name
    root.mkdir(parents=True)
    (root / "bin").touch()
    stamp = root.with_suffix(".stamp")
    stamp.write_text(roots._recipe(release))  # noqa: SLF001 -- the file that obtain() writes
    os.utime(stamp, (time.time() - age,) * 2)


@pytest.fixture
def log(tmp_path: Path) -> Iterator[IO[str]]:
    """Where mmdebstrap writes."""
    with (tmp_path / "log").open("w+") as file:
        yield file


def test_testing_goes_on_with_an_older_root_and_debian_13_does_not(log: IO[str]) -> None:
    left(RELEASES["forky"], KEPT + 60)
    root = obtain(RELEASES["forky"], log)
    root.lock.close()
    assert (root.path / "bin").exists()
    log.seek(0)
    assert "mmdebstrap could not make testing (forky); the root of " in log.read()
    left(RELEASES["trixie"], KEPT + 60)
    with pytest.raises(RootError):
        obtain(RELEASES["trixie"], log)


def test_testing_that_was_never_made_or_long_ago_fails_the_run(tmp_path: Path, log: IO[str]) -> None:
    run = Run(tmp_path)
    run.do(["forky"], [])
    assert not run.has_passed()
    left(RELEASES["forky"], LONGEST_KEPT + 60)
    with pytest.raises(RootError):
        obtain(RELEASES["forky"], log)
