"""A machine with tor and an MTA, the world around it, and what is tried with the two."""

import hashlib
import stat
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from tests.e2e.daemon import wait_until
from tests.own_network import loopback_up

from .machine import Machine, MachineError
from .mta import HOSTNAME, USER, Mta
from .roots import BOOTING, MTAS
from .sandbox import chroot, prepare_cgroups, stack
from .world import LOCAL, REMOTE, World

_HOSTS = f"127.0.0.1 localhost\n::1 localhost\n127.0.1.1 {HOSTNAME} mail\n"
_TOR_DEFAULTS = "usr/share/tor/tor-service-defaults-torrc"
_JOURNAL = "journalctl -b --no-pager -n 100 | grep -v ' tor\\['"  # what tor writes there comes from `Tor[` as well
_TOR_LOG = "journalctl _SYSTEMD_INVOCATION_ID=$(systemctl show -P InvocationID tor@default)"
CLONE = "/root/onionmx"
"""Where the machine's administrator has the project, and the package in its dist/."""
DELIVERY = 120.0
"""Seconds in which a message arrives, one more try of the MTA included."""


def install(root: Path, mta: Mta) -> None:
    """Install what a mail server has before onionmx comes, without network, from the archives in the root."""
    loopback_up()  # Postfix asks for it while it is installed
    (root / "etc/hosts").write_text(_HOSTS)
    (root / "etc/hostname").write_text(f"{HOSTNAME}\n")
    (root / "root/answers").write_text(mta.answers)
    (root / "etc/apt/apt.conf.d/99yes").write_text('APT::Get::Assume-Yes "true";\n')
    packages = " ".join((*BOOTING, *MTAS[mta.name]))
    chroot(
        root,
        "debconf-set-selections </root/answers && rm /root/answers\n"
        f"apt-get -qy --no-install-recommends install {packages}\n"
        f"useradd --create-home {USER}\n"
        f"{mta.installed}\n"
        # systemctl enable makes these and disable does not take them away; most machines have them.
        "mkdir -p /etc/systemd/system/{multi-user,sockets,timers}.target.wants\n",
    )


@dataclass
class Site:
    """All of it.

    Args:
        machine: the machine, booted.
        world: what is around it.
        mta: the MTA on it.
    """

    machine: Machine
    world: World
    mta: Mta
    _messages: int = 0

    def subject(self, what: str) -> str:
        """A subject that no other message has."""
        self._messages += 1
        return f"{what} {self._messages}"

    def sends(self, recipient: str = f"bob@{REMOTE}") -> None:
        """A message goes from the machine to the onion MX of another domain."""
        subject = self.subject("sent")
        self.mta.submit(self.machine, subject, recipient)
        self.arrives(subject)

    def arrives(self, subject: str) -> None:
        """Wait until a message is at the other server."""
        self.world.receive(subject, DELIVERY)

    def receives(self) -> None:
        """A message comes to the machine through its own onion service."""
        onion = self.machine.path("/var/lib/tor/onion-mx/hostname").read_text().strip()
        self.world.tor.client.wait_until_reachable(onion, has_restarted=True)
        subject = self.subject("received")
        self.world.send(onion, f"{USER}@{LOCAL}", subject)
        wait_until(lambda: subject in self.machine.read(self.mta.mailbox), f"{subject!r} in the mailbox of {USER}")

    def works(self) -> None:
        """Mail goes out and comes in, and nobody is told of it."""
        self.tor_is_up()
        self.sends()
        self.receives()
        self.no_leak()

    def tor_is_up(self) -> None:
        """Wait until the machine's tor has joined the private network."""
        wait_until(lambda: "Bootstrapped 100%" in self.machine.read(_TOR_LOG), "the machine's tor to be ready")

    def leaks_are_seen(self) -> None:
        """Fail if the open DNS would not notice a question that the machine asks."""
        self.machine.run("getent ahosts leak.onion", check=False)
        if not self.world.dns.leaks():
            raise MachineError("a question of the machine was not seen")
        self.world.dns.forget()

    def no_leak(self) -> None:
        """Fail if the open DNS was asked about an onion service."""
        if leaks := self.world.dns.leaks():
            raise MachineError(f"{len(leaks)} questions in the open DNS: {leaks}")


@contextmanager
def site(layers: Sequence[Path], folder: Path, mta: Mta) -> Iterator[Site]:
    """Boot a machine and start the world around it."""
    prepare_cgroups()
    loopback_up()
    with World(folder) as world:
        root = stack(layers, folder / "machine")
        resolver = root / "etc/resolv.conf"
        resolver.unlink(missing_ok=True)
        resolver.write_text("nameserver 127.0.0.1\n")
        with (root / _TOR_DEFAULTS).open("a") as defaults:
            defaults.write(world.tor_defaults)
        with Machine(root, HOSTNAME) as machine:
            site = Site(machine, world, mta)
            print_versions(site)
            try:
                site.leaks_are_seen()
                yield site
                site.no_leak()
            except Exception:
                print_state(site)
                raise
            machine.power_off()


def print_state(site: Site) -> None:
    """Print what tells why something failed."""
    for command in (site.mta.queue, f"{site.mta.log} | tail -n 60", "systemctl --failed", _JOURNAL):
        print(f"--- {command}\n{site.machine.read(command)}", flush=True)
    print(f"--- questions in the open DNS\n{site.world.dns.questions()}", flush=True)


def print_versions(site: Site) -> None:
    """Print the versions of what a user would ask for, each on a line that begins with `version: `."""
    for command in (
        site.mta.version,
        "tor --version | sed -n 's/^Tor version \\(.*[^.]\\)\\.*$/tor \\1/p'",
        "python3 --version",
        "systemctl --version | sed -n 's/^\\(systemd [^ ]*\\).*/\\1/p'",
    ):
        print(f"version: {site.machine.read(command).strip()}", flush=True)


def snapshot(folder: Path) -> dict[str, str]:
    """Everything in a folder: path to kind, mode, owner and content."""
    found = {}
    for path in sorted(folder.rglob("*")):
        info = path.lstat()
        content = ""
        if path.is_symlink():
            content = str(path.readlink())
        elif path.is_file():
            content = hashlib.sha256(path.read_bytes()).hexdigest()
        found[str(path.relative_to(folder))] = f"{stat.filemode(info.st_mode)} {info.st_uid}:{info.st_gid} {content}"
    return found
