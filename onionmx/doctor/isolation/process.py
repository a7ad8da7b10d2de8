"""Processes as the kernel shows them (proc(5)): their users, rights, units and namespaces.

What a process says of itself is not believed, but for its name: nobody but root can take the others away.
"""

import os
import pwd
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

PROC = Path("/proc")
NAMESPACES = ("pid", "user", "net", "mnt")
"""Of namespaces(7), those that keep a process from others: processes, users, networks, files."""
_GONE = (FileNotFoundError, ProcessLookupError)
_RIGHTS = ("CapEff", "CapPrm", "CapAmb")  # capabilities(7); what is only inheritable or bounding gives nothing
_UNIT = (".service", ".scope")
_CAPABILITIES = """\
CHOWN DAC_OVERRIDE DAC_READ_SEARCH FOWNER FSETID KILL SETGID SETUID SETPCAP LINUX_IMMUTABLE NET_BIND_SERVICE
NET_BROADCAST NET_ADMIN NET_RAW IPC_LOCK IPC_OWNER SYS_MODULE SYS_RAWIO SYS_CHROOT SYS_PTRACE SYS_PACCT SYS_ADMIN
SYS_BOOT SYS_NICE SYS_RESOURCE SYS_TIME SYS_TTY_CONFIG MKNOD LEASE AUDIT_WRITE AUDIT_CONTROL SETFCAP MAC_OVERRIDE
MAC_ADMIN SYSLOG WAKE_ALARM BLOCK_SUSPEND AUDIT_READ PERFMON BPF CHECKPOINT_RESTORE"""
"""By their numbers (include/uapi/linux/capability.h)."""


@dataclass(frozen=True, slots=True)
class Status:
    """Of `/proc/PID/status`.

    Attributes:
        name: of the program, as it is or as it calls itself.
        users: real, effective, saved and for files, as numbers of this user namespace.
        capabilities: that it has, as a mask; they count in its own user namespace.
        no_new_privileges: whether no program that it runs can have more rights (`PR_SET_NO_NEW_PRIVS`).
        depth: how many PID namespaces it is in, from the one of this `/proc` on.
    """

    name: str
    users: frozenset[int]
    capabilities: int
    no_new_privileges: bool
    depth: int


@dataclass(frozen=True, slots=True)
class Process:
    """One process.

    Attributes:
        pid: its number here.
        status: what the kernel says of it.
        words: its command line, which it may have changed.
        cgroup: its control group, a path; systemd makes one for each unit.
        uid_map: which users its user namespace has (user_namespaces(7)).
        namespaces: their numbers, by their kinds; empty where this user may not look at them.
    """

    pid: int
    status: Status
    words: tuple[str, ...]
    cgroup: str
    uid_map: str
    namespaces: Mapping[str, int]

    @property
    def unit(self) -> str:
        """The unit of systemd, such as `tor@default.service`, or `session-1.scope` of somebody who is logged in."""
        return next((part for part in reversed(self.cgroup.split("/")) if part.endswith(_UNIT)), "")

    @property
    def service(self) -> str:
        """The same, but nothing for what a user has started."""
        return self.unit if self.unit.endswith(".service") and "user.slice" not in self.cgroup.split("/") else ""

    @property
    def user(self) -> str:
        """The name of its user, or his number."""
        uid = max(self.status.users)
        try:
            return pwd.getpwuid(uid).pw_name
        except KeyError:
            return str(uid)

    def is_apart(self, other: "Process", kind: str) -> bool | None:
        """Whether it has another namespace of this kind than the other one; `None` where it cannot be told."""
        if kind in self.namespaces and kind in other.namespaces:
            return self.namespaces[kind] != other.namespaces[kind]
        if kind == "pid":
            return self.status.depth != other.status.depth
        if kind == "user":  # one that maps all users like this one may still be another
            return True if self.uid_map != other.uid_map else None
        return None


@dataclass(frozen=True, slots=True)
class Seen:
    """The processes that this user may see.

    Attributes:
        own: this one.
        all: each of them.
        is_complete: whether there are no others.
    """

    own: Process
    all: tuple[Process, ...]
    is_complete: bool


def look_at_processes() -> Seen:
    """Read all of them."""
    found: list[Process] = []
    is_complete = False
    for pid in (int(name) for name in os.listdir(PROC) if name.isdecimal()):  # noqa: PTH208
        try:
            process = read_process(pid)
        except PermissionError:
            return Seen(_own(), tuple(found), is_complete=False)
        is_complete = is_complete or pid == 1  # mounted with hidepid=, /proc shows a user his own ones only
        if process is not None:
            found.append(process)
    return Seen(_own(), tuple(found), is_complete)


def read_process(pid: int) -> Process | None:
    """One process; `None` when it has ended.

    Raises:
        PermissionError: this user may not see it.
    """
    folder = PROC / str(pid)
    try:
        status = parse_status((folder / "status").read_text(errors="replace"))
        words = (folder / "cmdline").read_bytes().decode(errors="replace").rstrip("\0")
        cgroup = parse_cgroup((folder / "cgroup").read_text(errors="replace"))
        uid_map = (folder / "uid_map").read_text()
    except (*_GONE, ValueError):
        return None
    namespaces = {}
    with suppress(PermissionError, *_GONE):
        namespaces = {kind: (folder / "ns" / kind).stat().st_ino for kind in NAMESPACES}
    return Process(pid, status, tuple(words.split("\0")), cgroup, " ".join(uid_map.split()), namespaces)


def parse_status(text: str) -> Status:
    """Read `/proc/PID/status`.

    Raises:
        ValueError: it is not of that form.
    """
    values = {key: value.strip() for key, _, value in (line.partition(":") for line in text.split("\n"))}
    try:
        users = frozenset(int(number) for number in values["Uid"].split())
        capabilities = 0
        for key in _RIGHTS:
            capabilities |= int(values[key], 16)
        no_new_privileges = values["NoNewPrivs"] == "1"
    except KeyError as error:
        raise ValueError(f"/proc/PID/status without {error}") from error
    if not users:
        raise ValueError("/proc/PID/status without a user")
    return Status(values["Name"], users, capabilities, no_new_privileges, len(values.get("NSpid", "1").split()))


def parse_cgroup(text: str) -> str:
    """The path in systemd's tree of `/proc/PID/cgroup` (cgroups(7)): that of version 2, or else systemd's own."""
    paths: dict[str, str] = {}
    for line in text.splitlines():
        number, _, rest = line.partition(":")
        controllers, _, path = rest.partition(":")
        paths["0" if number == "0" else controllers] = path
    return next((path for key in ("0", "name=systemd") if (path := paths.get(key, "/")) != "/"), "/")


def names_of(mask: int) -> str:
    """Capabilities as a person writes them.

    Args:
        mask: as in `/proc/PID/status`.
    """
    names = dict(enumerate(_CAPABILITIES.split()))
    held = (number for number in range(mask.bit_length()) if mask >> number & 1)
    return ", ".join(f"CAP_{names.get(number, number)}" for number in held)


def listed(processes: Iterable[Process]) -> str:
    """`process 12` or `processes 12, 13`."""
    numbers = [str(process.pid) for process in processes]
    return f"process{'es' if len(numbers) > 1 else ''} {', '.join(numbers)}"


def _own() -> Process:
    own = read_process(os.getpid())
    if own is None:
        raise ProcessLookupError("/proc does not show this process")
    return own
