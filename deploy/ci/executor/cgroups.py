"""Whether the kernel enforces a limit.

Podman without root leaves out what was not delegated to its user, with a warning at best.
"""

from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")


def held(lines: str, name: str, limit: int, mounted: Path = CGROUPS) -> bool:
    """Whether the cgroup of a process, or one above it, has a limit that is no higher.

    Args:
        lines: of /proc/PID/cgroup (cgroups(7)).
        name: `memory.max` or `pids.max`.
        limit: the highest that is accepted.
        mounted: where cgroups are mounted.
    """
    own = next((line.removeprefix("0::/") for line in lines.splitlines() if line.startswith("0::/")), None)
    if own is None or ".." in own.split("/"):
        return False
    folder = mounted / own
    return any(_limit(place / name) <= limit for place in (folder, *folder.parents) if place.is_relative_to(mounted))


def _limit(file: Path) -> float:
    try:
        text = file.read_text().strip()
    except OSError:
        return float("inf")
    return int(text) if text.isdecimal() else float("inf")
