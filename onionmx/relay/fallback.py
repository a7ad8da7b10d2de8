"""Releasing domains whose onion MXes fail for long, where rules say so: watches, decides, and writes `released.cdb`.

How long something has failed is counted in `onionmx.fallback.observed`. Here are the probes, the questions whether a
domain may be released at all, the file, and the log. Without rules nothing is asked and nothing is written.
"""

import asyncio
import logging
import math
import os
import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path

from msgspec import Struct

from onionmx.answer import Answer, Ask, CouldNotTell, Found
from onionmx.authenticate.demand.requirement import Demand
from onionmx.config import Configuration, SyncSection
from onionmx.config.store import ValkeyAddress, parse_store
from onionmx.domain import Domain
from onionmx.errors import ConfigurationError, MapError, OnionmxError, TemporaryError
from onionmx.fallback.memory import memory_file, read_memory, write_memory
from onionmx.fallback.observed import EVIDENCE, Kept, Observed
from onionmx.fallback.rules import Rules, read_rules
from onionmx.fallback.writing import disown, has_entries, write_released
from onionmx.onion import Endpoint
from onionmx.relay import metrics
from onionmx.relay.failures import has_answered, is_of_authorization, is_of_target
from onionmx.relay.sessions.reach import reach
from onionmx.relay.sessions.recent import Recent
from onionmx.saved import SavedError
from onionmx.smtp.client.states import TlsPolicy
from onionmx.smtp.client.timeouts import Timeouts
from onionmx.target import Route, Source
from onionmx.tor.socks import SocksConnector

CONFIRM = 600.0
"""Seconds after which the time of the file is brought up to date."""
_PROBED = 1000  # onion MXes in one round
_AT_ONCE = 32  # of these
_CONTROLS = 3  # onion MXes that are asked whether onions can be reached at all
_SILENCE = 60.0  # seconds for which an onion MX may say nothing to a probe
_ROUTES = frozenset({Source.MAP, Source.SRV})
_PINS_ELSEWHERE = "the pins are in the store that hosts share (sync.store), so its entry in the map may be one of them"

_logger = logging.getLogger(__name__)

DemandOf = Callable[[Route], Awaitable[Demand | None]]


class _With(Struct, frozen=True):
    """What comes of one version of the configuration."""

    configuration: Configuration
    route: Ask
    demand: DemandOf
    connector: SocksConnector

    @property
    def path(self) -> Path:
        return Path(self.configuration.fallback.released)


class Fallback:
    """One for a relay, over all versions of its configuration. Belongs to one event loop.

    Attributes:
        observed: what was seen of onion MXes.
    """

    def __init__(self) -> None:
        self._rules = Rules()
        self.observed = Observed(self._rules.after)
        self._with: _With | None = None
        self._written: frozenset[Domain] = frozenset()
        self._confirmed = 0.0
        self._why_back: dict[Domain, str] = {}
        self._trouble = ""
        self._searched = -EVIDENCE
        self._probed: Recent[Endpoint, float] = Recent()
        self._is_written_to = asyncio.Event()
        self._is_over = False
        self._round: asyncio.Task[None] | None = None
        self._writer: asyncio.Task[None] | None = None

    def start(self, configuration: Configuration, route: Ask, demand: DemandOf) -> None:
        """Begin. Where the rules cannot be used, nothing is ever released, and the log says so.

        Args:
            route: the route of a domain, as the relay takes it.
            demand: what a domain demands of its onion MXes; raises `TemporaryError`.
        """
        self._with = _with(configuration, route, demand)
        try:
            self._rules = read_rules(Path(configuration.fallback.rules))
        except ConfigurationError as error:
            _logger.error("no fallback, all mail for onions waits: %s", _one_line(error))  # noqa: TRY400
        self.observed.use(self._rules.after)
        if self._rules:
            self._restore()
        self._write_nothing_released(self._with.path)
        self._begin_if_needed()

    def use(self, configuration: Configuration, route: Ask, demand: DemandOf) -> None:
        """Take another version of the configuration; where its rules cannot be used, the old ones stay."""
        former = self._with
        self._with = _with(configuration, route, demand)
        try:
            self._rules = read_rules(Path(configuration.fallback.rules))
        except ConfigurationError as error:
            _logger.error("the old rules of fallback stay: %s", _one_line(error))  # noqa: TRY400
        before = self.observed.released
        self.observed.use(self._rules.after)
        for domain in before - self.observed.released:
            self._why_back[domain] = "the rules have changed"
        if former is not None:
            former.connector.close()
            if former.path != self._with.path:
                self._write_nothing_released(former.path)
        is_missing = self._rules and not os.path.lexists(self._with.path)  # MTAs that read it wait while there is none
        if is_missing or (former is not None and former.path != self._with.path):
            self._written = frozenset()
            self._write_nothing_released(self._with.path)
        self._begin_if_needed()
        self._is_written_to.set()

    async def close(self) -> None:
        """End it; nothing is released while no relay watches."""
        self._is_over = True
        self._is_written_to.set()
        if self._with is not None:
            self._with.connector.close()
        if self._round is not None:
            self._round.cancel()
            await asyncio.wait((self._round,))
        if self._writer is not None:
            await self._writer
            self._save(self.observed.keep())
        if self._with is not None:
            self._write_nothing_released(self._with.path)  # even if it is thought to be empty: a write may have failed
        if self._written:
            _logger.info("nothing is released while the relay is stopped")

    # What the relay tells.

    def failed(self, endpoint: Endpoint, error: BaseException | None = None) -> None:
        """An onion MX could not be reached, or broke off; not for faults of tor or of this host.

        One that refuses in words, or does not offer the TLS that is asked of it, is not dead: that is an answer. And a
        key that tor lacks says nothing.
        """
        if has_answered(error):
            self.answered(endpoint)
        elif self._rules and not is_of_authorization(error):
            self.observed.failed(endpoint, time.monotonic())

    def answered(self, endpoint: Endpoint) -> None:
        """An onion MX has answered, whatever it said."""
        if not self._rules:
            return
        changes = self.observed.changes
        self.observed.answered(endpoint, time.monotonic())
        if self.observed.changes != changes:
            self._is_written_to.set()

    def found(self, answer: Answer) -> None:
        """There is mail for a domain with this route."""
        if self._rules and isinstance(answer, Found) and answer.route.source in _ROUTES:
            self._look_at(answer.route)

    def is_released(self, domain: Domain) -> bool:
        """Whether MTAs are told that a domain has no route."""
        return domain in self._written and self.observed.is_released(domain)

    # What goes on by itself.

    def _begin_if_needed(self) -> None:
        if self._rules and _pins_are_elsewhere(self._now_with.configuration.sync):
            _logger.warning("fallback: no domain of the map is released: %s", _PINS_ELSEWHERE)
        if self._rules and self._round is None:
            loop = asyncio.get_running_loop()
            self._round = loop.create_task(self._go_round())
            self._writer = loop.create_task(self._keep_written())

    async def _go_round(self) -> None:
        while True:
            try:
                await self._look()
            except Exception:
                _logger.exception("internal error; nothing more is released for now")
            self._is_written_to.set()
            await asyncio.sleep(self._now_with.configuration.fallback.probe_interval)

    async def _look(self) -> None:
        """Probe what fails, and decide. What is released first: it has to come back, however much else fails."""
        released: set[Endpoint] = set()
        others: set[Endpoint] = set()
        for watched in self.observed.suspects.values():
            (released if watched.is_released else others).update(watched.targets)
        await self._probe_each(released)
        self._expire()
        self._is_written_to.set()
        until = time.monotonic() + self._now_with.configuration.fallback.probe_interval
        await self._probe_each(others - released, until)
        for domain in self.observed.released:
            if why := await self._why_not(domain):
                self._why_back[domain] = why
                self.observed.withhold(domain)
        for domain in self.observed.due(time.monotonic()):
            if await self._why_not(domain) is None:
                self.observed.release(domain, time.monotonic())
        self._expire()

    async def _probe_each(self, endpoints: Iterable[Endpoint], until: float = math.inf) -> None:
        """Probe onion MXes, those first that were not probed for longest.

        Args:
            until: after that none is begun.
        """
        turn = asyncio.Semaphore(_AT_ONCE)
        searching = asyncio.Lock()

        async def probe_one(endpoint: Endpoint) -> None:
            async with turn:
                async with searching:
                    await self._look_for_evidence()
                if time.monotonic() < until:
                    self._probed[endpoint] = time.monotonic()
                    await self._probe(endpoint)

        in_turn = sorted(endpoints, key=lambda each: self._probed.get(each, 0.0))
        await asyncio.gather(*map(probe_one, in_turn[:_PROBED]))

    async def _look_for_evidence(self) -> None:
        """See that tor works and other onion MXes can be reached, where no delivery has shown it just now."""
        last = self.observed.last_answer()
        every = min(self._now_with.configuration.fallback.probe_interval, EVIDENCE / 2)
        now = time.monotonic()
        if now - self._searched < every or (last is not None and now - last < every):
            return
        self._searched = now
        for endpoint in self.observed.controls()[:_CONTROLS]:
            if await self._probe(endpoint):
                return

    async def _probe(self, endpoint: Endpoint) -> bool:
        """Whether an onion MX answers; what comes of it is counted."""
        now_with = self._now_with
        relay = now_with.configuration.relay
        timeouts = Timeouts(greeting=_SILENCE, command=_SILENCE)
        try:
            await reach(now_with.connector, endpoint, relay.ehlo_name, TlsPolicy(relay.tls), timeouts)
        except OnionmxError as error:
            if is_of_target(error):
                self.failed(endpoint, error)
            return has_answered(error)
        self.answered(endpoint)
        return True

    async def _why_not(self, domain: Domain) -> str | None:
        """Why a domain must not be released whatever fails; `None` where it may be."""
        now_with = self._now_with
        answer = await now_with.route(domain)
        if isinstance(answer, CouldNotTell):
            return f"its route could not be told: {answer.reason}"
        if not isinstance(answer, Found) or answer.route.source not in _ROUTES:
            self.observed.forget(domain)
            return "its route is the word of the operator, or gone"
        if answer.route.source is Source.MAP and _pins_are_elsewhere(now_with.configuration.sync):
            return _PINS_ELSEWHERE
        self._look_at(answer.route)  # other onion MXes begin at zero
        try:
            demand = await now_with.demand(answer.route)
        except TemporaryError as error:
            return f"it could not be told what it demands of its onion MX: {error}"
        return "its onion MX has to prove itself" if demand is not None else None

    def _look_at(self, route: Route) -> None:
        changes = self.observed.changes
        self.observed.wanted(route.domain, route.endpoints)
        if self.observed.changes != changes:
            self._why_back[route.domain] = "its onion MXes have changed"
            self._is_written_to.set()

    def _expire(self) -> None:
        before = self.observed.released
        self.observed.expire(time.monotonic())
        for domain in before - self.observed.released:
            self._why_back[domain] = "it could not be confirmed for an hour that only its own onion MXes fail"

    # The files.

    async def _keep_written(self) -> None:
        while not self._is_over:
            await self._is_written_to.wait()
            self._is_written_to.clear()
            if self._is_over:
                return
            try:
                await self._publish()
                await asyncio.to_thread(self._save, self.observed.keep())
            except Exception:
                _logger.exception("internal error")

    async def _publish(self) -> None:
        released, confirmed = self.observed.released, self.observed.confirmed or 0.0
        if released == self._written and (not released or confirmed - self._confirmed < CONFIRM):
            return
        path, age = self._now_with.path, time.monotonic() - confirmed if released else 0.0
        hours = {domain: self.observed.failed_for(domain) / 3600 for domain in released}
        try:
            await asyncio.to_thread(write_released, path, released, age)
        except MapError as error:
            self._complain(error)
            if self._written - released:
                disown(path)  # what has come back must not leave for want of space on a disk
            return
        self._trouble = ""
        former, self._written, self._confirmed = self._written, released, confirmed
        metrics.released.set(len(released))
        for domain in sorted(released - former):
            _logger.error(
                "%s: released: all its onion MXes have failed for %.1f h while others answered; "
                "its mail goes over the open internet until one of them answers",
                domain,
                hours[domain],
            )
        for domain in sorted(former - released):
            why = self._why_back.get(domain, "one of its onion MXes has answered")
            _logger.error("%s: no longer released: %s; its mail goes over its onion MXes", domain, why)
        self._why_back.clear()

    def _write_nothing_released(self, path: Path) -> None:
        """Write an empty file where there are rules, so that there is one, or where an old one names domains."""
        metrics.released.set(0)
        if not has_entries(path) and (not self._rules or os.path.lexists(path)):
            return
        try:
            write_released(path, ())
        except MapError as error:
            self._complain(error)
            disown(path)

    def _complain(self, error: MapError) -> None:
        if str(error) != self._trouble:
            self._trouble = str(error)
            _logger.error("fallback: %s", error)

    def _restore(self) -> None:
        try:
            kept = read_memory(memory_file(self._now_with.configuration), time.time())
        except SavedError as error:
            _logger.warning("%s; failures are counted from now on", error)
            return
        if kept is not None:
            self.observed.restore(kept)

    def _save(self, kept: Kept) -> None:
        try:
            write_memory(memory_file(self._now_with.configuration), kept, time.time())
        except SavedError as error:
            _logger.warning("%s", error)

    @property
    def _now_with(self) -> _With:
        assert self._with is not None  # noqa: S101 -- set at the start
        return self._with


def _with(configuration: Configuration, route: Ask, demand: DemandOf) -> _With:
    tor = configuration.tor
    return _With(configuration, route, demand, SocksConnector(tor.socks, tor.connect_timeout, tor.user))


def _pins_are_elsewhere(settings: SyncSection) -> bool:
    """Whether this host has no file of pins and takes those of a shared store; the map does not say what is one."""
    is_shared = bool(settings.store) and isinstance(parse_store(settings.store), ValkeyAddress)
    return is_shared and not os.path.lexists(settings.pins)


def _one_line(error: OnionmxError) -> str:
    return "; ".join(str(error).splitlines())
