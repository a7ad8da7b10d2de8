"""A whole probe: the route, and then every target of it, side by side."""

import asyncio

from onionmx.answer import Answer, Ask, Found
from onionmx.domain import normalize
from onionmx.isolation import OneFailedError, one_of_many
from onionmx.net.connect import OpenStream
from onionmx.onion import SUFFIX, Endpoint, format_endpoint, parse_endpoint
from onionmx.probe.report import Observation, ProbeStep, Report, StepResult, TargetReport
from onionmx.probe.walk import ProbeOptions, walk
from onionmx.smtp.printable import printable
from onionmx.target import Route, Source, Target, Trust

Subject = str | Endpoint
"""A domain in normal form, or an onion and its port."""


def parse_subject(text: str) -> Subject:
    """Read a domain, an onion, or an onion and its port as `onion:port`.

    Raises:
        DomainError: not a mail domain.
        OnionError: not an onion that exists, or not a port.
    """
    host = text.partition(":")[0]
    return parse_endpoint(text) if host.lower().removesuffix(".").endswith(SUFFIX) else normalize(text)


async def probe(subject: Subject, questions: ProbeOptions, ask: Ask, connect: OpenStream) -> Report:
    """Find the route and look at all of its targets, at the same time: a dead one takes tor two minutes.

    Args:
        subject: what to look at.
        questions: what to ask each target.
        ask: finds the route of a domain; an onion is its own.
        connect: how to reach the targets.
    """
    clock = asyncio.get_running_loop().time
    start = clock()
    answer = await _find(subject, ask)
    route_seconds = clock() - start
    name = subject if isinstance(subject, str) else format_endpoint(subject)
    if not isinstance(answer, Found):
        return Report(name, clock() - start, route_seconds, answer)
    route = answer.route

    async with asyncio.TaskGroup() as group:
        walks = [group.create_task(_walk(target, questions, connect, route.domain)) for target in route.targets]
    return Report(name, clock() - start, route_seconds, answer, tuple(one.result() for one in walks))


async def _walk(target: Target, questions: ProbeOptions, connect: OpenStream, domain: str) -> TargetReport:
    """Look at one target; a fault of ours there takes nothing from what the others have shown."""
    try:
        with one_of_many(format_endpoint(target.endpoint)):
            return await walk(target, questions, connect, domain)
    except OneFailedError as error:
        return TargetReport(
            target, (ProbeStep("probe", None, Observation(StepResult.COULD_NOT_TELL, printable(str(error)))),)
        )


async def _find(subject: Subject, ask: Ask) -> Answer:
    if isinstance(subject, str):
        return await ask(subject)
    onion, port = subject
    return Found(Route(onion, (Target(onion, port),), Source.ONION, Trust.PINNED))
