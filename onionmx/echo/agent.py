"""The echo itself: a message in, at most one answer out."""

import asyncio
import time
from collections.abc import Awaitable, Callable
from pathlib import Path

from msgspec import Struct

from onionmx.answer import Answer, CouldNotTell, Found
from onionmx.clock import Clock
from onionmx.domain import Domain
from onionmx.echo.answer import compose, make_report
from onionmx.echo.memory import LIMITS, take_turn
from onionmx.echo.message import domain_of
from onionmx.echo.request import Refused, Request, examine
from onionmx.echo.submit import Submit
from onionmx.errors import TemporaryError

Ask = Callable[[Domain], Awaitable[Answer]]
"""Finds the route of a domain."""


class EchoOptions(Struct, frozen=True):
    """What the operator wants.

    Attributes:
        memory: the file in which is kept how often it has answered.
        allow_clearnet: answer domains without a route over Tor too.
        authserv_id: whose Authentication-Results are believed; empty for the name that the MTA has in Received.
        tor_addresses: from where tor hands over connections to this host; `None` where that was not said.
    """

    memory: Path
    allow_clearnet: bool = False
    authserv_id: str = ""
    tor_addresses: tuple[str, ...] | None = None


class RouteUnknownError(TemporaryError):
    """It could not be told whether an answer would go over Tor."""


class Echo:
    """Answers self-tests.

    Args:
        ask: finds out where the mail of a domain goes.
        submit: hands the answer to the local MTA; called in a thread.
    """

    def __init__(self, options: EchoOptions, ask: Ask, submit: Submit, clock: Clock = time.time) -> None:
        self._options = options
        self._ask = ask
        self._submit = submit
        self._clock = clock

    async def take(self, content: bytes, sender: str | None, recipient: str) -> str:
        """Answer a message, or do nothing.

        Args:
            content: the message; one that is cut off counts as too large.
            sender: envelope sender, empty for the null one; `None` where only Return-Path has it.
            recipient: address of the echo.

        Returns:
            What was done, for the log; without addresses.

        Raises:
            TemporaryError: it could not be told whether it may be answered, or the MTA did not take the answer.
        """
        now = self._clock()
        request = examine(content, sender)
        if isinstance(request, Refused):
            return f"no answer: {request.reason}"
        if domain_of(recipient) is None or recipient.lower() == request.sender.lower():
            return "no answer: the address of the echo cannot be that of an answer's sender"
        refusal = await self._no_way_back(request)
        if refusal:
            return f"no answer: {refusal}"
        reached = await asyncio.to_thread(take_turn, self._options.memory, request, now)
        if reached:
            return f"no answer: {LIMITS[reached]} an hour is the limit for {reached}"
        report = make_report(request, now, self._options.authserv_id, self._options.tor_addresses)
        await asyncio.to_thread(self._submit, "", request.sender, compose(request, report, recipient))
        return f"answered: {report.path.way}"

    async def _no_way_back(self, request: Request) -> str:
        if self._options.allow_clearnet:
            return ""
        answer = await self._ask(request.domain)
        if isinstance(answer, CouldNotTell):
            raise RouteUnknownError(f"the route of the answer is not known: {answer.reason}")
        return (
            "" if isinstance(answer, Found) else "the answer would not go over Tor, and --allow-clearnet is not given"
        )
