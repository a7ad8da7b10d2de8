"""/etc/onionmx-ci/executor.toml: what a job may have on this host."""

import os
import pwd
import tomllib
from dataclasses import dataclass, field, fields
from pathlib import Path

from .failures import SystemFailure

NETWORKS = {"none": "none", "slirp4netns": "slirp4netns:allow_host_loopback=false"}
"""What `network` may be, and podman's option for it. Neither reaches this host's loopback."""


def runtime() -> Path:
    """The folder of the user who runs the runner, gone with the machine (pam_systemd(8), XDG_RUNTIME_DIR)."""
    return Path(os.environ.get("XDG_RUNTIME_DIR") or f"/run/user/{os.getuid()}")


@dataclass(frozen=True)
class Settings:
    """What executor.toml says.

    Args:
        images: an image as jobs name it, or `NAME@sha256:...`, and the ids of the projects that may have it; an empty
            list is for all projects. Nothing is ever pulled: the administrator does that.
        network: `none` or `slirp4netns`.
        builds_mb: size of /builds, where the job works, in MiB of memory.
        tmp_mb: size of /tmp, likewise.
        cache_mb: size of /cache, likewise, and of the file kept for a project.
        cache_total_mb: size of all caches on disk; the oldest go first.
        cache_days: after how many days without a change a cache goes.
        cache: folder of the caches.
        secrets: folder with a folder for each project id, whose files protected branches find in
            /run/onionmx-ci/secrets; never tags.
        memory_mb: memory of a job, its tmpfs included.
        processes: how many processes and threads a job has.
        cpus: how many CPUs it uses.
        cgroups: whether the kernel must hold memory, processes and CPUs by cgroups. Without, limits of each process
            alone are left (setrlimit(2)).
    """

    images: dict[str, list[int]]
    network: str = "none"
    builds_mb: int = 2048
    tmp_mb: int = 512
    cache_mb: int = 512
    cache_total_mb: int = 8192
    cache_days: int = 14
    cache: Path = field(default_factory=lambda: Path(pwd.getpwuid(os.getuid()).pw_dir) / "cache")
    secrets: Path = Path("/etc/onionmx-ci/secrets")
    memory_mb: int = 4096
    processes: int = 512
    cpus: float = 1.0
    cgroups: bool = True

    @property
    def state(self) -> Path:
        """What is kept while a job runs; gone with the machine."""
        return runtime() / "onionmx-ci"


def load(path: Path) -> Settings:
    """Read the file.

    Raises:
        SystemFailure: it cannot be read, or is wrong; the message says what would be right.
    """
    try:
        values = tomllib.loads(path.read_text())
    except (OSError, ValueError) as error:
        raise SystemFailure(f"{path}: {error}") from error
    known = {item.name: item for item in fields(Settings)}
    for name, value in values.items():
        if name not in known:
            raise SystemFailure(f"{path}: {name}: one of {', '.join(known)} would be right")
        if problem := _problem(name, value):
            raise SystemFailure(f"{path}: {name}: {problem}")
    if not values.get("images"):
        raise SystemFailure(f'{path}: images: at least one is needed, such as "localhost/ci:12" = []')
    for name in {"cache", "secrets"} & values.keys():
        values[name] = Path(values[name])
    return Settings(**values)


def _problem(name: str, value: object) -> str | None:
    if name == "images":
        good = isinstance(value, dict) and all(
            isinstance(ids, list) and all(type(one) is int for one in ids) for ids in value.values()
        )
        return None if good else "a table of image names with lists of project ids would be right"
    if name == "network":
        return None if value in NETWORKS else f"one of {', '.join(NETWORKS)} would be right"
    if name in {"cache", "secrets"}:
        return None if isinstance(value, str) and value.startswith("/") else "an absolute path would be right"
    if name == "cgroups":
        return None if isinstance(value, bool) else "true or false would be right"
    number = type(value) is int or (name == "cpus" and type(value) is float)
    return None if number and value > 0 else "a number above 0 would be right"  # type: ignore[operator]
