"""Circuits as client addresses: does Postfix, if that is the MTA here, count each for itself?

Postfix 3.10 and newer count IPv6 clients by network, /84 unless smtpd_client_ipv6_prefix_length says otherwise
(postconf(5)). Addresses that tor makes of circuits are fc00:dead:beef:4dad::/96 and the number: they are then all one
client, and one client can use up the limits of all.
"""

import re
import socket
from collections.abc import Iterable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass, field

from onionmx.doctor.checks.tor_process import CONTROL
from onionmx.doctor.command import find_command, output_of
from onionmx.doctor.finding import Finding, not_checked, ok, problem
from onionmx.doctor.machine import MAIL_PORT, Machine
from onionmx.doctor.runner import Check, Topic
from onionmx.errors import ControlError, TemporaryError
from onionmx.smtp.printable import printable
from onionmx.tor.service.torrc import Forward
from onionmx.tor.service.wanted import EXPORT_CIRCUIT

CIRCUITS = Topic(
    "circuit-limits",
    "where tor tells Postfix the circuit of a connection, Postfix counts each circuit for itself",
    "Postfix 3.10 and newer take all circuits for one client, so one that uses up a limit keeps all mail out",
)
PREFIX = "smtpd_client_ipv6_prefix_length"
_WHOLE_ADDRESS = "128"
_SINCE = (3, 10)
_INET = "inet"
_SMTPD = "smtpd"
_COMMAND = 7  # column of master.cf


@dataclass(frozen=True, slots=True)
class CircuitService:
    """A service of master.cf.

    Attributes:
        name: as it is written there; for `inet` an address and a port, each of which may be a name or missing.
        kind: `inet`, `unix`, `pass` and so on.
        command: the program.
    """

    name: str
    kind: str
    command: str


@dataclass(frozen=True, slots=True)
class Postfix:
    """What a Postfix says of itself.

    Attributes:
        version: `mail_version`.
        services: of master.cf.
        prefix: the parameter in main.cf, or its default.
        overrides: the parameter in master.cf, by service.
    """

    version: str
    services: Sequence[CircuitService] = ()
    prefix: str = ""
    overrides: Mapping[tuple[str, str], str] = field(default_factory=dict)

    @property
    def counts_networks(self) -> bool | None:
        """Whether it is new enough to count by network; `None` where the version is none."""
        match = re.match(r"(\d+)\.(\d+)", self.version, re.ASCII)
        return None if match is None else (int(match[1]), int(match[2])) >= _SINCE


async def look_at_circuits(machine: Machine) -> Sequence[Finding]:
    """Ask tor which services tell circuits, and Postfix about what listens where they lead."""
    try:
        services = await machine.services()
    except ControlError as error:
        return [not_checked(CIRCUITS.name, f"tor cannot be asked: {error}", cause=CONTROL.name)]
    forwards = [
        forward
        for service in services
        if service.options.get(EXPORT_CIRCUIT, "").lower() == "haproxy"
        for forward in service.ports
        if forward.port == MAIL_PORT
    ]
    unknown = [service for service in services if not service.ports_known]
    if not forwards and unknown:
        return [not_checked(CIRCUITS.name, f"{unknown[0].onion}: {unknown[0].problem}")]
    if not forwards:
        return [ok(CIRCUITS.name, "tor tells no circuits, so there is nothing to count")]
    postfix = await ask_postfix()
    return [judge_circuits(forward, postfix) for forward in forwards]


def judge_circuits(forward: Forward, postfix: Postfix) -> Finding:
    """Judge how the Postfix that listens where an onion service leads counts circuits."""
    if postfix.counts_networks is None:
        return not_checked(CIRCUITS.name, f"postconf names an impossible version: {printable(postfix.version)!r}")
    version = f"Postfix {printable(postfix.version)}"
    if not postfix.counts_networks:
        return ok(CIRCUITS.name, f"{version} counts each address for itself")
    service = listening_at(forward, postfix.services)
    if service is None or service.command != _SMTPD:
        return not_checked(
            CIRCUITS.name, f"no smtpd of {version} on this machine is known to listen at {forward.target}"
        )
    prefix = postfix.overrides.get((service.name, service.kind), postfix.prefix)
    seen = f"{version} at {forward.target} has {PREFIX}={printable(prefix)}"
    if prefix == _WHOLE_ADDRESS:
        return ok(CIRCUITS.name, seen)
    if not (prefix.isascii() and prefix.isdigit()):
        return not_checked(CIRCUITS.name, f"{seen}, which is not a number")
    lines = f"master.cf, below the smtpd for the onion service: -o {PREFIX}={_WHOLE_ADDRESS}\npostfix reload"
    return problem(CIRCUITS.name, seen, lines)


def listening_at(forward: Forward, services: Iterable[CircuitService]) -> CircuitService | None:
    """The service of Postfix where an onion service leads: of two listeners Linux takes the one with the exact address.

    Services on unix sockets are not found: their names are relative to the queue.
    """
    by_host = {
        host: service
        for service in services
        if service.kind == _INET
        for host, port in [_address(service.name)]
        if port is not None and port == forward.target_port
    }
    return by_host.get(forward.target_host, by_host.get(""))


def _address(name: str) -> tuple[str, int | None]:
    """Host, empty for all addresses, and port of an `inet` service (master(5))."""
    host, _, port = name.rpartition(":")
    host = host.removeprefix("[").removesuffix("]")
    if port.isascii() and port.isdigit():
        return host, int(port)
    with suppress(OSError, ValueError):
        return host, socket.getservbyname(port, "tcp")
    return host, None


def read_services(text: str) -> list[CircuitService]:
    """Read what `postconf -M` prints: a service a line, in the columns of master.cf (master(5))."""
    rows = (line.split() for line in text.splitlines())
    return [CircuitService(row[0], row[1], row[_COMMAND]) for row in rows if len(row) > _COMMAND]


def read_overrides(text: str, parameter: str) -> dict[tuple[str, str], str]:
    """Read what `postconf -P` prints, `NAME/KIND/PARAMETER = VALUE` lines, for the values of one parameter."""
    found: dict[tuple[str, str], str] = {}
    for line in text.splitlines():
        key, equals, value = line.partition("=")
        name, _, kind = key.strip().removesuffix(f"/{parameter}").rpartition("/")
        if equals and name and key.strip().endswith(f"/{parameter}"):
            found[name, kind] = value.strip()
    return found


async def ask_postfix() -> Postfix:
    """Ask the Postfix of this machine.

    Raises:
        TemporaryError: there is none, or it cannot be asked.
    """
    program = find_command("postconf")
    if program is None:
        raise TemporaryError("no Postfix on this machine: there is no postconf; another MTA may have to be looked at")
    postfix = Postfix(await output_of(program, "-h", "mail_version"))
    if not postfix.counts_networks:
        return postfix
    services, overrides, prefix = [
        await output_of(program, *arguments) for arguments in (("-M",), ("-Px",), ("-hx", PREFIX))
    ]
    return Postfix(postfix.version, read_services(services), prefix, read_overrides(overrides, PREFIX))


CHECK = Check((CIRCUITS,), look_at_circuits)
