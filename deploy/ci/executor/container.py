"""The container of a job, by podman's command line, as the user who runs the runner."""

import fcntl
import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO

from .cgroups import held
from .failures import SystemFailure
from .job import Job
from .settings import NETWORKS, Settings, runtime

LABEL = "onionmx-ci"
SHARED = "/run/onionmx-ci"
"""Where a job finds its script and its secrets."""
USER = "1000:1000"
"""Who runs the job in the container: not root, not even that of a namespace."""
IDS = 4096
"""How many user ids a container has: others than any other container, and the runner's is not among them."""
FIRST_USER = f"{IDS - 1}:{IDS - 1}"
"""Who runs its process 1: another, or a job could make it its own (ptrace(2)), and it outlives every stage."""
SHM_MB = 64
"""Size of /dev/shm, podman's own default; podman 5 makes it read-only with the root if it is not asked for."""
STARTED = b"started\n"
_MARKER = 3
"""The descriptor for that: podman passes on those from 3 on (podman-exec(1), --preserve-fds)."""
_MIB = 2**20
# Process 1 is ours, whatever entry point image or job name. It outlives what it started, and takes in orphans.
_FIRST = "while :; do sleep 3600 & wait; done"
# Says that the job's script begins, before one byte of it runs: podman's own exit codes are 125 to 127, and a script
# may end with the same (podman-exec(1)).
_BEGIN = f"echo started >&{_MARKER}; exec {_MARKER}>&-; exec /bin/sh {SHARED}/script"


def _environment() -> dict[str, str]:
    """Nothing of what the runner hands over: names and values of CUSTOM_ENV_* are the job's."""
    home = pwd.getpwuid(os.getuid()).pw_dir
    bus = f"unix:path={runtime()}/bus"
    path = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    return {
        "PATH": path,
        "HOME": home,
        "XDG_RUNTIME_DIR": str(runtime()),
        "DBUS_SESSION_BUS_ADDRESS": bus,
        "LANG": "C.UTF-8",
    }


def podman(*words: str, lock: Path | None = None) -> str:
    """Run podman; return what it printed.

    Args:
        words: its arguments.
        lock: a file that is locked as long as podman runs, which then outlives an executor that is killed: half-way,
            podman leaves processes of which it knows nothing.

    Raises:
        SystemFailure: it failed.
    """
    done = subprocess.run(
        [*(["flock", "--close", str(lock)] if lock else []), "podman", *words],
        env=_environment(),
        cwd="/",
        stdin=subprocess.DEVNULL,
        capture_output=True,
        check=False,
        start_new_session=lock is not None,
    )
    if done.returncode:
        said = done.stderr.decode(errors="replace").strip().splitlines()
        raise SystemFailure(f"podman {words[0]}: exit code {done.returncode}: {said[-1] if said else ''!a}")
    return done.stdout.decode(errors="replace").strip()


def options(settings: Settings, job: Job, shared: Path) -> list[str]:
    """What `podman run` is given for a job, image excepted."""
    limits = (
        [
            *("--memory", f"{settings.memory_mb}m", "--memory-swap", f"{settings.memory_mb}m"),
            *("--pids-limit", str(settings.processes), "--cpus", str(settings.cpus)),
        ]
        if settings.cgroups
        else ["--pids-limit", "0"]
    )
    sizes = {"/builds": settings.builds_mb, "/cache": settings.cache_mb, "/tmp": settings.tmp_mb, "/dev/shm": SHM_MB}  # noqa: S108
    return [
        *("--detach", "--name", job.name, "--label", f"{LABEL}={job.number}", "--pull", "never"),
        *("--user", FIRST_USER, "--userns", f"auto:size={IDS}", "--cap-drop", "all"),
        # Programs such as ssh-keygen do nothing for a user without a name.
        *("--passwd-entry", f"job:*:{USER}::/builds:/bin/sh"),
        *("--security-opt", "no-new-privileges", "--network", NETWORKS[settings.network]),
        # Podman would pass on this host's proxies with their passwords, and make volumes that the image asks for.
        *("--http-proxy=false", "--image-volume", "ignore", "--no-healthcheck", "--log-driver", "none"),
        *("--read-only", "--read-only-tmpfs=false"),
        *(f"--tmpfs={path}:rw,nosuid,nodev,exec,mode=1777,size={size}m" for path, size in sizes.items()),
        *("--volume", f"{shared}:{SHARED}:ro,nosuid,nodev,noexec"),
        *limits,
        *("--ulimit", f"nproc={settings.processes}:{settings.processes}", "--ulimit", "nofile=4096:4096"),
        *("--ulimit", f"data={settings.memory_mb * _MIB}:{settings.memory_mb * _MIB}", "--ulimit", "core=0:0"),
        *("--workdir", "/builds", "--env", "HOME=/builds"),
    ]


def start(settings: Settings, job: Job, shared: Path, lock: Path) -> None:
    """Start the container of a job, which then does nothing, and see that its limits hold.

    Args:
        settings: how much it may have.
        job: whose it is.
        shared: the folder that it may read; without that folder, nothing is started.
        lock: locked meanwhile.

    Raises:
        SystemFailure: podman failed, or this host does not enforce the limits.
    """
    first = ["--entrypoint", f'["/bin/sh","-c","{_FIRST}"]']
    podman("run", *options(settings, job, shared), *first, job.image, lock=lock)
    if settings.cgroups:
        lines = Path(f"/proc/{_process(job)}/cgroup").read_text()
        wanted = {"memory.max": settings.memory_mb * _MIB, "pids.max": settings.processes}
        if missing := [name for name, limit in wanted.items() if not held(lines, name, limit)]:
            raise SystemFailure(f"this host does not enforce {', '.join(missing)}: docs/ci.md, or cgroups = false")


def is_running(job: Job) -> bool:
    """Whether the container still runs.

    Raises:
        SystemFailure: podman does not say.
    """
    return _process(job) != "0"


def execute(job: Job) -> int | None:
    """Run the script; return its exit code, or None if podman has not come to it.

    Raises:
        SystemFailure: a signal has ended podman, so that nobody knows how the script ends.
    """
    read, write = os.pipe()
    kept = fcntl.fcntl(read, fcntl.F_DUPFD_CLOEXEC, 10)
    os.close(read)
    if write != _MARKER:
        os.dup2(write, _MARKER)
        os.close(write)
    words = [*_exec(job, "--preserve-fds", "1"), "/bin/sh", "-c", _BEGIN]
    try:
        done = subprocess.run(
            words, env=_environment(), cwd="/", stdin=subprocess.DEVNULL, pass_fds=[_MARKER], check=False
        )
    finally:
        os.close(_MARKER)
    if done.returncode < 0:
        os.close(kept)
        raise SystemFailure(f"podman exec: ended by signal {-done.returncode}")
    with os.fdopen(kept, "rb") as marker:
        return done.returncode if marker.read(len(STARTED)) == STARTED else None


def _exec(job: Job, *options: str) -> list[str]:
    return ["podman", "exec", "--user", USER, *options, job.name]


def end_processes(job: Job) -> None:
    """Kill all processes of the container but process 1, from outside: it takes none of the job's processes to do.

    Raises:
        SystemFailure: podman failed.
    """
    process = _process(job)
    # All of a namespace is killed: it must be that of the container, also if its process 1 has just ended.
    if process != "0" and _is_first(process):
        podman("unshare", "nsenter", "--target", process, "--pid", "sh", "-c", "kill -9 -1")


def _is_first(process: str) -> bool:
    """Whether a process is number 1 in a namespace below ours (proc(5), NSpid)."""
    try:
        lines = Path(f"/proc/{process}/status").read_text().splitlines()
    except OSError:
        return False
    numbers = next((line.split()[1:] for line in lines if line.startswith("NSpid:")), [])
    return len(numbers) > 1 and numbers[-1] == "1"


def unpack(job: Job, archive: IO[bytes]) -> bool:
    """Unpack a cache, in the container; tell whether that worked."""
    words = [*_exec(job, "--interactive"), "tar", "-x", "-C", "/cache", "-f", "-"]
    return subprocess.run(words, env=_environment(), cwd="/", stdin=archive, check=False).returncode == 0


def pack(job: Job) -> "subprocess.Popen[bytes]":
    """Begin to pack the cache, in the container."""
    words = [*_exec(job), "tar", "-c", "-C", "/cache", "-f", "-", "."]
    return subprocess.Popen(words, env=_environment(), cwd="/", stdin=subprocess.DEVNULL, stdout=subprocess.PIPE)


def remove(names: Sequence[str]) -> None:
    """Remove containers with all that runs in them; those that are not there are no fault.

    Raises:
        SystemFailure: podman failed, or one is still there.
    """
    if names:
        podman("rm", "--force", "--ignore", "--volumes", "--time", "0", *names)
    left = set(existing()) & set(names)
    if left:
        raise SystemFailure(f"still there: {', '.join(sorted(left))}")


def existing() -> list[str]:
    """The names of all containers of jobs, running or not."""
    return podman("ps", "--all", "--filter", f"label={LABEL}", "--format", "{{.Names}}").split()


def _process(job: Job) -> str:
    return podman("container", "inspect", "--format", "{{.State.Pid}}", job.name)
