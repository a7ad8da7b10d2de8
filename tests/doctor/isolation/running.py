"""Real processes in namespaces and with rights of their own, for the looks at them."""

import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from signal import SIGKILL
from tempfile import TemporaryDirectory

from onionmx.doctor.finding import Finding
from onionmx.doctor.isolation.process import Process, look_at_processes
from tests.e2e.daemon import Daemon
from tests.e2e.programs import PROJECT, find_program

USER = 65534
IS_ROOT = os.geteuid() == 0
AS_USER = ("setpriv", f"--reuid={USER}", f"--regid={USER}", "--clear-groups") if IS_ROOT else ("setpriv",)
"""Be an ordinary user."""
_DOCUMENT = PROJECT / "docs/isolation.md"
NO_NEW_PRIVILEGES = (*AS_USER, "--no-new-privs")
NAMESPACES = ("unshare", "--pid", "--fork", "--kill-child", "--net", "--mount")
OWN_USERS = ("unshare", "--user", "--map-current-user")
# No authority is there, so that this tor asks nobody.
_TORRC = """\
DataDirectory {folder}/data
SocksPort unix:{folder}/socks/socks WorldWritable
{more}
DirAuthority none orport=1 v3ident={one} 127.0.0.1:1 {one}
"""


@contextmanager
def open_folder() -> Iterator[Path]:
    """A folder that every user can look into, with a tor that every user can run."""
    with TemporaryDirectory(prefix="onionmx-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        shutil.copy(find_program("tor"), folder / "tor")
        (folder / "socks").mkdir(mode=0o700 if not IS_ROOT else 0o755)
        if IS_ROOT:
            for path in (folder, folder / "socks"):
                os.chown(path, USER, USER)
        yield folder


@contextmanager
def tor(folder: Path, before: Sequence[str], port: str = "") -> Iterator[Process]:
    """A real tor, behind the words of other programs; it is there when its socket is.

    Args:
        folder: one of `open_folder`.
        before: what starts it.
        port: a SocksPort by TCP.
    """
    torrc = folder / "torrc"
    torrc.write_text(_TORRC.format(folder=folder, more=f"SocksPort {port}" if port else "", one="0" * 39 + "1"))
    command = [*before, str(folder / "tor"), "-f", str(torrc), "--defaults-torrc", str(folder / "none")]
    with running(Daemon("tor", command, folder)) as daemon:
        daemon.wait_for_log("Opened Socks listener connection.*/socks")
        yield named("tor", daemon.pid)


@contextmanager
def running(daemon: Daemon) -> Iterator[Daemon]:
    """Start it, and kill it at the end: unshare hands no other signal on, and its child dies with it."""
    daemon.start()
    try:
        yield daemon
    finally:
        if daemon.running:
            daemon.signal(SIGKILL)
        daemon.stop()


def is_documented(finding: Finding) -> bool:
    """Whether docs/isolation.md shows this line, with another number, user, daemon or address."""
    text = f"{finding.severity:<13}{finding.check}: {finding.seen}"
    return _anybody(text) in map(_anybody, map(str.strip, _DOCUMENT.read_text().splitlines()))


def _anybody(line: str) -> str:
    for which in (
        r"process \d+(, [^)]+)?",
        r"(?<=user ).+(?=, no cap)",
        r"(?<=onionmx.)(relay|serve)",
        r"[\d.]+(?=:9050)",
    ):
        line = re.sub(which, "X", line)
    return line


def named(name: str, pid: int) -> Process:
    """The process of this name that this one is, or has started.

    Args:
        name: of its program.
        pid: of what started it.
    """
    processes = look_at_processes().all
    (found,) = (process for process in processes if process.status.name == name and started_by(process, pid))
    return found


def started_by(process: Process, pid: int) -> bool:
    """Whether a process is this one, or one that it has started, or that one."""
    found = [process.pid]
    while found[-1] > 1:
        try:
            fields = Path(f"/proc/{found[-1]}/stat").read_text().rpartition(")")[2].split()
        except OSError:
            break
        found.append(int(fields[1]))
    return pid in found
