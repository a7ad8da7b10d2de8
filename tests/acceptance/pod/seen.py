"""What the host sees of the processes of containers (proc(5))."""

from dataclasses import dataclass
from pathlib import Path

from tests.e2e.rights import OF_NO_WAY_BACK, status_of

from .host import Host

_NO_CAPABILITIES = "0000000000000000"
_SOCKETS = ("docker.sock", "podman.sock", "containerd.sock", "systemd/private", "dbus")


class ExposedError(Exception):
    """A process may do, or has, what it should not."""


@dataclass(frozen=True)
class Process:
    """One process of a container.

    Args:
        container: its name.
        pid: as the host has it.
    """

    container: str
    pid: int

    @property
    def folder(self) -> Path:
        """Its folder in /proc."""
        return Path("/proc", str(self.pid))

    @property
    def mounts(self) -> dict[str, tuple[str, str]]:
        """Where something is mounted: its options, and which folder of which file system."""
        rows = [line.split() for line in (self.folder / "mountinfo").read_text().splitlines()]
        return {row[4]: (row[5], row[3]) for row in rows}


def processes(host: Host, container: str) -> list[Process]:
    """All processes of a container: those in its namespace of processes."""
    found = host.inspect(container)
    first = found["State"]["Pid"]
    own = Path(f"/proc/{first}/ns/pid").readlink()
    return [
        Process(container, int(path.name))
        for path in Path("/proc").iterdir()
        if path.name.isdecimal() and _namespace(path) == own
    ]


def _namespace(path: Path) -> Path | None:
    try:
        return (path / "ns/pid").readlink()
    except OSError:
        return None  # it is gone


def assert_harmless(process: Process, uid: int) -> None:
    """Fail unless it has that user alone, no capability, no way to one, nothing to write on, and no socket to the host.

    Args:
        uid: as the host has it.
    """
    status = status_of(process.pid)
    expected = {
        "Uid": " ".join([str(uid)] * 4),
        "Gid": " ".join([str(uid)] * 4),
        "NoNewPrivs": "1",
        **dict.fromkeys(OF_NO_WAY_BACK, _NO_CAPABILITIES),
    }
    if wrong := {name: status[name] for name, value in expected.items() if status[name].split() != value.split()}:
        raise ExposedError(f"{process}: {wrong}")
    mounts = process.mounts
    if "ro" not in mounts["/"][0].split(","):
        raise ExposedError(f"{process}: its root can be written: {mounts['/']}")
    if sockets := [place for place, seen in mounts.items() if any(n in place or n in seen[1] for n in _SOCKETS)]:
        raise ExposedError(f"{process}: {sockets}")
