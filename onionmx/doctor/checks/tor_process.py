"""tor itself: whether it runs and which, the clock as it shows in the consensus, what its control port says of it."""

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING

from onionmx.config import UNIX, parse_server, parse_socket
from onionmx.defaults import CONTROL as CONTROL_SOCKET
from onionmx.doctor.finding import Finding, blocking, not_checked, ok, problem, warning
from onionmx.doctor.machine import MAIL_PORT, RESTART, Machine, in_thread
from onionmx.doctor.runner import Check, Topic
from onionmx.errors import ControlError, HostError, OnionmxError, OwnerError
from onionmx.tor.reach import is_socket, reach, socks_in_use
from onionmx.tor.socks import Cause

if TYPE_CHECKING:
    from stem.control import Controller

TOR = Topic(
    "tor",
    "tor runs, is of a supported version and has reached the network",
    "without tor no mail arrives or leaves over onion services, and an outdated one can be attacked",
    essential=True,
)
CONTROL = Topic(
    "control",
    "tor's control port answers",
    "without it the onion service, tor's listeners and its version cannot be looked at",
)
CLOCK = Topic(
    "clock",
    "the clock agrees with the consensus of the Tor network",
    "with a wrong clock tor finds no valid consensus, onion services are published for the wrong day, and signatures "
    "in DNS look expired",
)
LONG_LIVED = Topic(
    "long-lived-ports",
    "LongLivedPorts contains 25",
    "tor puts long sessions on stable relays only for the ports named there; a large message otherwise breaks off more "
    "often",
)

_DEBIAN_SOCKET = CONTROL_SOCKET.removeprefix(UNIX)
_OUTDATED = {"obsolete": problem, "unrecommended": problem, "old": warning}
"""Of `GETINFO status/version/current` (control-spec), the answers that are no praise."""
_VERSION = re.compile(r"(\d+)\.(\d+)\.(\d+)\.(\d+)", re.ASCII)
_SAFE = (0, 4, 9, 11)
_IMPERSONATION = (
    "before 0.4.9.11 the relay at which client and service meet could take the place of an onion service (tor bug "
    "41297): mail for an onion MX could end there, unseen"
)
_UPGRADE = f"apt-get update && apt-get install tor && {RESTART}"
_TOLERANCE = timedelta(minutes=5)
_USABLE = timedelta(hours=24)
"""How long tor uses a consensus after its time (networkstatus.c, REASONABLY_LIVE_TIME)."""
_PROGRESS = re.compile(r"PROGRESS=(\d+)")
_SUMMARY = re.compile(r'(?:WARNING|SUMMARY)="((?:[^"\\]|\\.)*)"')
_DONE = 100  # percent


@dataclass(frozen=True, slots=True)
class TorState:
    """What tor says of itself.

    Attributes:
        version: in full.
        praise: what the directory authorities think of that version.
        bootstrap: `GETINFO status/bootstrap-phase`.
        has_circuits: whether it has ever built one since the network was last up.
        valid_after: beginning of the time of the consensus, `None` where there is none.
        valid_until: its end.
        long_lived_ports: as in torrc.
    """

    version: str
    praise: str
    bootstrap: str
    has_circuits: bool
    valid_after: datetime | None
    valid_until: datetime | None
    long_lived_ports: str


async def look_at_tor(machine: Machine) -> Sequence[Finding]:
    """Ask tor about itself."""
    now = datetime.now(UTC)
    try:
        state = await machine.ask_tor(_read_state)
    except ControlError as error:
        return await _without_control(machine, error)
    return [
        judge_tor(state),
        ok(CONTROL.name, f"{machine.configuration.tor.control} answers"),
        judge_clock(now, state.valid_after, state.valid_until),
        judge_long_lived_ports(state.long_lived_ports),
    ]


def judge_tor(state: TorState) -> Finding:
    """Whether this tor can be used."""
    match = _PROGRESS.search(state.bootstrap)
    progress = int(match[1]) if match else 0
    if progress < _DONE or not state.has_circuits:
        trouble = "; ".join(_SUMMARY.findall(state.bootstrap)) or "no circuit yet"
        return problem(
            TOR.name,
            f"tor {state.version} has not reached the network: {progress} %, {trouble}",
            "journalctl -u tor@default",
            "until tor has reached the network no mail arrives or leaves over onion services",
        )
    seen = f"tor {state.version} runs and has reached the network; status of this version: {state.praise}"
    version = _VERSION.match(state.version)
    if version and tuple(map(int, version.groups())) < _SAFE:
        lines = f"{_UPGRADE}\nwhere that has none: the packages of https://deb.torproject.org"
        return problem(TOR.name, seen, lines, _IMPERSONATION)
    if judge := _OUTDATED.get(state.praise):
        return judge(TOR.name, seen, _UPGRADE)
    return ok(TOR.name, seen)


def judge_clock(now: datetime, valid_after: datetime | None, valid_until: datetime | None) -> Finding:
    """Compare the clock with the consensus, which comes from others.

    Args:
        now: what the clock says.
        valid_after: beginning of the time of tor's consensus, `None` where tor has none.
        valid_until: its end.
    """
    fix = "timedatectl set-ntp true"
    if valid_after is None or valid_until is None:
        return not_checked(CLOCK.name, "tor has no consensus to compare the clock with")
    times = f"the clock says {_shown(now)}, the consensus is valid from {_shown(valid_after)} to {_shown(valid_until)}"
    if now < valid_after - _TOLERANCE:
        return problem(CLOCK.name, f"{times}: the clock is slow", fix)
    if now > valid_until + _USABLE:
        return problem(CLOCK.name, f"{times}: the clock is fast, or tor has been cut off for a day", fix)
    if now > valid_until:
        return warning(CLOCK.name, f"{times}: the clock is fast, or tor cannot fetch a new one", fix)
    return ok(CLOCK.name, times)


def judge_long_lived_ports(value: str) -> Finding:
    """Whether port 25 is among LongLivedPorts.

    Args:
        value: as in torrc, numbers with commas between them.
    """
    ports = [port.strip() for port in value.split(",") if port.strip()]
    if str(MAIL_PORT) in ports:
        return ok(LONG_LIVED.name, f"LongLivedPorts contains {MAIL_PORT}")
    line = f"LongLivedPorts {','.join([*ports, str(MAIL_PORT)])}"
    return warning(LONG_LIVED.name, f"LongLivedPorts is {','.join(ports) or 'empty'}: no {MAIL_PORT}", f"torrc: {line}")


def judge_control(control: str, *, is_debian: bool) -> str:
    """What makes the control port answer. A TCP port, where any local user may listen, is none of it.

    Args:
        control: as in the configuration.
        is_debian: whether the socket of Debian's tor is there.
    """
    if not control.startswith(UNIX) and not ip_address(parse_socket(control)[0]).is_loopback:
        return f"torrc: ControlPort {control}\ntorrc: HashedControlPassword ..."
    use = f'onionmx.toml: [tor] control = "{CONTROL_SOCKET}"'
    if is_debian:
        return "run it as root, or as a member of debian-tor" if control == CONTROL_SOCKET else use
    path = control.removeprefix(UNIX) if control.startswith(UNIX) else _DEBIAN_SOCKET
    lines = [f"torrc: ControlSocket {path} GroupWritable RelaxDirModeCheck", "torrc: CookieAuthentication 1"]
    return "\n".join(lines if control.startswith(UNIX) else [*lines, use])


def _read_state(controller: "Controller") -> TorState:
    return TorState(
        version=controller.get_info("version").partition(" ")[0],
        praise=controller.get_info("status/version/current"),
        bootstrap=controller.get_info("status/bootstrap-phase"),
        has_circuits=controller.get_info("status/circuit-established") == "1",
        valid_after=_time(controller.get_info("consensus/valid-after", "")),
        valid_until=_time(controller.get_info("consensus/valid-until", "")),
        long_lived_ports=",".join(controller.get_conf("LongLivedPorts", multiple=True)),
    )


def _time(text: str) -> datetime | None:
    try:
        return datetime.strptime(text, "%Y-%m-%d %H:%M:%S").replace(tzinfo=UTC)
    except ValueError:
        return None


def _shown(time: datetime) -> str:
    return f"{time:%Y-%m-%d %H:%M} UTC"


async def _without_control(machine: Machine, error: OnionmxError) -> Sequence[Finding]:
    """The control port does not reply: the SOCKS port can still tell whether tor runs."""
    settings = machine.configuration.tor
    socks = socks_in_use(settings.socks)
    lines = judge_control(settings.control, is_debian=await in_thread(lambda: is_socket(Path(_DEBIAN_SOCKET))))
    unknown = [
        not_checked(topic.name, f"tor cannot be asked: {error}", cause=CONTROL.name) for topic in (CLOCK, LONG_LIVED)
    ]
    try:
        (await reach(parse_server(socks), settings.user)).close()
    except OwnerError as foreign:
        return [
            blocking(problem(TOR.name, f"tor's SOCKS port {socks} is not believed: {foreign}", Cause.FOREIGN.advice)),
            not_checked(CONTROL.name, str(error), lines, TOR.name),
            *unknown,
        ]
    except HostError as lost:
        seen = f"tor's SOCKS port {socks}: {lost}"
        return [
            blocking(problem(TOR.name, seen, Cause.HOST_UNKNOWN.advice)),
            not_checked(CONTROL.name, str(error), lines, TOR.name),
            *unknown,
        ]
    except OSError:
        seen = f"neither tor's control port {settings.control} nor its SOCKS port {socks} answers"
        return [
            blocking(problem(TOR.name, seen, "systemctl start tor@default")),
            not_checked(CONTROL.name, str(error), lines, TOR.name),
            *unknown,
        ]
    seen = f"something answers at the SOCKS port {socks}; its version is unknown: {error}"
    return [
        # tor runs all the same, so that this is no cause for what its other ports do not say.
        replace(not_checked(TOR.name, seen, cause=CONTROL.name), blocks=False),
        blocking(warning(CONTROL.name, str(error), lines)),
        *unknown,
    ]


CHECK = Check((TOR, CONTROL, CLOCK, LONG_LIVED), look_at_tor)
