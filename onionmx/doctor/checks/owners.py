"""Whose the ports of this machine are to which mail, passwords and questions are given."""

import pwd
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from ipaddress import ip_address
from pathlib import Path

from onionmx.config import UNIX, Configuration, parse_server, parse_socket
from onionmx.doctor.finding import Finding, not_checked, ok, problem
from onionmx.doctor.machine import Machine, in_thread
from onionmx.doctor.runner import Check, Topic
from onionmx.errors import HostError, OwnerError
from onionmx.net.names import find_host
from onionmx.net.owned_path import check_path
from onionmx.net.owner import owners
from onionmx.net.users import is_believed
from onionmx.tor.reach import socks_in_use

OWNERS = Topic(
    "owners",
    "root, tor and onionmx listen at the ports of this machine that they should",
    "while a service is down, any local user can listen on its port above 1023, and get mail, passwords and questions",
)

_DYNAMIC = range(61184, 65520)
"""Users that systemd gives to services alone (systemd.exec(5), DynamicUser=)."""
_FOLDER = "onionmx.toml: a socket in a folder such as /run/tor, where root and tor alone may write"
_ADVICE = "with local users, use unix sockets or ports below 1024 (docs/local-users.md)"


@dataclass(frozen=True, slots=True)
class Place:
    """Where something of ours listens, or tor.

    Attributes:
        setting: that names it.
        where: IP:PORT or unix:/path.
        users: besides root, the ones who may; in systemd's range of dynamic users all may that are `is_dynamic`.
        is_udp: whether the port is one of UDP.
        is_dynamic: whether a unit of ours with DynamicUser= listens there.
    """

    setting: str
    where: str
    users: tuple[str, ...]
    is_udp: bool = False
    is_dynamic: bool = False


async def look_at_owners(machine: Machine) -> Sequence[Finding]:
    """Find out who listens at each."""
    return await in_thread(lambda: judge_owners(places(machine.configuration)))


def places(configuration: Configuration) -> list[Place]:
    """All places on this machine; ports of others are believed by their address."""
    tor, relay, serve = configuration.tor, configuration.relay, configuration.serve
    found = [
        *(Place("tor.socks", where, (tor.user,)) for where in _addresses(socks_in_use(tor.socks))),
        Place("tor.dnsport", tor.dnsport, (tor.user,), is_udp=True),
        Place("tor.control", tor.control, (tor.user,)),
    ]
    ours: Mapping[str, Iterable[str]] = {
        "relay.smtp_listen": relay.smtp_listen,
        "relay.lmtp_listen": relay.lmtp_listen,
        "serve.socketmap_listen": serve.socketmap_listen,
        "serve.tcp_table_listen": serve.tcp_table_listen,
        "serve.readsocket_listen": serve.readsocket_listen,
        "serve.http_listen": serve.http_listen,
    }
    for setting, addresses in ours.items():
        user = f"onionmx-{setting.partition('.')[0]}"
        found += [Place(setting, where, (user,), is_dynamic=True) for where in addresses]
    found += [
        Place("guard.listen", where, (tor.user,))
        for where in configuration.guard.listen
        if not where.startswith(UNIX)  # who made it, only root could have let in
    ]
    return [place for place in found if place.where.startswith(UNIX) or _is_here(place.where)]


def _addresses(where: str) -> list[str]:
    """Where tor's SOCKS port is, at each address of its host; none where the host cannot be found, as `socks` tells."""
    server = parse_server(where)
    if isinstance(server, Path):
        return [where]
    host, port = server
    try:
        return [f"[{each}]:{port}" if ":" in each else f"{each}:{port}" for each in find_host(host)]
    except HostError:
        return []


def judge_owners(found: Iterable[Place]) -> list[Finding]:
    """Judge each place by who listens there."""
    seen: list[str] = []
    findings: list[Finding] = []
    for place in found:
        try:
            strangers, words = _look(place)
        except OwnerError as error:
            words = f"{place.setting} {place.where}: {error}"
            is_known = error.__cause__ is None
            findings.append(problem(OWNERS.name, words, _FOLDER) if is_known else not_checked(OWNERS.name, words))
            continue
        if strangers:
            findings.append(problem(OWNERS.name, f"{place.setting} {place.where}: {words}", _fix(place, strangers)))
        elif words:
            seen.append(f"{place.where} {words}")
    return findings or [ok(OWNERS.name, f"{', '.join(seen) or 'nobody listens anywhere yet'}; {_ADVICE}")]


def _look(place: Place) -> tuple[list[int], str]:
    """Who listens there and should not; and who does, in words that are empty where nobody does."""
    if place.where.startswith(UNIX):
        if place.is_dynamic:
            return [], ""  # who made it, only root could have let in
        check_path(Path(place.where.removeprefix(UNIX)).parent, place.users)
        return [], "in a folder where nobody else can put a socket"
    host, port = parse_socket(place.where)
    found = owners(host, port, is_udp=place.is_udp)
    if found is None:
        return [], "that only root can give"
    strangers = [
        uid for uid in found if not is_believed(uid, place.users) and not (place.is_dynamic and uid in _DYNAMIC)
    ]
    return strangers, " and ".join(dict.fromkeys(map(_name, strangers or found)))


def _fix(place: Place, strangers: Sequence[int]) -> str:
    which = "-ulnpe" if place.is_udp else "-tlnpe"
    setting = "" if place.is_dynamic else f'\nonionmx.toml: [tor] user = "{_name(strangers[0])}"   # if that is tor'
    return f"ss {which} 'sport = {parse_socket(place.where)[1]}'   # who it is{setting}"


def _name(uid: int) -> str:
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return f"user {uid}"


def _is_here(where: str) -> bool:
    return ip_address(parse_socket(where)[0]).is_loopback


CHECK = Check((OWNERS,), look_at_owners)
