"""The watch as a daemon: rounds of probes, and what is done after them."""

import asyncio
import logging
import time
from collections.abc import Awaitable
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

import msgspec

from onionmx.clock import Clock, Timestamp
from onionmx.config import Configuration
from onionmx.errors import ConfigurationError, ControlError, OnionmxError, TemporaryError
from onionmx.isolation import isolated
from onionmx.onion import DEFAULT_PORT
from onionmx.saved import SavedError
from onionmx.tor.service.running import OnionService, mail_services
from onionmx.watch import renewal
from onionmx.watch.judge import Probed, Reach, Step, Watched, decide, forgotten, may_drop_guards, noted
from onionmx.watch.listening import Listening, listening
from onionmx.watch.metrics_file import NOT_RENEWED, RENEWED, Counts, metrics_text, write_metrics
from onionmx.watch.probing import probe
from onionmx.watch.state import FORMAT, WatchState, read_state, write_state

NO_SERVICE = f"tor has no onion service with port {DEFAULT_PORT}: onionmx onion create makes one"
_LOOK = 10.0
"""Seconds until it is looked again whether clients are still connected, or tor takes back what it has to have."""
_LEVELS = {Reach.REACHABLE: logging.INFO, Reach.FAILED: logging.WARNING, Reach.UNKNOWN: logging.WARNING}

_logger = logging.getLogger("onionmx.watch")
_Result = TypeVar("_Result")


def steady_clock() -> Clock:
    """The time of day when it was made, and then as the monotonic clock goes on: setting the clock moves nothing."""
    start = time.time() - time.monotonic()
    return lambda: start + time.monotonic()


class WatchService:
    """What runs; see `onionmx.daemon.Service`.

    Args:
        configuration: with which it begins.
        path: of the state.
        now: the time.
    """

    name = "watch"

    def __init__(self, configuration: Configuration, path: Path, now: Clock | None = None) -> None:
        self._configuration = configuration
        self._path = path
        self._now = now or steady_clock()
        self._counts = Counts()
        self._state = WatchState(FORMAT)
        self._changed = asyncio.Event()

    async def start(self) -> None:
        """Read what a former run knew, and begin."""
        now = self._now()
        try:
            self._state = read_state(self._path, now) or self._state
        except SavedError as error:
            _logger.warning("%s; it is written anew", error)
        self._state.services = [forgotten(service, now) for service in self._state.services]
        self._task = asyncio.get_running_loop().create_task(self._run())

    def take(self, configuration: Configuration) -> None:
        """Use another configuration from the next round on, which begins now."""
        self._configuration = configuration
        self._changed.set()

    def refused(self) -> None:
        """See `onionmx.daemon.Service`."""

    async def stop(self) -> None:
        """End; a renewal that is under way is finished."""
        self._task.cancel()
        with suppress(asyncio.CancelledError):
            await self._task

    async def _run(self) -> None:
        while True:
            self._changed.clear()
            try:
                with isolated("watch"):
                    async with listening(self._configuration.tor, self._now) as tor:
                        while not self._changed.is_set():
                            await self._round(tor)
            except (TemporaryError, ConfigurationError) as error:
                self._could_not_tell(str(error))
                await self._sleep(self._pause)

    @property
    def _pause(self) -> float:
        """Seconds until tor is asked again."""
        interval = self._configuration.watch.interval
        return min(_LOOK, interval) if self._state.away is not None else interval

    async def _sleep(self, seconds: float) -> None:
        """Wait, or until there is another configuration."""
        with suppress(TimeoutError):
            async with asyncio.timeout(seconds):
                await self._changed.wait()

    async def _round(self, tor: Listening) -> None:
        """Probe all services, act, and wait for the next round."""
        end = self._now() + self._configuration.watch.interval
        await self._give_back(tor)
        services = await asyncio.to_thread(mail_services, tor.controller, DEFAULT_PORT, self._kept)
        known = {service.onion: service for service in services if service.onion is not None}
        if not known:
            raise ControlError(next((service.problem for service in services if service.problem), NO_SERVICE))
        self._tell_trouble("; ".join(service.problem for service in services if service.onion is None))
        probes = (probe(tor.controller, onion, self._configuration, self._now) for onion in known)
        self._note(dict(zip(known, await asyncio.gather(*probes), strict=True)))
        while await self._act(tor, known) and not self._changed.is_set():
            left = end - self._now()
            if left <= 0:
                return
            await self._sleep(min(left, _LOOK, self._configuration.watch.interval / 10))
        await self._sleep(max(0.0, end - self._now()))

    @property
    def _kept(self) -> Path:
        return Path(self._configuration.onion.directory)

    def _note(self, found: dict[str, Probed]) -> None:
        before = {service.onion: service for service in self._state.services}
        self._state.services = [noted(before.get(onion), onion, probed) for onion, probed in found.items()]
        for service in self._state.services:
            self._counts.probes[service.reach] += 1
        self._keep()  # first: who reads in the log of a change finds it in the state
        for service in self._state.services:
            former = before.get(service.onion)
            if former is None or former.reach is not service.reach or service.reach is Reach.FAILED:
                _tell(service, self._now())

    def _could_not_tell(self, why: str) -> None:
        now = self._now()
        self._tell_trouble(why)
        unknown = Probed(Reach.UNKNOWN, why, now, now)
        self._state.services = [noted(service, service.onion, unknown) for service in self._state.services]
        self._keep()

    def _tell_trouble(self, why: str) -> None:
        """Say once what is in the way, and once that it no longer is."""
        if why and why != self._state.trouble:
            _logger.error("could not tell whether the onion service is reachable: %s", why)
        elif self._state.trouble and not why:
            _logger.info("tor answers again")
        self._state.trouble = why

    async def _act(self, tor: Listening, known: dict[str, OnionService]) -> bool:
        """Renew what is due; whether something is due that waits for its clients."""
        waits = False
        for service in self._state.services:
            in_use = await asyncio.to_thread(renewal.is_in_use, tor.controller, service.onion)
            published = tor.published(service.onion)
            match decide(service, published, self._now(), self._configuration.watch, is_in_use=in_use):
                case Step.WAIT:
                    waits = True
                case Step.RENEW:
                    await self._renew(tor, known[service.onion], service)
        return waits

    async def _renew(self, tor: Listening, service: OnionService, watched: Watched) -> None:
        onion = watched.onion
        try:
            away = await asyncio.to_thread(renewal.take, tor.controller, service, self._kept)
            self._replace(watched, renewed=self._now(), renewals=watched.renewals + 1)
            self._state.away = away
            write_state(self._path, self._state)  # before tor gives anything up
        except OnionmxError as error:
            self._state.away = None
            self._counts.renewals[NOT_RENEWED] += 1
            _logger.error("%s is not renewed: %s", onion, error)  # noqa: TRY400 -- foreseen
            return
        failing = self._now() - watched.since
        _logger.warning("%s fails for %.0f s: tor gives it up and takes it back", onion, failing)
        try:
            await _to_the_end(asyncio.to_thread(renewal.renew, tor.controller, away, self._kept))
        except asyncio.CancelledError:
            # It was done to its end. Tor must not get back at the next start what has been removed meanwhile.
            self._state.away = None
            self._keep()
            raise
        except BaseException:
            self._counts.renewals[NOT_RENEWED] += 1
            raise
        self._state.away = None
        self._counts.renewals[RENEWED] += 1
        _logger.warning("%s is renewed: tor makes new introduction points and publishes them", onion)
        await self._new_circuits(tor)
        self._keep()

    async def _new_circuits(self, tor: Listening) -> None:
        settings, now = self._configuration.watch, self._now()
        commands = ["SIGNAL NEWNYM"]
        if may_drop_guards(self._state.guards_dropped, now, settings):
            self._state.guards_dropped = now
            self._keep()
            commands.insert(0, "DROPGUARDS")
        for command in commands:
            try:
                await asyncio.to_thread(renewal.signal, tor.controller, command)
            except ControlError as error:
                _logger.error("%s", error)  # noqa: TRY400 -- foreseen
                continue
            self._counts.guards_dropped += command == "DROPGUARDS"
            _logger.info("tor was told %s", command)

    async def _give_back(self, tor: Listening) -> None:
        """Have tor take back what a run gave up that could not finish."""
        if self._state.away is None:
            return
        onion = self._state.away.onion
        try:
            missed = await _to_the_end(
                asyncio.to_thread(renewal.give_back, tor.controller, self._state.away, self._kept)
            )
        except ControlError as error:
            raise ControlError(f"{onion} was given up, and is not taken back: {error}; restart tor") from error
        if missed:
            _logger.warning("%s was given up and not taken back: tor has it again", onion)
        self._state.away = None
        self._keep()

    def _replace(self, watched: Watched, *, renewed: Timestamp, renewals: int) -> None:
        changed = msgspec.structs.replace(watched, renewed=renewed, renewals=renewals)
        self._state.services = [changed if one is watched else one for one in self._state.services]

    def _keep(self) -> None:
        """Save what is known, and write the metrics; the next round tries again where that fails."""
        name = self._configuration.watch.metrics_file
        try:
            write_state(self._path, self._state)
            if name:
                write_metrics(Path(name), metrics_text(self._state.services, self._counts, self._now()))
        except SavedError as error:
            _logger.error("%s", error)  # noqa: TRY400 -- foreseen


def _tell(service: Watched, now: Timestamp) -> None:
    since = f" for {now - service.since:.0f} s" if service.reach is Reach.FAILED else ""
    _logger.log(_LEVELS[service.reach], "%s %s%s: %s", service.onion, service.reach, since, service.words)


async def _to_the_end(work: Awaitable[_Result]) -> _Result:
    """Wait for something that must not be left half done, even where we are told to stop."""
    task = asyncio.ensure_future(work)
    try:
        return await asyncio.shield(task)
    except asyncio.CancelledError:
        await task
        raise
