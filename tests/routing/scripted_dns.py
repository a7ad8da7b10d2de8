"""A DNS whose answers a test gives when it likes, and a clock that it moves."""

import asyncio

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.target import Route, Source, Target, Trust
from tests.onions import make_onion

TARGETS = (Target(make_onion("a"), 25, 0, 5),)


def found(domain: str, ttl: int | None = 100) -> Found:
    return Found(Route(domain, TARGETS, Source.SRV, Trust.UNSIGNED, ttl))


def none(domain: str, ttl: int | None = 100) -> NoRoute:
    return NoRoute(domain, "no such name in DNS", ttl)


def unknown(domain: str, reason: str = "answered SERVFAIL") -> CouldNotTell:
    return CouldNotTell(domain, reason)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


class ScriptedDns:
    """Answers what `answers` has at once; a question for another domain hangs until `reply` answers it."""

    def __init__(self) -> None:
        self.answers: dict[str, Answer] = {}
        self.asked: list[str] = []
        self._hanging: dict[str, asyncio.Future[Answer]] = {}
        self._arrival = asyncio.Condition()

    async def ask(self, domain: str) -> Answer:
        self.asked.append(domain)
        if domain in self.answers:
            return self.answers[domain]
        hanging: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
        self._hanging[domain] = hanging
        async with self._arrival:
            self._arrival.notify_all()
        return await hanging

    async def wait_for_question(self, domain: str) -> None:
        async with self._arrival:
            await self._arrival.wait_for(lambda: domain in self._hanging)

    async def reply(self, answer: Answer) -> None:
        domain = answer.route.domain if isinstance(answer, Found) else answer.domain
        await self.wait_for_question(domain)
        self._hanging.pop(domain).set_result(answer)
