"""What keeps tor and onionmx apart on this host: units, a machine of tor's own, containers, or another host."""

from collections.abc import Sequence

from onionmx.doctor.finding import Finding, not_checked, ok, warning
from onionmx.doctor.isolation.container import Mounts, container, engines, is_booted, is_mapped, mounts_of
from onionmx.doctor.isolation.daemons import NEW_PRIVILEGES, Surroundings, engine_problem, judge_daemons
from onionmx.doctor.isolation.process import Process, look_at_processes
from onionmx.doctor.isolation.tor import judge_tor
from onionmx.doctor.isolation.units import look_at_units
from onionmx.doctor.machine import Machine, in_thread
from onionmx.doctor.runner import Check, Topic

ISOLATION = Topic(
    "isolation",
    "tor and the daemons run apart, without root and capabilities: in units, a machine of tor's own, a pod, or "
    "on another host",
    "anyone who takes over one of them has all that it can reach: docs/isolation.md says what that is",
)


async def look_at_isolation(machine: Machine) -> Sequence[Finding]:
    """Look at the processes, their units and their container."""
    name = ISOLATION.name
    here = await in_thread(lambda: Surroundings(look_at_processes(), is_booted(), container()))
    units = await look_at_units(name) if here.is_booted else []
    found = await in_thread(lambda: [*judge_tor(name, machine.configuration.tor, here), *judge_daemons(name, here)])
    if here.is_booted or not here.made_by:
        return [*found, *units]
    return [*judge_container(here.made_by, here.seen.own, mounts_of("self"), engines()), *found]


def judge_container(made_by: str, own: Process, mounts: Mounts | None, sockets: Sequence[str]) -> list[Finding]:
    """Judge the container that this command runs in.

    Args:
        made_by: what made it.
        own: this command.
        mounts: what it has mounted; `None` where that cannot be told.
        sockets: of container engines, besides those that are mounts themselves.
    """
    name, what = ISOLATION.name, f"pod: this container of {made_by}"
    faults = []
    if reached := sorted({*sockets, *(mounts.engines if mounts else ())}):
        faults.append(engine_problem(name, what, reached))
    if not is_mapped(own.uid_map):
        why = "a fault that leads out of the container leads to root of the host"
        faults.append(warning(name, f"{what} is not rootless: its root is root of the host", "docs/isolation.md", why))
    if mounts is None:
        faults.append(not_checked(name, f"{what}: what is mounted cannot be told"))
    elif not mounts.is_read_only:
        why = "anyone who takes over a daemon can change its program"
        faults.append(warning(name, f"{what}: its root can be written", "podman run --read-only", why))
    if not own.status.no_new_privileges:
        fix = "podman run --security-opt no-new-privileges"
        faults.append(warning(name, f"{what} allows new privileges", fix, NEW_PRIVILEGES))
    words = f"{what}: rootless, read-only, no new privileges, no socket of a container engine"
    notes = "; users of the host cannot be told apart in it (docs/local-users.md)"
    return faults or [ok(name, words + notes)]


CHECK = Check((ISOLATION,), look_at_isolation)
