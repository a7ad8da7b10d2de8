"""The container that this command, or another process, runs in: whose it is, and what it can reach out of it."""

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from onionmx.doctor.isolation.process import PROC

_SYSTEMD = Path("/run/systemd/system")
"""Is there where systemd is the first process (sd_booted(3))."""
_MARKS = {"/run/.containerenv": "podman", "/.dockerenv": "docker"}
_NAMED = ("/run/host/container-manager", "/run/systemd/container")
"""The name of what made the container (systemd.io/CONTAINER_INTERFACE)."""
_ENGINES = (
    "run/docker.sock",
    "var/run/docker.sock",
    "run/podman/podman.sock",
    "run/containerd/containerd.sock",
    "run/crio/crio.sock",
    "run/user/*/docker.sock",
    "run/user/*/podman/podman.sock",
)
"""Where docker, podman and others take orders; anyone who can use one can make a container with its owner's files."""
_ENGINE = re.compile(r"(docker|podman|containerd|crio)\.sock")
_MACHINE = re.compile(r"machine-([^/]+)\.scope|systemd-nspawn@([^/]+)\.service|([^/]+)\.service/payload(?:/|$)")
"""The control groups of systemd-nspawn, with and without a unit of its own."""
_CONTAINER = re.compile(r"(libpod|docker|lxc)[-./]")
_ALL_USERS = "0 0 4294967295"
_KEPT = {"libpod": "podman"}


@dataclass(frozen=True, slots=True)
class Mounts:
    """What a process sees of files (proc(5), `/proc/PID/mountinfo`).

    Attributes:
        is_read_only: whether the root is.
        engines: paths of mounts that are sockets of container engines.
    """

    is_read_only: bool
    engines: tuple[str, ...]


def is_booted() -> bool:
    """Whether systemd runs this system: then units are what keeps services apart, inside a container too."""
    return _SYSTEMD.is_dir()


def container(environment: Mapping[str, str] = os.environ, root: Path = Path("/")) -> str:
    """What made the container that this is, such as `podman`; empty where nothing says that it is one.

    Args:
        environment: of this process.
        root: of the files.
    """
    for path in _NAMED:
        try:
            if name := (root / path.lstrip("/")).read_text(errors="replace").strip():
                return name
        except OSError:
            continue
    marks = (name for path, name in _MARKS.items() if (root / path.lstrip("/")).exists())
    orchestrated = "kubernetes" if "KUBERNETES_SERVICE_HOST" in environment else ""
    return environment.get("container", "") or next(marks, "") or orchestrated


def machine_of(cgroup: str) -> str:
    """What a control group says of the container: `machine tor` of systemd-nspawn, `podman`; empty for none.

    Args:
        cgroup: as seen from outside.
    """
    if match := _MACHINE.search(cgroup):
        return f"machine {next(name for name in match.groups() if name)}"
    match = _CONTAINER.search(cgroup)
    return _KEPT.get(match[1], match[1]) if match else ""


def is_mapped(uid_map: str) -> bool:
    """Whether a user namespace lacks users: in one of a container its root is an ordinary user outside."""
    return uid_map != _ALL_USERS


def mounts_of(pid: int | str) -> Mounts | None:
    """What a process has mounted; `None` where it has ended or this user may not look.

    Args:
        pid: its number, or `self`.
    """
    try:
        return parse_mounts((PROC / str(pid) / "mountinfo").read_text(errors="replace").splitlines())
    except OSError:
        return None


def parse_mounts(lines: Iterable[str]) -> Mounts:
    """Read `/proc/PID/mountinfo`; what is not of its form says nothing."""
    is_read_only, engines = False, []
    for line in lines:
        fields = line.split(" ")
        if len(fields) <= _OPTIONS:
            continue
        inside, point = fields[_ROOT], fields[_POINT]
        if point == "/":  # the last one is on top
            is_read_only = "ro" in fields[_OPTIONS].split(",")
        if any(_ENGINE.fullmatch(path.rpartition("/")[2]) for path in (inside, point)):
            engines.append(point)
    return Mounts(is_read_only, tuple(engines))


_ROOT, _POINT, _OPTIONS = 3, 4, 5  # fields of a mount


def engines(root: Path = Path("/")) -> list[str]:
    """The sockets of container engines that are where they usually are.

    Args:
        root: of the files.
    """
    return [str(path) for pattern in _ENGINES for path in sorted(root.glob(pattern)) if _is_socket(path)]


def _is_socket(path: Path) -> bool:
    try:
        return stat.S_ISSOCK(path.stat().st_mode)
    except OSError:
        return False
