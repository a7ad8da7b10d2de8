"""Caches: one tar file for each project, and another for its protected branches; no job has a folder of this host."""

import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import IO

from .job import Job

_DAY = 24 * 3600
_MIB = 2**20
_PART = ".part"


def path(folder: Path, job: Job) -> Path:
    """The cache that a job reads and writes. What others wrote, tags included, never reaches a protected branch."""
    return folder / f"{job.project}-{'protected' if job.trusted else 'unprotected'}.tar"


def part(folder: Path, job: Job) -> Path:
    """The file in which a cache is written until it is whole."""
    return folder / f"{job.number}{_PART}"


def copy(source: IO[bytes], target: IO[bytes], limit: int) -> bool:
    """Copy a stream up to a number of bytes; tell whether that was all of it."""
    while chunk := source.read(min(_MIB, limit + 1)):
        limit -= len(chunk)
        if limit < 0:
            return False
        target.write(chunk)
    return True


def expire(folder: Path, days: int, total_mb: int, now: float | None = None) -> None:
    """Remove caches that are too old, then the oldest until all of them together are small enough."""
    oldest = (time.time() if now is None else now) - days * _DAY
    room = total_mb * _MIB
    for changed, size, file in sorted(_files(folder), reverse=True):
        room -= size
        if changed < oldest or room < 0:
            file.unlink(missing_ok=True)


def remove_parts(folder: Path) -> None:
    """Remove what was not finished; no job may be running."""
    for file in folder.glob(f"*{_PART}"):
        file.unlink(missing_ok=True)


def _files(folder: Path) -> Iterator[tuple[float, int, Path]]:
    for file in folder.glob("*.tar"):
        try:
            found = os.lstat(file)
        except FileNotFoundError:  # by the cleanup of another job
            continue
        yield found.st_mtime, found.st_size, file
