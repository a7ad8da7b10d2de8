"""The stages, each of them one call of the program by the runner, in this order; cleanup comes whatever happened."""

import fcntl
import json
import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import IO

from . import cache, container
from .failures import BuildFailure, SystemFailure
from .job import Job
from .settings import Settings

ARCHIVES = ("archive_cache", "archive_cache_on_failure")
"""The stages after which the cache is worth keeping."""
STARTING = 120.0
"""Seconds that podman may take to start a container, after which cleanup no longer waits for it."""
OWN = ("prepare_script", "get_sources", "restore_cache", "download_artifacts")
"""The stages before the first command of the job itself."""


def config() -> None:
    """Tell the runner where the job finds its folders. No value of the job goes into it."""
    folders = {"builds_dir": "/builds", "cache_dir": "/cache", "builds_dir_is_shared": False, "shell": "sh"}
    print(json.dumps(folders | {"driver": {"name": "onionmx-ci", "version": "1"}}))  # noqa: T201 - read by the runner


def prepare(settings: Settings, job: Job) -> None:
    """Start the container, and give it the project's cache.

    Raises:
        BuildFailure: the job asks for what it may not have.
        SystemFailure: there is no container.
    """
    check(settings, job)
    container.remove([job.name])  # of an earlier attempt
    folder = _folder(settings, job)
    shutil.rmtree(folder, ignore_errors=True)
    shared = folder / "shared"
    shared.mkdir(parents=True, mode=0o755)
    settings.state.chmod(0o700)
    if job.trusted:
        _give_secrets(settings.secrets / str(job.project), shared / "secrets")
    lock = folder / "lock"
    lock.touch()
    container.start(settings, job, shared, lock)
    # The cleanup of another job may remove it at any time.
    with suppress(FileNotFoundError), cache.path(settings.cache, job).open("rb") as file:
        if not container.unpack(job, file):
            print("onionmx-ci: the cache was not unpacked; the job begins without", flush=True)  # noqa: T201


def check(settings: Settings, job: Job) -> None:
    """Look whether a job may have what it asks for.

    Raises:
        BuildFailure: it may not.
    """
    projects = settings.images.get(job.image)
    if projects is None or (projects and job.project not in projects):
        allowed = [name for name, ids in settings.images.items() if not ids or job.project in ids]
        raise BuildFailure(f"image {job.image[:100]!a}: one of these would be right: {', '.join(allowed)}")
    if job.services:
        raise BuildFailure("services are not run here: a job starts what it needs by itself")


def run(settings: Settings, job: Job, script: Path, stage: str) -> None:
    """Run one script of the job, then end what it left running.

    Raises:
        BuildFailure: the script failed, or the job has ended its own container.
        SystemFailure: the script was not started.
    """
    folder = _folder(settings, job)
    given, own = folder / "shared/script", folder / "own"
    given.unlink(missing_ok=True)
    shutil.copyfile(script, given)
    given.chmod(0o444)
    if stage not in OWN:
        own.touch()
    code = container.execute(job)
    if code is None:
        if own.exists() and not container.is_running(job):
            raise BuildFailure(f"{stage}: the job, or its memory limit, has ended its container")
        raise SystemFailure(f"{stage}: podman did not start the script")
    container.end_processes(job)
    if code:
        raise BuildFailure(f"{stage}: exit code {code}", code)
    if stage in ARCHIVES:
        _keep_cache(settings, job)


def cleanup(settings: Settings, job: Job) -> None:
    """Remove all that a job had, and caches that are too old or too many.

    Raises:
        SystemFailure: something is left.
    """
    folder = _folder(settings, job)
    lock = _lock(folder / "lock")
    try:
        container.remove([job.name])
    finally:
        # A podman that waits for the lock finds no folder to share, and starts nothing.
        shutil.rmtree(folder, ignore_errors=True)
        if lock:
            lock.close()
        cache.part(settings.cache, job).unlink(missing_ok=True)
        cache.expire(settings.cache, settings.cache_days, settings.cache_total_mb)


def sweep(settings: Settings) -> None:
    """Remove what jobs left whose runner was killed. Only before the runner starts: it ends every job.

    Raises:
        SystemFailure: something is left.
    """
    for lock in settings.state.glob("*/lock"):
        _lock(lock)
    container.remove(container.existing())
    shutil.rmtree(settings.state, ignore_errors=True)
    cache.remove_parts(settings.cache)
    cache.expire(settings.cache, settings.cache_days, settings.cache_total_mb)


def _lock(file: Path) -> IO[bytes] | None:
    """Wait until nobody starts the container; held until the result is closed. Without the file, nobody can."""
    try:
        lock = file.open("rb")
    except FileNotFoundError:
        return None
    deadline = time.monotonic() + STARTING
    while time.monotonic() < deadline:
        with suppress(BlockingIOError):
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            break
        time.sleep(0.1)
    return lock


def _keep_cache(settings: Settings, job: Job) -> None:
    settings.cache.mkdir(mode=0o700, parents=True, exist_ok=True)
    part = cache.part(settings.cache, job)
    with container.pack(job) as packing, part.open("wb") as file:
        assert packing.stdout is not None  # noqa: S101 - Popen was given a pipe
        whole = cache.copy(packing.stdout, file, settings.cache_mb * 2**20)
        if not whole:
            packing.kill()
    if whole and packing.returncode == 0:
        part.replace(cache.path(settings.cache, job))
    else:
        part.unlink()
        print(f"onionmx-ci: the cache is not kept: above {settings.cache_mb} MiB, or not packed", flush=True)  # noqa: T201


def _folder(settings: Settings, job: Job) -> Path:
    return settings.state / str(job.number)


def _give_secrets(source: Path, target: Path) -> None:
    if source.is_dir():
        target.mkdir()
        for file in source.iterdir():
            shutil.copyfile(file, target / file.name)
            (target / file.name).chmod(0o444)
