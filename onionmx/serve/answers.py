"""From requests to replies: what Postfix and Exim are told. "Not found" is said only where that is known."""

import asyncio
import logging
from abc import ABC, abstractmethod
from dataclasses import dataclass
from functools import partial
from typing import Generic

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute, Unroutable
from onionmx.defaults import TOR_USER
from onionmx.errors import AutomapError
from onionmx.mapfile.cdb import DEFERS_WHY, format_value
from onionmx.onion import is_for_tor_alone
from onionmx.routing.router import Router
from onionmx.routing.standing import CachedAnswer, Validity
from onionmx.routing.troubles import Troubles
from onionmx.serve.keys import LONGEST_REMEMBERED, REMEMBERED, domain_as_written, domain_of, names_an_onion, normal_form
from onionmx.serve.metrics import Tally
from onionmx.serve.protocols.codec import Codec, LookupResult, Request
from onionmx.serve.protocols.readsocket import READSOCKET, ReadsocketQuestion
from onionmx.serve.protocols.result import ResultTemplate
from onionmx.tor.addresses import host_list

_INTERNAL = "internal error, which the log describes"
_NO_DOMAIN = "not a mail domain"
BAD_ONION = "not an address that Tor knows"
_NOT_CONVERTED = "not a domain that IDNA 2008 can convert"
NOT_LOCAL = "a local domain of onionmx that the MTA does not take for its own"

_logger = logging.getLogger(__name__)


@dataclass(slots=True)
class Routes:
    """What all connections ask, in the version of the configuration that holds now; a reload replaces the fields.

    Attributes:
        router: finds routes.
        result: what Postfix is told of them.
        timeout: seconds for one answer.
        dnsport: Tor's DNSPort, IP address and port.
        tor_user: the user that tor runs as.
    """

    router: Router
    result: ResultTemplate
    timeout: float
    dnsport: tuple[str, int]
    tor_user: str = TOR_USER


class Answers(ABC, Generic[Request]):
    """Answers the requests of one protocol.

    Args:
        language: how they are written.
        troubles: the log of what could not be answered.
    """

    def __init__(self, language: Codec[Request], routes: Routes, tally: Tally, troubles: Troubles) -> None:
        self.language = language
        self.tally = tally
        self._routes = routes
        self._troubles = troubles
        self._found = language.found
        self._none = language.none

    def again(self, written: bytes | None, now: float) -> bytes | None:  # noqa: ARG002 -- no answer is kept here
        """The reply to a question about a domain that was answered before, while that answer is valid, else `None`.

        Args:
            written: the domain as the client has written it; `None` where it is not known.
            now: seconds of `time.monotonic`.
        """
        return None

    @abstractmethod
    def at_once(self, request: Request, now: float) -> bytes | None:
        """The reply to a request that needs no waiting, else `None`. Must be called in the event loop.

        Args:
            now: seconds of `time.monotonic`.
        """

    def later(self, request: Request) -> asyncio.Future[bytes]:
        """The reply to a request that needs waiting; may be cancelled. Must be called when `at_once` has said so."""
        return asyncio.get_running_loop().create_task(self.in_time(request))

    async def in_time(self, request: Request) -> bytes:
        """The reply to a request, at the latest when `serve.timeout` is over."""
        try:
            async with asyncio.timeout(self.timeout):
                return await self._find(request)
        except TimeoutError:
            return self._time_is_over(request)
        except Exception:
            _logger.exception("internal error")
            return self.internal_error()

    @property
    def timeout(self) -> float:
        """Seconds for one answer."""
        return self._routes.timeout

    def malformed(self, reason: str) -> bytes:
        """The reply to what is no request."""
        self.tally.malformed += 1
        return self.language.malformed(reason)

    def internal_error(self) -> bytes:
        """The reply when a mistake of ours came up, which the log describes."""
        self.tally.temporary += 1
        return self.language.failed(LookupResult.TEMPORARY, _INTERNAL)

    def failed(self, request: Request, outcome: LookupResult, reason: str) -> bytes:
        """The reply to a request that failed here and not in the router, which has a log of its own."""
        self._troubles.report(self._domain(request), reason)
        return self._failed(outcome, reason)

    @abstractmethod
    async def _find(self, request: Request) -> bytes: ...

    @abstractmethod
    def _domain(self, request: Request) -> str: ...

    def _time_is_over(self, request: Request) -> bytes:
        return self.failed(request, LookupResult.TIMEOUT, f"no answer within {self.timeout:g} s")

    def _failed(self, outcome: LookupResult, reason: str) -> bytes:
        self.tally.count(outcome)
        return self.language.failed(outcome, reason)

    def _refused(self, reason: str) -> bytes:
        self.tally.count(LookupResult.PERMANENT)
        return self.language.refused(reason)

    def _no_domain(self, key: bytes) -> bytes:
        if names_an_onion(key):
            return self._refused(BAD_ONION)
        if not domain_as_written(key).isascii():
            return self._failed(LookupResult.TEMPORARY, _NOT_CONVERTED)
        self.tally.none += 1
        return self._none(_NO_DOMAIN)

    def _not_found(self, answer: NoRoute | CouldNotTell) -> bytes:
        if isinstance(answer, CouldNotTell):
            if answer.reason == DEFERS_WHY:  # of this domain alone; what else fails has been logged where it did
                self._troubles.report(answer.domain, DEFERS_WHY)
            return self._failed(LookupResult.TEMPORARY, answer.reason)
        if isinstance(answer, Unroutable):
            return self._refused(answer.reason)
        self.tally.none += 1
        return self._none(answer.reason)


@dataclass(slots=True)
class _Given:
    standing: CachedAnswer
    validity: Validity
    reply: bytes
    is_found: bool


class TableAnswers(Answers[bytes]):
    """For Postfix: a result of the template."""

    def __init__(self, language: Codec[bytes], routes: Routes, tally: Tally, troubles: Troubles) -> None:
        super().__init__(language, routes, tally, troubles)
        self._given: dict[bytes | None, _Given] = {}

    def again(self, written: bytes | None, now: float) -> bytes | None:
        """The reply that `at_once` gave to the same spelling of the domain, while it is valid."""
        given = self._given.get(written)
        if given is None:
            return None
        standing = given.standing
        if now >= standing.until or now >= given.validity.until:
            return None
        standing.asked_at = now
        standing.hits.number += 1
        if given.is_found:
            self.tally.found += 1
        else:
            self.tally.none += 1
        return given.reply

    def at_once(self, request: bytes, now: float) -> bytes | None:
        """The reply where the router knows, or where there is no domain in the key."""
        written = domain_as_written(request)
        reply = self.again(written, now)
        if reply is not None:
            return reply
        domain = normal_form(written)
        if domain is None:
            return self._no_domain(request)
        known = self._routes.router.known(domain)
        if known is None:
            return None
        reply = self._reply(known.answer)
        if len(written) <= LONGEST_REMEMBERED and not isinstance(known.answer, Unroutable):
            if len(self._given) >= REMEMBERED:
                self._given.clear()
            self._given[written] = _Given(known, self._routes.router.validity, reply, isinstance(known.answer, Found))
        return reply

    def later(self, request: bytes) -> asyncio.Future[bytes]:
        """The reply to a request that needs waiting; a task of its own only where more than the question decides."""
        question = self._routes.router.question(self._domain(request))
        if question is None:
            return super().later(request)
        loop = asyncio.get_running_loop()
        reply: asyncio.Future[bytes] = loop.create_future()
        timer = loop.call_later(self.timeout, self._give_up, request, reply)
        question.add_done_callback(partial(self._answered, reply, timer))
        return reply

    async def _find(self, request: bytes) -> bytes:
        return self._reply(await self._routes.router.ask(self._domain(request)))

    def _answered(
        self, reply: asyncio.Future[bytes], timer: asyncio.TimerHandle, question: asyncio.Future[Answer]
    ) -> None:
        timer.cancel()
        if reply.done():
            return
        try:
            reply.set_result(self._reply(question.result()))
        except Exception:
            _logger.exception("internal error")
            reply.set_result(self.internal_error())

    def _give_up(self, request: bytes, reply: asyncio.Future[bytes]) -> None:
        if not reply.done():
            reply.set_result(self._time_is_over(request))

    def _domain(self, request: bytes) -> str:
        return domain_of(request) or ""

    def _reply(self, answer: Answer) -> bytes:
        if isinstance(answer, Found):
            self.tally.found += 1
            return self._found(self._routes.result.fill(answer.route))
        return self._not_found(answer)


class ReadsocketAnswers(Answers[ReadsocketQuestion]):
    """For Exim: the targets, or virtual addresses for them."""

    def __init__(self, routes: Routes, tally: Tally, troubles: Troubles) -> None:
        super().__init__(READSOCKET, routes, tally, troubles)
        self.has_asked_dnsport = False
        """Whether any client has asked for addresses."""

    def at_once(self, request: ReadsocketQuestion, _now: float) -> bytes | None:
        """The reply where the router knows and tor need not be asked."""
        domain = domain_of(request.key)
        if domain is None:
            return self._no_domain(request.key)
        known = self._routes.router.known(domain)
        if known is None or (request.wants_hosts and isinstance(known.answer, Found)):
            return None
        return self._targets(known.answer)

    async def _find(self, request: ReadsocketQuestion) -> bytes:
        domain = self._domain(request)
        answer = await self._routes.router.ask(domain)
        if not request.wants_hosts or not isinstance(answer, Found):
            return self._targets(answer)
        self.has_asked_dnsport = True
        try:
            hosts, left_out = await host_list(answer.route.endpoints, self._routes.dnsport, self._routes.tor_user)
        except AutomapError as error:
            return self.failed(request, LookupResult.TEMPORARY, str(error))
        if left_out:
            self._troubles.report(domain, f"left out: {'; '.join(left_out)}")
        self.tally.found += 1
        return self._found(hosts.encode("ascii"))

    def _domain(self, request: ReadsocketQuestion) -> str:
        return domain_of(request.key) or ""

    def _targets(self, answer: Answer) -> bytes:
        if isinstance(answer, Found):
            self.tally.found += 1
            return self._found(format_value(answer.route.endpoints))
        if isinstance(answer, NoRoute) and not isinstance(answer, Unroutable) and is_for_tor_alone(answer.domain):
            # Exim asks for no domain of its own; "none" would make it ask the open DNS for this name.
            return self._failed(LookupResult.TEMPORARY, NOT_LOCAL)
        return self._not_found(answer)
