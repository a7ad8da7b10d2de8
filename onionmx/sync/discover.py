"""Asking for many domains at once, within bounds."""

import asyncio
from collections.abc import Callable, Iterable, Iterator

from onionmx.answer import Answer, Ask, CouldNotTell
from onionmx.config import DnsSection


async def discover(
    domains: Iterable[str], ask: Ask, settings: DnsSection, on_answer: Callable[[Answer], None]
) -> dict[str, Answer]:
    """Ask for each domain; a question that could not be answered is asked again after a pause.

    Args:
        domains: in normal form.
        ask: finds the onion MXes of one domain.
        settings: concurrency and retries.
        on_answer: called with each final answer, to show progress.

    Returns:
        The final answer for each domain, in the order of the domains.
    """
    waiting = list(domains)
    answers: dict[str, Answer] = {}
    names = iter(waiting)

    async def work(names: Iterator[str]) -> None:
        for domain in names:
            answers[domain] = answer = await _ask_with_retries(domain, ask, settings)
            on_answer(answer)

    async with asyncio.TaskGroup() as workers:
        for _ in range(min(settings.concurrency, len(waiting))):
            workers.create_task(work(names))
    return {domain: answers[domain] for domain in waiting}


async def _ask_with_retries(domain: str, ask: Ask, settings: DnsSection) -> Answer:
    answer = await ask(domain)
    for attempt in range(settings.retries):
        if not isinstance(answer, CouldNotTell):
            break
        await asyncio.sleep(settings.retry_delay * 2**attempt)
        answer = await ask(domain)
    return answer
