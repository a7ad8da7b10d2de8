"""What the kernel says of the rights of a process (proc(5), /proc/PID/status)."""

import os
import tempfile
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

OF_NO_ROOT = ("CapInh", "CapPrm", "CapEff", "CapAmb")
"""The sets of capabilities (capabilities(7)) that a process without rights has empty."""
OF_NO_WAY_BACK = (*OF_NO_ROOT, "CapBnd")
"""The same, where no program that it starts can get one either."""


def status_of(pid: int) -> Mapping[str, str]:
    """The fields of a process; raises FileNotFoundError or ProcessLookupError where it is gone."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return {name: value.strip() for name, _, value in (line.partition(":") for line in lines)}


def excess(status: Mapping[str, str], sets: tuple[str, ...] = OF_NO_ROOT) -> list[str]:
    """What a process has that only root should: user or group 0 as real, effective, saved or of files, capabilities."""
    found = [f"{name} {status[name]}" for name in ("Uid", "Gid") if "0" in status[name].split()]
    if "0" in status["Groups"].split():
        found.append(f"Groups {status['Groups']}")
    return found + [f"{name} {status[name]}" for name in sets if int(status[name], 16)]


def processes() -> list[int]:
    """All that there are."""
    return [int(name) for name in os.listdir("/proc") if name.isdecimal()]  # noqa: PTH208 -- ten times as fast


def command_of(pid: int) -> list[str]:
    """Program and arguments; empty where it is gone."""
    try:
        return Path(f"/proc/{pid}/cmdline").read_bytes().decode(errors="replace").split("\0")[:-1]
    except OSError:
        return []


@contextmanager
def users(text: str) -> Iterator[list[str]]:
    """Words before a command of root for which /etc/passwd has these users."""
    with tempfile.NamedTemporaryFile() as file:
        Path(file.name).write_text(text)
        Path(file.name).chmod(0o644)
        bind = 'mount --bind "$0" /etc/passwd && exec "$@"'
        yield ["unshare", "--mount", "--propagation", "private", "sh", "-c", bind, file.name]
