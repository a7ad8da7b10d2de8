"""The onion service: whether there is one, where it leads, whether others can find it."""

import asyncio
import errno
import os
from collections.abc import Sequence
from ipaddress import ip_address

from onionmx.doctor.checks.tor_process import CONTROL
from onionmx.doctor.finding import Finding, Severity, blocking, not_checked, ok, problem
from onionmx.doctor.machine import MAIL_PORT, RESTART, Machine
from onionmx.doctor.runner import Check, Topic
from onionmx.errors import ControlError
from onionmx.tor.service.running import Forward, OnionService, Publication, published
from onionmx.tor.service.torrc import UNIX

SERVICE = Topic(
    "onion-service",
    "tor has an onion service on port 25",
    "without one nobody can send mail to this host over Tor",
    essential=True,
)
FORWARD = Topic(
    "forward",
    "the service leads to an address that the MTA does not trust, and something listens there",
    "MTAs take anyone who connects to 127.0.0.1 for their own host and relay for it: the whole Tor network would be "
    "trusted",
)
DESCRIPTOR = Topic(
    "descriptor",
    "the descriptor of the service is published",
    "without it in the directories, others are told that the service does not exist (F0)",
)
_CONNECT = 5.0  # seconds, on this machine or its network
_TRUSTED = (ip_address("127.0.0.1"), ip_address("::1"))


async def look_at_service(machine: Machine) -> Sequence[Finding]:
    """Ask tor for the services that carry mail, and look at each."""
    try:
        services = await machine.services()
    except ControlError as error:
        seen = f"tor cannot be asked: {error}"
        return [not_checked(topic.name, seen, cause=CONTROL.name) for topic in (SERVICE, FORWARD, DESCRIPTOR)]
    carrying = [service for service in services if service.carries(MAIL_PORT)]
    if not carrying:
        return _without_service([service for service in services if not service.ports_known])
    looks = await asyncio.gather(*(_look_at(machine, service) for service in carrying))
    return [finding for findings in looks for finding in findings]


def judge_target(forward: Forward) -> Finding:
    """Whether MTAs trust the address that a service leads to."""
    seen = f"port {forward.port} leads to {forward.target}"
    if forward.target_port is None:
        return ok(FORWARD.name, seen)
    lines = f"torrc: HiddenServicePort {forward.port} 127.0.0.2:{forward.target_port}\nsystemctl reload tor@default"
    try:
        address = ip_address(forward.target_host)
    except ValueError:
        address = None
    if forward.target_host == "localhost" or address in _TRUSTED:
        return problem(FORWARD.name, f"{seen}, which MTAs trust", lines)
    if address is not None and address.is_loopback:
        return ok(FORWARD.name, seen)
    if address is not None and address.is_private:
        return ok(FORWARD.name, f"{seen}, on another machine of this network")
    why = "between tor and the MTA mail is not encrypted any more, and goes over networks that others can listen to"
    return problem(FORWARD.name, f"{seen}, outside this network", lines, why)


def _without_service(unknown: Sequence[OnionService]) -> list[Finding]:
    seen = "there is no onion service to look at"
    missing = [not_checked(topic.name, seen, cause=SERVICE.name) for topic in (FORWARD, DESCRIPTOR)]
    if unknown:
        names = ", ".join(filter(None, (service.onion for service in unknown)))
        return [not_checked(SERVICE.name, f"{names}: {unknown[0].problem}"), *missing]
    return [
        blocking(problem(SERVICE.name, f"no onion service of this tor has port {MAIL_PORT}", "onionmx onion create")),
        *missing,
    ]


async def _look_at(machine: Machine, service: OnionService) -> list[Finding]:
    targets = [forward for forward in service.ports if forward.port == MAIL_PORT]
    forwards = [finding for forward in targets for finding in await judge_forward(forward)]
    if service.onion is None:
        return [
            not_checked(SERVICE.name, service.problem),
            *forwards,
            not_checked(DESCRIPTOR.name, service.problem),
        ]
    return [
        ok(SERVICE.name, f"{service.onion} has port {MAIL_PORT}"),
        *forwards,
        await _judge_descriptor(machine, service.onion),
    ]


async def judge_forward(forward: Forward) -> list[Finding]:
    """Judge the address that a service leads to, and whether something listens there."""
    finding = judge_target(forward)
    try:
        error = await _connection_error(forward)
    except PermissionError as refused:
        unknown = f"whether something answers at {forward.target}: {os.strerror(refused.errno or errno.EACCES)}"
        return [finding, not_checked(FORWARD.name, unknown)]
    if not error:
        return [finding]
    why = "every client of the onion service is turned away"
    silent = problem(FORWARD.name, f"nothing answers at {forward.target}: {error}", _listen(forward), why)
    return [silent] if finding.severity is Severity.OK else [finding, silent]


def _listen(forward: Forward) -> str:
    """The lines that make an MTA listen there, as `docs/receiving.md` and `exim/README.md` have them."""
    if forward.target_port is None:
        return f"start the MTA that listens at {forward.target_host.removeprefix(UNIX)}"
    port = "" if forward.target_port == MAIL_PORT else f".{forward.target_port}"
    return (
        f"master.cf: {forward.target} inet n - y - 50 smtpd\n"
        f"update-exim4.conf.conf: dc_local_interfaces='127.0.0.1 ; ::1 ; {forward.target_host}{port}'"
    )


async def _connection_error(forward: Forward) -> str:
    try:
        async with asyncio.timeout(_CONNECT):
            if forward.target_port is None:
                _, writer = await asyncio.open_unix_connection(forward.target_host.removeprefix(UNIX))
            else:
                _, writer = await asyncio.open_connection(forward.target_host, forward.target_port)
    except TimeoutError:
        return f"no connection within {_CONNECT:g} s"
    except PermissionError:
        raise
    except OSError as error:
        return os.strerror(error.errno) if error.errno else str(error)
    writer.close()
    return ""


async def _judge_descriptor(machine: Machine, onion: str) -> Finding:
    try:
        answer = await machine.ask_tor(lambda tor: published(tor, onion))
    except ControlError as error:
        return not_checked(DESCRIPTOR.name, f"tor cannot be asked: {error}", cause=CONTROL.name)
    match answer.state:
        case Publication.PUBLISHED:
            return ok(DESCRIPTOR.name, f"{onion}: {answer.words}")
        case Publication.NOT_PUBLISHED:
            return problem(DESCRIPTOR.name, f"{onion}: {answer.words}", f"journalctl -u tor@default\n{RESTART}")
        case Publication.UNKNOWN:
            return not_checked(DESCRIPTOR.name, f"{onion}: {answer.words}")


CHECK = Check((SERVICE, FORWARD, DESCRIPTOR), look_at_service)
