"""tor, and the onion services of this host."""

import re
import time
from collections.abc import Sequence
from typing import TYPE_CHECKING

from onionmx.config import parse_server
from onionmx.doctor.machine import MAIL_PORT, Machine
from onionmx.errors import ControlError, OnionmxError
from onionmx.smtp.printable import printable
from onionmx.status.model import OnionsStatus, OnionStatus, TorStatus
from onionmx.status.watched import with_watch
from onionmx.tor.reach import reach, socks_in_use
from onionmx.tor.service.running import OnionService, Publication, published

if TYPE_CHECKING:
    from stem.control import Controller

_PROGRESS = re.compile(r"PROGRESS=(\d{1,3})\b")
_SUMMARY = re.compile(r'(?:WARNING|SUMMARY)="((?:[^"\\]|\\.)*)"')
_DONE = 100  # percent


async def look_at_tor(machine: Machine) -> TorStatus:
    """Ask tor about itself; where its control port does not answer, whether its SOCKS port does."""
    try:
        return await machine.ask_tor(_read)
    except ControlError as error:
        return await _without_control(machine, str(error))


async def _without_control(machine: Machine, why: str) -> TorStatus:
    settings = machine.configuration.tor
    socks = socks_in_use(settings.socks)
    try:
        (await reach(parse_server(socks), settings.user)).close()
    except OnionmxError as error:
        return TorStatus(answers=None, why=f"{why}; {error}")
    except OSError as error:
        words = f"its SOCKS port {socks} does not answer either: {error.strerror or error}"
        # One that may not be reached says nothing.
        return TorStatus(answers=None if isinstance(error, PermissionError) else False, why=f"{why}; {words}")
    return TorStatus(answers=True, why=f"{why}; its SOCKS port answers")


def _read(controller: "Controller") -> TorStatus:
    phase = controller.get_info("status/bootstrap-phase")
    match = _PROGRESS.search(phase)
    progress = int(match[1]) if match else None
    has_circuits = controller.get_info("status/circuit-established") == "1"
    trouble = "; ".join(map(printable, _SUMMARY.findall(phase)))
    if progress is not None and progress >= _DONE:
        trouble = "" if has_circuits else "it has no circuit"
    return TorStatus(
        answers=True,
        version=printable(controller.get_info("version").partition(" ")[0]),
        bootstrapped=progress,
        has_circuits=has_circuits,
        circuits=_built(controller.get_info("circuit-status")),
        why=trouble,
    )


def _built(circuits: str) -> int:
    """The circuits that are built (control-spec 4.1.1: CircuitID SP CircStatus ...)."""
    return sum(words[1:2] == ["BUILT"] for words in map(str.split, circuits.splitlines()))


async def look_at_onions(machine: Machine, limit: float) -> OnionsStatus:
    """Ask tor for the services that carry mail, and the directories for each.

    Args:
        limit: seconds for all directories of a service.

    Raises:
        ControlError: tor cannot be asked.
    """
    services = await machine.services()
    carrying = [service for service in services if service.carries(MAIL_PORT)]
    unknown = [service.onion or service.problem for service in services if not service.ports_known]
    if not carrying and unknown:
        return OnionsStatus(services=None, why=f"which ports {', '.join(unknown)} has is not known")
    if not carrying:
        return OnionsStatus(services=(), why=f"no onion service of this tor has port {MAIL_PORT}: onionmx onion create")
    return OnionsStatus(services=await _each(machine, carrying, limit))


async def _each(machine: Machine, carrying: Sequence[OnionService], limit: float) -> tuple[OnionStatus, ...]:
    return tuple([await _look_at(machine, service, limit / len(carrying)) for service in carrying])


async def _look_at(machine: Machine, service: OnionService, limit: float) -> OnionStatus:
    onion = service.onion
    if onion is None:
        return OnionStatus(onion=None, published_why=service.problem, reachable_why=service.problem)
    try:
        answer = await machine.ask_tor(lambda tor: published(tor, onion, limit))
    except ControlError as error:
        return with_watch(machine.configuration, OnionStatus(onion=onion, published_why=str(error)), time.time())
    known = {Publication.PUBLISHED: True, Publication.NOT_PUBLISHED: False, Publication.UNKNOWN: None}
    found = OnionStatus(onion=onion, published=known[answer.state], published_why=answer.words)
    return with_watch(machine.configuration, found, time.time())
