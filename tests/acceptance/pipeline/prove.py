"""In a root of Debian with its own podman and without network: `inside.py`, which plays the runner."""

import subprocess
from pathlib import Path

from tests.acceptance.package import export, online
from tests.acceptance.sandbox import chroot, mount

_PACKAGES = "podman runc uidmap slirp4netns busybox-static systemd-container nftables iproute2"
_SOURCE = "root/onionmx"
# Podman makes user namespaces, which the kernel refuses in a chroot (user_namespaces(7)).
_ENTER = """
ip link set lo up
cd "$1"
pivot_root . mnt
umount -l /mnt
cd /
mount --make-rshared /
cd /root/onionmx
exec env -i PATH=/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin HOME=/root python3 -u -m tests.acceptance.pipeline.inside
"""


def prove(root: Path) -> None:
    """Do all of it in a root that may be changed.

    Raises:
        CalledProcessError: something is not as it must be; the output says what.
    """
    export(root / _SOURCE)
    install = f"apt-get -q update && apt-get -q -y --no-install-recommends install {_PACKAGES}"
    chroot(root, f"{install} && echo version: $(podman --version), $(runc --version | head -n 1)", online(root))
    mount("-t", "cgroup2", "cgroup2", root / "sys/fs/cgroup")
    command = [
        "unshare",
        "--mount",
        "--net",
        "--ipc",
        "--pid",
        "--fork",
        "--kill-child=KILL",
        "--propagation",
        "private",
    ]
    inner = ["sh", "-euc", f"mount -t proc proc {root}/proc\n{_ENTER}", "sh", str(root)]
    subprocess.run([*command, *inner], check=True, stdin=subprocess.DEVNULL)
