"""Running checks side by side, each within its time; none can take the others down."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass, replace

from onionmx.doctor.finding import Finding, by_cause, not_checked
from onionmx.doctor.machine import Machine
from onionmx.errors import OnionmxError

_logger = logging.getLogger(__name__)

Look = Callable[[Machine], Awaitable[Sequence[Finding]]]
"""Looks at the machine; gives at least one finding for each name of its check."""


@dataclass(frozen=True, slots=True)
class Topic:
    """What can be asked for by name.

    Attributes:
        name: as on the command line.
        what: what is looked at, in a few words.
        why: why it matters; for findings that do not say it themselves.
        essential: whether nobody can call the machine sound while this is not known.
    """

    name: str
    what: str
    why: str
    essential: bool = False


@dataclass(frozen=True, slots=True)
class Check:
    """A look at the machine that answers one question or several.

    Attributes:
        topics: what its findings are about, in the order of the output.
        look: does it.
    """

    topics: tuple[Topic, ...]
    look: Look


async def run_checks(
    checks: Sequence[Check], machine: Machine, limit: float, wanted: Collection[str] = ()
) -> list[Finding]:
    """Run checks side by side.

    Args:
        checks: in the order of the output.
        machine: what to look at.
        limit: seconds for each of them.
        wanted: names of topics; empty for all.

    Returns:
        The findings in the order of the checks and their topics, whichever was ready first. A check that failed or
        took too long gives "not checked" with the reason.
    """
    chosen = [check for check in checks if not wanted or any(topic.name in wanted for topic in check.topics)]
    results = await asyncio.gather(*(_run(check, machine, limit) for check in chosen))
    found = [
        finding
        for check, findings in zip(chosen, results, strict=True)
        for topic in check.topics
        if not wanted or topic.name in wanted
        for finding in _about(topic, findings)
    ]
    return by_cause(found)


async def _run(check: Check, machine: Machine, limit: float) -> Sequence[Finding]:
    names = [topic.name for topic in check.topics]
    try:
        async with asyncio.timeout(limit):
            return await check.look(machine)
    except TimeoutError:
        reason = f"no answer within {limit:g} s"
    except OnionmxError as error:
        reason = str(error)
    except Exception as error:
        # A fault of ours in one check must not hide what the others found.
        _logger.warning("check %s failed", names[0], exc_info=True)
        reason = f"the check failed: {type(error).__name__}: {error}"
    return [not_checked(name, reason) for name in names]


def _about(topic: Topic, findings: Sequence[Finding]) -> list[Finding]:
    return [
        finding if finding.why else replace(finding, why=topic.why)
        for finding in findings
        if finding.check == topic.name
    ]
