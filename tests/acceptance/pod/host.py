"""A host with podman and an ordinary user on it: a root of Debian in a mount namespace of its own."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tests.acceptance.sandbox import chroot
from tests.e2e.daemon import wait_until

USER = "builder"
HOME = f"/home/{USER}"
UID = 1000
FIRST_SUBUID = 100_000
RUNTIME = f"/run/user/{UID}"
PACKAGES = ("podman", "buildah", "mmdebstrap", "runc", "uidmap", "catatonit", "systemd", "binutils", "dpkg-dev")
# What a machine inside a machine needs: cgroups of version 2 that systemd does not manage, limits below those of the
# processes above it, no journal.
_CONTAINERS = """\
[containers]
default_ulimits = ["nofile=1024:1024", "nproc=4096:4096"]
log_driver = "k8s-file"
[engine]
runtime = "runc"
cgroup_manager = "cgroupfs"
events_logger = "file"
"""
_PREPARE = f"""\
apt-get -q update
apt-get -qy --no-install-recommends install {" ".join(PACKAGES)}
useradd --create-home --uid {UID} --shell /bin/bash {USER}
grep -q '^{USER}:{FIRST_SUBUID}:' /etc/subuid
mkdir -p {HOME}/.config/containers /run/systemd/system
cat >{HOME}/.config/containers/containers.conf <<'END'
{_CONTAINERS}END
printf '[storage]\\ndriver = "overlay"\\n' >{HOME}/.config/containers/storage.conf
chown -R {USER}: {HOME}
install -d -o {USER} -m 0700 {RUNTIME}
podman --version | sed 's/^/version: /; s/ version//'
buildah --version | sed 's/^/version: /; s/ version//; s/ (.*//'
"""
# A chroot may have no user namespaces (user_namespaces(7)).
_PIVOT = """\
cd "$1" && mkdir -p old && mount -t cgroup2 cgroup2 sys/fs/cgroup && pivot_root . old && umount -l /old
mkdir -p /sys/fs/cgroup/user && chown -R builder /sys/fs/cgroup/user
echo ready && exec sleep infinity"""
_PATH = "/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"


def prepare(root: Path, env: dict[str, str]) -> None:
    """Install what the user needs, as docs/pod.md says.

    What podman keeps is on a file system that its overlay can lie on, as on other hosts: the root is an overlay itself.
    """
    place = root / f"{HOME}/.local/share/containers".lstrip("/")
    place.mkdir(parents=True)
    storage = root.with_name("storage")
    storage.mkdir()
    subprocess.run(["mount", "--bind", storage, place], check=True)
    chroot(root, _PREPARE, env)


@dataclass(frozen=True)
class Host:
    """The host while its namespaces are there.

    Args:
        root: its files.
        pid: of a process in its namespaces.
    """

    root: Path
    pid: int

    def command(self, *words: str, first: str = "") -> list[str]:
        """How to run something as the user.

        Args:
            first: what root does in a shell before.
        """
        environment = (f"HOME={HOME}", f"USER={USER}", f"PATH={_PATH}", f"XDG_RUNTIME_DIR={RUNTIME}", "LANG=C.UTF-8")
        return [
            *("nsenter", f"--target={self.pid}", "--mount", "sh", "-euc", f'{first or ":"}; exec "$@"', "sh"),
            *("setpriv", f"--reuid={USER}", f"--regid={USER}", "--init-groups"),
            *("env", "-i", f"--chdir={HOME}", *environment, *words),
        ]

    def run(self, script: str, *, check: bool = True) -> str:
        """Run a shell script as the user, and return what it prints."""
        print(f"$ {script}", flush=True)
        done = subprocess.run(
            self.command("bash", "-euc", script),
            check=False,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            text=True,
        )
        if done.stdout:
            print(done.stdout, flush=True)
        if check and done.returncode:
            raise RuntimeError(f"exit code {done.returncode}: {script}")
        return done.stdout.strip()

    def inspect(self, name: str, kind: str = "container") -> Any:  # noqa: ANN401 -- podman's JSON
        """What podman says of a container or an image."""
        command = self.command("podman", kind, "inspect", name)
        [found] = json.loads(subprocess.run(command, check=True, stdout=subprocess.PIPE).stdout)
        return found

    def path(self, name: str) -> Path:
        """Where a file of the host is."""
        return self.root / name.lstrip("/")

    @contextmanager
    def user_manager(self) -> Iterator[None]:
        """Run the user's systemd, which a login or `loginctl enable-linger` would start."""
        enter = "echo $$ >/sys/fs/cgroup/user/cgroup.procs"
        command = self.command("/usr/lib/systemd/systemd", "--user", first=enter)
        with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=sys.stdout, stderr=sys.stderr) as process:
            try:
                wait_until(self.path(f"{RUNTIME}/systemd/private").exists, "the user's systemd")
                yield
            finally:
                process.terminate()


@contextmanager
def host(root: Path) -> Iterator[Host]:
    """Enter the root as its own machine would; what runs there ends with the namespaces of this part."""
    command = ["unshare", "--mount", "--propagation", "private", "sh", "-euc", _PIVOT, "sh", str(root)]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, text=True) as holder:
        try:
            if holder.stdout is None or holder.stdout.readline() != "ready\n":
                raise RuntimeError(f"{root} cannot be entered")
            yield Host(root, holder.pid)
        finally:
            holder.kill()
