"""Namespaces for one part of the acceptance: what is started or mounted in them is gone with them, however they end."""

import os
import subprocess
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO

from tests.e2e.daemon import wait_until
from tests.e2e.programs import PROJECT

_CGROUPS = Path("/sys/fs/cgroup")


class SandboxError(RuntimeError):
    """This machine lacks what namespaces for a part need."""


_running: "set[subprocess.Popen[bytes]]" = set()
_ENTER = 'echo $$ >"$1/cgroup.procs" && shift && exec "$@"'


def run_module(module: str, arguments: Sequence[str], log: IO[str], *, network: bool, timeout: float) -> int:
    """Run a module of this project in namespaces of its own; return its exit code.

    Args:
        module: its name.
        arguments: its arguments.
        log: where its output goes.
        network: whether it may use this machine's network; without, it has a loopback of its own and nothing else.
        timeout: seconds until it is killed with all that it started.
    """
    spaces = ["--mount", "--pid", "--ipc", "--uts", "--cgroup", *([] if network else ["--net"])]
    with _cgroup() as cgroup:
        command = [
            *("setpriv", "--pdeathsig", "KILL", "sh", "-c", _ENTER, "sh", str(cgroup)),
            *("unshare", *spaces, "--fork", "--kill-child=KILL", "--mount-proc", "--propagation", "private"),
            *(sys.executable, "-u", "-m", module, *arguments),
        ]
        with subprocess.Popen(command, cwd=PROJECT, stdin=subprocess.DEVNULL, stdout=log, stderr=log) as process:
            _running.add(process)
            try:
                return process.wait(timeout)
            except subprocess.TimeoutExpired:
                log.write(f"killed: not done within {timeout:g} s\n")
                return 1
            finally:
                # unshare passes no signal on, but its end is that of the namespaces.
                process.kill()
                _running.discard(process)


def kill_all() -> None:
    """End what run_module has started and not ended yet."""
    for process in list(_running):
        process.kill()


@contextmanager
def _cgroup() -> Iterator[Path]:
    """A cgroup (version 2) below that of this process."""
    mounts = (line.split() for line in Path("/proc/self/mounts").read_text().splitlines())
    mounted = next((Path(fields[1]) for fields in mounts if fields[2] == "cgroup2"), None)
    lines = Path("/proc/self/cgroup").read_text().splitlines()
    own = next((line.removeprefix("0::") for line in lines if line.startswith("0::")), None)
    if mounted is None or own is None:
        raise SandboxError("cgroups of version 2 are not mounted: mount -t cgroup2 cgroup2 /sys/fs/cgroup")
    parent = mounted / own.lstrip("/")
    for left in parent.glob("onionmx-acceptance-*"):  # by a run that was killed
        if not Path("/proc", left.name.split("-")[2]).exists():
            _remove(left)
    path = parent / f"onionmx-acceptance-{os.getpid()}-{os.urandom(4).hex()}"
    path.mkdir()
    try:
        yield path
    finally:
        # What was killed takes a moment to be gone.
        wait_until(lambda: _remove(path), f"the end of {path}")


def _remove(cgroup: Path) -> bool:
    """Remove a cgroup and those below it, which systemd in the machine has made; tell whether it is gone."""
    for folder, _, _ in os.walk(cgroup, topdown=False):
        with suppress(OSError):
            Path(folder).rmdir()
    return not cgroup.exists()


def mount(*arguments: str | Path) -> None:
    """Mount as the program of that name does."""
    subprocess.run(["mount", *arguments], check=True)


def stack(lower: Sequence[Path], upper: Path) -> Path:
    """Lay folders over each other, the first on top; what changes is written to ``upper``. Return the mount point."""
    root, work = upper.with_suffix(".root"), upper.with_suffix(".work")
    for folder in (upper, root, work):
        folder.mkdir(parents=True, exist_ok=True)
    layers = ":".join(map(str, lower))
    mount("-t", "overlay", "overlay", "-o", f"lowerdir={layers},upperdir={upper},workdir={work}", root)
    return root


def prepare_cgroups() -> None:
    """Give systemd what all of its versions take: cgroups of version 2 alone."""
    subprocess.run(["umount", "-R", _CGROUPS], check=True)
    mount("-t", "cgroup2", "cgroup2", _CGROUPS)


def chroot(root: Path, script: str, env: Mapping[str, str] | None = None) -> None:
    """Run a shell script in a root, with the file systems of the kernel and without starting daemons."""
    for kind in ("proc", "sysfs", "tmpfs"):
        target = root / {"proc": "proc", "sysfs": "sys", "tmpfs": "run"}[kind]
        if not target.is_mount():
            mount("-t", kind, kind, target)
    if not (root / "dev").is_mount():
        mount("--rbind", "/dev", root / "dev")
    policy = root / "usr/sbin/policy-rc.d"
    policy.write_text("#!/bin/sh\nexit 101\n")
    policy.chmod(0o755)
    environment = {
        "HOME": "/root",
        "PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin",
        "LANG": "C.UTF-8",
        "DEBIAN_FRONTEND": "noninteractive",
        **(env or {}),
    }
    command = ["chroot", str(root), "bash", "-euxc", script]
    try:
        subprocess.run(command, env=environment, check=True, stdin=subprocess.DEVNULL)
    finally:
        policy.unlink()
