"""The daemons of onionmx that run: as whom, with which rights, and in what."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from itertools import pairwise
from operator import or_
from pathlib import PurePath

from onionmx.doctor.finding import AS_ROOT, Finding, not_checked, ok, problem, warning
from onionmx.doctor.isolation.container import is_mapped, machine_of, mounts_of
from onionmx.doctor.isolation.process import Process, Seen, listed, names_of

DAEMONS = ("relay", "serve", "guard", "watch", "echo")
POD, UNITS = "pod", "units"
NEW_PRIVILEGES = "a program that is set-user-ID would give it more rights"
"""Why PR_SET_NO_NEW_PRIVS matters."""
_FIRST = 5  # words in which program and command are: python -I -m onionmx relay
_WITHOUT_UNITS = "start it as an ordinary user, without capabilities and new privileges (docs/isolation.md)"


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where this command runs.

    Attributes:
        seen: all processes.
        is_booted: whether systemd runs here, so that each daemon should have its unit.
        made_by: what made the container that this is; empty where it is none.
    """

    seen: Seen
    is_booted: bool
    made_by: str

    @property
    def way(self) -> str:
        """How what runs beside this command is kept apart."""
        if self.is_booted:
            return UNITS
        return POD if self.made_by else "no units"

    @property
    def place(self) -> str:
        """What this is, where it has no units."""
        return "this container" if self.made_by else "this host"

    @property
    def root(self) -> str:
        """What root is here."""
        return "root of this user namespace" if is_mapped(self.seen.own.uid_map) else "root"


def daemon_of(words: Sequence[str]) -> str:
    """Which daemon of onionmx a command line starts; empty for none.

    Args:
        words: of the command; `sudo onionmx relay` is sudo.
    """
    program = PurePath(words[0]).name if words else ""
    if program != "onionmx" and not program.startswith("python"):
        return ""
    for word, command in pairwise(words[:_FIRST]):
        if PurePath(word).name == "onionmx":
            return command if command in DAEMONS else ""
    return ""


def judge_daemons(check: str, here: Surroundings) -> list[Finding]:
    """Judge each daemon that runs.

    Args:
        check: name of the check.
        here: where they are.
    """
    found: dict[tuple[str, str], list[Process]] = {}
    for process in here.seen.all:
        if name := daemon_of(process.words):
            found.setdefault((name, process.cgroup), []).append(process)
    findings = [
        finding
        for (name, _), processes in sorted(found.items())
        for finding in _judge(check, f"onionmx {name}", processes, here)
    ]
    if not here.seen.is_complete:
        unseen = f"{here.way}: this user does not see the daemons of other users"
        return [*findings, not_checked(check, unseen, AS_ROOT)]
    return findings or [not_checked(check, f"{here.way}: no daemon of onionmx runs here")]


def _judge(check: str, name: str, processes: Sequence[Process], here: Surroundings) -> list[Finding]:
    first = processes[0]
    is_inside = bool(first.is_apart(here.seen.own, "pid"))
    is_unit = here.is_booted and not is_inside
    what = f"{POD if is_inside else here.way}: {name} ({listed(processes)})"
    fix = _fix(name, processes) if is_unit else _WITHOUT_UNITS
    faults = [*_rights(check, what, fix, processes, here)]
    if is_unit and not first.service:
        why = "the limits of its unit do not hold: it sees all files and processes that its user sees"
        faults.append(warning(check, f"{what} runs outside of a unit", fix, why))
    if is_inside and (mounts := mounts_of(first.pid)) and mounts.engines:
        faults.append(engine_problem(check, what, mounts.engines))
    where = first.service if is_unit else here.place
    if is_inside:
        where = machine_of(first.cgroup) or "a container"
    return faults or [ok(check, f"{what} in {where}: user {first.user}, no capability, no new privileges")]


def _rights(check: str, what: str, fix: str, processes: Sequence[Process], here: Surroundings) -> Iterator[Finding]:
    if any(0 in process.status.users for process in processes):
        judge = warning if is_mapped(here.seen.own.uid_map) else problem
        yield judge(check, f"{what} runs as {here.root}", fix, "a fault in it would give away all that root may do")
        return
    if held := reduce(or_, (process.status.capabilities for process in processes)):
        own = processes[0].is_apart(here.seen.own, "user")
        where = " in a user namespace of its own" if own else ""
        why = "what it may do by its capabilities, a fault in it may do"
        yield (warning if own else problem)(check, f"{what} has {names_of(held)}{where}", fix, why)
    if not all(process.status.no_new_privileges for process in processes):
        yield warning(check, f"{what} may get new privileges", fix, NEW_PRIVILEGES)


def engine_problem(check: str, what: str, sockets: Sequence[str]) -> Finding:
    """The sockets of container engines that something can reach."""
    why = "anyone who can use it can make a container with all files of its owner, who is mostly root"
    return problem(check, f"{what} can reach {', '.join(sockets)}", "the container: no volume with that socket", why)


def _fix(name: str, processes: Sequence[Process]) -> str:
    if service := processes[0].service:
        return f"systemctl cat {service}   # which line gives it that\nsystemctl restart {service}"
    numbers = " ".join(str(process.pid) for process in processes)
    return f"kill {numbers}\nsystemctl start {name.replace(' ', '-')}.service"
