"""Where tor is: in its unit, in a machine or a container of its own, or on another host."""

from collections.abc import Iterator, Sequence
from ipaddress import ip_address
from pathlib import Path

from onionmx.config import UNIX, TorSection
from onionmx.doctor.finding import AS_ROOT, Finding, not_checked, ok, problem, warning
from onionmx.doctor.isolation.container import machine_of, mounts_of
from onionmx.doctor.isolation.daemons import NEW_PRIVILEGES, POD, Surroundings, engine_problem
from onionmx.doctor.isolation.listening import IP, Listener, at_path, at_port, is_here
from onionmx.doctor.isolation.process import Process, listed, names_of
from onionmx.doctor.isolation.way import interface_to, is_wireguard
from onionmx.doctor.machine import RESTART
from onionmx.errors import TemporaryError
from onionmx.net.names import find_host
from onionmx.net.users import is_believed
from onionmx.tor.reach import socks_in_use

_NAME = "tor"
_MACHINE, _HOST = "own machine", "separate host"
_PAGE = "docs/isolation.md"
_SHARED = {
    "user": ("user", "root there is root of this host"),
    "net": ("network", "a fault in tor reaches all ports of this host, those of 127.0.0.1 too"),
    "mnt": ("mount", "a fault in tor reaches the files of this host"),
}
"""Kinds of namespaces(7): their names, and what comes of sharing one."""


def judge_tor(check: str, settings: TorSection, here: Surroundings) -> list[Finding]:
    """Find the process that is behind `tor.socks`, and judge what it is in.

    Args:
        check: name of the check.
        settings: where tor's ports are.
        here: where this command is.
    """
    where = socks_in_use(settings.socks)
    try:
        listener, far = _find(where, here)
    except TemporaryError as error:
        return [not_checked(check, f"{here.way}: {error}", AS_ROOT)]
    if far:
        return [_elsewhere(check, where, far, here)]
    if listener is None:
        return [not_checked(check, f"{here.way}: nothing listens at {where}, where tor should", cause="socks")]
    process = listener.process
    if process is None or not _is_tor(process, settings.user):
        return [_unseen(check, where, process, here)]
    if process.is_apart(here.seen.own, "pid"):
        return list(_apart(check, process, settings.user, here))
    return list(_beside(check, process, settings.user, here))


def _find(where: str, here: Surroundings) -> tuple[Listener | None, list[IP]]:
    """Who listens there, or the addresses of another system.

    Raises:
        TemporaryError: it cannot be told.
    """
    if where.startswith(UNIX):
        return at_path(Path(where.removeprefix(UNIX)), here.seen), []
    addresses, port = resolve(where)
    for address in addresses:
        if (listener := at_port(address, port, _NAME, here.seen)) is not None:
            return listener, []
    if any(is_here(address) for address in addresses):
        return None, []
    if not here.seen.is_complete:
        raise TemporaryError(f"this user does not see whether {where} is a machine of this host or another host")
    return None, addresses


def resolve(where: str) -> tuple[list[IP], int]:
    """The addresses of a port that is written with an address or the name of a host.

    Raises:
        TemporaryError: the system finds none.
    """
    host, _, port = where.rpartition(":")
    return [ip_address(address.partition("%")[0]) for address in find_host(host.strip("[]"))], int(port)


def _elsewhere(check: str, where: str, addresses: Sequence[IP], here: Surroundings) -> Finding:
    ways = [interface_to(address) for address in addresses]
    if all(map(is_wireguard, ways)):
        return ok(check, f"{_HOST}: tor is at {where}, over {ways[0]}, which is WireGuard")
    if here.way == POD:
        words = f"{here.way}: tor is at {where}: another container, or another host, which cannot be told from here"
        return not_checked(check, words, f"let nobody else be on that network: {_PAGE}")
    why = "anyone who reads on that network sees mail that the onion MX takes without TLS, and to which onions it goes"
    words = f"{_HOST}: tor is at {where}: mail goes there in the clear unless the network between is private"
    return warning(check, words, f"a network that is only these two hosts', or WireGuard: {_PAGE}", why)


def _is_tor(process: Process, user: str) -> bool:
    return process.status.name == _NAME and all(is_believed(uid, (user,)) for uid in process.status.users)


def _unseen(check: str, where: str, process: Process | None, here: Surroundings) -> Finding:
    if process is not None:
        who = f"{process.status.name} ({listed([process])}, user {process.user})"
        words = f"{here.way}: {who} listens at {where}, which is not a tor of tor.user; where tor is cannot be told"
        return not_checked(check, words, "onionmx doctor --check owners")
    if here.way != POD or not here.seen.is_complete:
        return not_checked(check, f"{here.way}: the process that listens at {where} is not seen", AS_ROOT)
    return ok(check, f"{here.way}: tor is in another container: no process of this one listens at {where}")


def _apart(check: str, process: Process, user: str, here: Surroundings) -> Iterator[Finding]:
    """What is wrong with a machine or container of its own, or that nothing is."""
    place = machine_of(process.cgroup) or process.unit or "namespaces of its own"
    what = f"{_MACHINE}: tor ({listed([process])}, user {process.user}) in {place}"
    faults = [*_rights(check, what, process, user, here), *_shared(check, what, process, here)]
    if held := process.status.capabilities:
        why = "what tor may do in its namespaces, a fault in it may do"
        faults.append(warning(check, f"{what} has {names_of(held)}", f"no capability: {_PAGE}", why))
    mounts = mounts_of(process.pid)
    if mounts is None:
        faults.append(not_checked(check, f"{what}: what it has mounted is not seen", AS_ROOT))
    else:
        if mounts.engines:
            faults.append(engine_problem(check, what, mounts.engines))
        if not mounts.is_read_only:
            why = "anyone who takes over tor can leave programs there that outlast a restart"
            faults.append(warning(check, f"{what}: its root can be written", f"a read-only root: {_PAGE}", why))
    yield from faults
    if not faults:
        yield ok(check, f"{what}: users, network, processes and files of its own, no capability, a read-only root")


def _shared(check: str, what: str, process: Process, here: Surroundings) -> Iterator[Finding]:
    """The namespaces that tor has in common with this host, and those that this user may not look at."""
    hidden = []
    for kind, (words, why) in _SHARED.items():
        is_apart = process.is_apart(here.seen.own, kind)
        if is_apart is None:
            hidden.append(words)
        elif not is_apart:
            fix = f"{words} namespace of its own: {_PAGE}"
            yield warning(check, f"{what} is in the {words} namespace of this host", fix, why)
    if hidden:
        yield not_checked(check, f"{what}: this user does not see the {' and '.join(hidden)} namespace", AS_ROOT)


def _beside(check: str, process: Process, user: str, here: Surroundings) -> Iterator[Finding]:
    """What is wrong with a tor among the other processes of this system, or that nothing is."""
    what = f"{here.way}: tor ({listed([process])}, user {process.user})"
    faults = list(_rights(check, what, process, user, here))
    if here.is_booted and not process.service:
        why = "no unit limits what it sees and writes"
        faults.append(warning(check, f"{what} runs outside of a unit", "systemctl start tor@default", why))
    yield from faults
    if not faults:
        place = process.service if here.is_booted else here.place
        yield ok(check, f"{what} in {place}: not root; it shares network and files with what else is here")


def _rights(check: str, what: str, process: Process, user: str, here: Surroundings) -> Iterator[Finding]:
    restart = f"systemctl restart {process.service}" if process.service else RESTART
    if 0 in process.status.users:
        fix = f"torrc: User {user}\n{restart}"
        yield problem(check, f"{what} runs as {here.root}", fix, "a fault in tor would give away all that root may do")
    if not process.status.no_new_privileges:
        fix = f"its unit: NoNewPrivileges=yes\n{restart}"
        yield warning(check, f"{what} may get new privileges", fix, NEW_PRIVILEGES)
