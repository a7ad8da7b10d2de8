"""What the host sees: processes, files, mounts and what podman keeps; and the set-up of a host as docs/ci.md says."""

import hashlib
import os
import pwd
import signal
import subprocess
from collections.abc import Iterator, Mapping
from pathlib import Path

from tests.e2e import rights
from tests.e2e.daemon import wait_until

USER = "ci"
IMAGE = "localhost/ci:busybox"
HOSTILE_IMAGE = "localhost/ci:hostile"
PROCESSES = 64
BUILDS_MB, CACHE_MB, TMP_MB, MEMORY_MB = 16, 8, 8, 512
SETTINGS = Path("/etc/onionmx-ci/executor.toml")
SECRETS = Path("/etc/onionmx-ci/secrets")
CACHE = Path("/home/ci/cache")
RUNTIME = Path("/run/user/1000")
STATE = RUNTIME / "onionmx-ci"
_CONTAINERS = """
[containers]
default_ulimits = ["nofile=4096:4096", "nproc=4096:4096"]
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
# Overlays do not go on overlays, of which the root of this test is one.
_STORAGE = '[storage]\ndriver = "vfs"\n'
_FIRST_ID = 100_000
_PROGRAMS = "sh cat cp dd df env find id kill ln ls mkdir mount ps rm setsid sleep tar touch wget nc"


def run_as_user(*words: str, check: bool = True) -> str:
    """Run a command as the user of the runner."""
    env = {"PATH": os.environ["PATH"], "HOME": f"/home/{USER}", "XDG_RUNTIME_DIR": str(RUNTIME)}
    command = ["setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups", *words]
    return subprocess.run(command, env=env, cwd="/", check=check, stdout=subprocess.PIPE, text=True).stdout


def set_up() -> None:
    """A user, podman, two images, the executor and its settings."""
    subprocess.run(["useradd", "--create-home", "--shell", "/usr/sbin/nologin", USER], check=True)
    RUNTIME.mkdir(parents=True)
    os.chown(RUNTIME, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)
    RUNTIME.chmod(0o700)
    Path("/etc/containers/containers.conf").write_text(_CONTAINERS)
    Path("/etc/containers/storage.conf").write_text(_STORAGE)
    _make_images(Path("/tmp/image"))  # noqa: S108 - a root of its own
    library = Path("/usr/local/lib/onionmx-ci")
    library.mkdir(parents=True)
    subprocess.run(["cp", "-r", "deploy/ci/executor", library], check=True)
    subprocess.run(["install", "-m", "755", "deploy/ci/onionmx-ci", "/usr/local/bin/onionmx-ci"], check=True)
    write_settings(cgroups=False)


def offer_network() -> None:
    """Addresses of three hosts, and the device that slirp4netns needs, which Debian lets every user open."""
    for address in ("192.0.2.1", "192.0.2.2", "192.0.2.3"):
        subprocess.run(["ip", "address", "add", f"{address}/32", "dev", "lo"], check=True)
    subprocess.run(["mount", "-t", "tmpfs", "tmpfs", "/dev/net"], check=True)
    subprocess.run(["mknod", "-m", "666", "/dev/net/tun", "c", "10", "200"], check=True)


def write_settings(*, cgroups: bool, network: str = "none") -> None:
    """The settings of the test: what they allow is small."""
    SETTINGS.parent.mkdir(parents=True, exist_ok=True)
    SETTINGS.write_text(
        f"builds_mb = {BUILDS_MB}\ncache_mb = {CACHE_MB}\ntmp_mb = {TMP_MB}\nmemory_mb = {MEMORY_MB}\n"
        f'processes = {PROCESSES}\ncgroups = {str(cgroups).lower()}\nnetwork = "{network}"\n'
        f'[images]\n"{IMAGE}" = []\n"{HOSTILE_IMAGE}" = [11]\n"localhost/ci:absent" = []\n'
    )


def _make_images(folder: Path) -> None:
    (folder / "bin").mkdir(parents=True)
    subprocess.run(["cp", "/bin/busybox", folder / "bin/busybox"], check=True)
    for program in _PROGRAMS.split():
        (folder / "bin" / program).symlink_to("busybox")
    archive = folder.with_suffix(".tar")
    subprocess.run(["tar", "-C", folder, "--owner=0", "--group=0", "-cf", archive, "."], check=True)
    archive.chmod(0o644)
    run_as_user("podman", "import", "--quiet", str(archive), IMAGE)
    # Everything that an image can say for itself.
    said = ["USER 0", 'ENTRYPOINT ["/bin/sh", "-c", "exec sleep 1"]', "VOLUME /data", "ENV FROM_IMAGE=yes"]
    changes = [word for line in said for word in ("--change", line)]
    run_as_user("podman", "import", "--quiet", *changes, str(archive), HOSTILE_IMAGE)


def processes(user: int | None = None) -> list[int]:
    """All processes that run with a user id of a container or a machine, or with the one that is ``user`` in there."""
    ids = {number: int(found["Uid"].split()[0]) for number, found in _statuses()}
    return [number for number, own in ids.items() if own >= _FIRST_ID and user in (None, own % 2**16)]


def command(number: int) -> list[str]:
    """The words of a process; none when it has ended."""
    try:
        return Path(f"/proc/{number}/cmdline").read_text(errors="replace").split("\0")[:-1]
    except (FileNotFoundError, ProcessLookupError):
        return []


def clients(word: str) -> list[int]:
    """The processes of `podman WORD`."""
    return [number for number, _ in _statuses() if command(number)[:2] == ["podman", word]]


def first_process() -> int:
    """Process 1 of the only container."""
    (number,) = [number for number, status in _statuses() if status["NSpid"].split()[1:] == ["1"]]
    return number


def assert_no_rights(number: int) -> None:
    """A process has no capability, and cannot get one."""
    found = rights.status_of(number)
    assert not int(found["CapEff"], 16) | int(found["CapBnd"], 16) | int(found["CapPrm"], 16)
    assert (found["NoNewPrivs"], found["Seccomp"]) == ("1", "2")


def _statuses() -> Iterator[tuple[int, Mapping[str, str]]]:
    for number in rights.processes():
        try:
            found = rights.status_of(number)
        except (FileNotFoundError, ProcessLookupError):
            continue
        if not found["State"].startswith("Z"):
            yield number, found


def mount_points(number: int) -> set[str]:
    """Where a process has something mounted."""
    return {line.split()[4] for line in Path(f"/proc/{number}/mountinfo").read_text().splitlines()}


def used_bytes() -> int:
    """What is in all folders into which this host's disk could be written."""
    total = 0
    for top in ("/home", "/var", "/run", "/tmp", "/etc"):  # noqa: S108
        for folder, _, names in os.walk(top):
            for name in names:
                try:
                    total += Path(folder, name).lstat().st_blocks * 512
                except FileNotFoundError:
                    continue
    return total


def digests(folder: Path) -> dict[str, str]:
    """The files of a folder, each with the digest of what is in it."""
    files = [path for path in sorted(folder.rglob("*")) if path.is_file()]
    return {str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


def assert_clean() -> None:
    """Nothing is left of any job."""
    assert not run_as_user("podman", "ps", "--all", "--quiet")
    assert not run_as_user("podman", "volume", "ls", "--quiet")
    assert not processes()
    assert not list(STATE.glob("*"))
    assert not list(CACHE.glob("*.part"))


def give_to_user(*paths: Path) -> None:
    """Make files those of the user of the runner."""
    for path in paths:
        os.chown(path, pwd.getpwnam(USER).pw_uid, pwd.getpwnam(USER).pw_gid)


def end_from_outside(number: int) -> None:
    """Kill process 1 of a container, as the kernel does when memory is out."""
    os.kill(number, signal.SIGKILL)
    wait_until(lambda: not processes(), "the end of the container")
