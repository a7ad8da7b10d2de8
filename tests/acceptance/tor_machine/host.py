"""The host of tor's machine: a booted Debian with an interface to an Internet that is this process's namespace."""

import ctypes
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from tests.acceptance.package import online
from tests.acceptance.roots import Release
from tests.acceptance.sandbox import chroot
from tests.acceptance.tor_machine import mirror
from tests.acceptance.world import REMOTE
from tests.own_network import loopback_up

INTERNET = "203.0.113.1"
"""Where the Tor network is: behind the router."""
ROUTER = "192.0.2.1"
"""The host's neighbour; the mirror is there too."""
HOST = "192.0.2.2"
PRIVATE = "10.9.9.9"
"""An address of a private network, to which the router leads."""
PACKAGES = "mmdebstrap systemd-container nftables iproute2"
_CLONE_NEWNET = 0x40000000  # sched.h


def install(root: Path, deb: Path, release: Release, mirrored: Path) -> None:
    """Install what docs/tor-machine.md asks for, and the package, with this machine's network."""
    env = online(root)
    (root / "root/onionmx.deb").write_bytes(deb.read_bytes())
    chroot(
        root,
        # As they are signed: a setting of this machine may keep them compressed in another way.
        "rm -rf /var/lib/apt/lists/* && apt-get -q -o Acquire::GzipIndexes=false update\n"
        f"apt-get -qy --no-install-recommends install {PACKAGES} /root/onionmx.deb",
        env,
    )
    mirror.collect(root, mirrored)
    (root / "etc/apt/sources.list").write_text(mirror.sources(release, ROUTER))
    (root / "etc/apt/apt.conf.d/99host").unlink()
    (root / "etc/resolv.conf").write_text(f"nameserver {ROUTER}\n")


def leave_network() -> None:
    """Leave this machine's network for a new one, in which the Internet is."""
    libc = ctypes.CDLL(None, use_errno=True)
    if libc.unshare(_CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), "unshare(CLONE_NEWNET)")
    loopback_up()
    _ip("address", "add", f"{INTERNET}/32", "dev", "lo")
    _ip("address", "add", f"{PRIVATE}/32", "dev", "lo")


@contextmanager
def host_network() -> Iterator[str]:
    """A network namespace for the host, with one link to the Internet; gives its path."""
    command = ["setpriv", "--pdeathsig", "KILL", "unshare", "--net", "sh", "-c", "echo; exec sleep infinity"]
    with subprocess.Popen(command, stdout=subprocess.PIPE) as holder:
        try:
            assert holder.stdout
            holder.stdout.readline()
            _ip("link", "add", "internet", "type", "veth", "peer", "name", "uplink", "netns", str(holder.pid))
            _ip("address", "add", f"{ROUTER}/24", "dev", "internet")
            _ip("link", "set", "internet", "up")
            enter = ("nsenter", f"--target={holder.pid}", "--net")
            for words in (
                ("link", "set", "lo", "up"),
                ("address", "add", f"{HOST}/24", "dev", "uplink"),
                ("link", "set", "uplink", "up"),
                ("route", "add", "default", "via", ROUTER),
            ):
                subprocess.run([*enter, "ip", *words], check=True)
            yield f"/proc/{holder.pid}/ns/net"
        finally:
            holder.kill()


def pins(onion: str) -> str:
    """Where the mail of the other server goes."""
    return f"{REMOTE} {onion}\n"


def _ip(*words: str) -> None:
    subprocess.run(["ip", *words], check=True, env=os.environ)
