"""What the relay remembers of its deliveries: which destinations fail, since when and why, and how many it has made.

It outlives reloads, and restarts by its file. Belongs to one event loop.
"""

import asyncio
import logging
import time
from collections.abc import Iterable, Mapping
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from onionmx import __version__
from onionmx.clock import Clock, Timestamp, day_of
from onionmx.domain import Domain
from onionmx.onion import Endpoint
from onionmx.relay import metrics
from onionmx.relay.sessions.recent import Recent
from onionmx.saved import SavedError
from onionmx.smtp.reply import Reply
from onionmx.status.deliveries import (
    MOST_DOMAINS,
    MOST_FAILING,
    MOST_REASON,
    Deliveries,
    Key,
    added,
    kept,
    read_deliveries,
    write_deliveries,
)
from onionmx.status.model import DayCount, FailingDestination, FailureKind, RelayStatus
from onionmx.text import printable_ascii

SAVE_INTERVAL = 30.0
"""Seconds between two writings of the file."""

_logger = logging.getLogger(__name__)


class Failure(Struct, frozen=True):
    """How a try ended.

    Attributes:
        kind: why, as one word.
        why: in words.
        is_counted: it is not another message's failure, which counted already.
        pause: seconds until the destination is tried again.
    """

    kind: FailureKind
    why: str
    is_counted: bool = True
    pause: float = 0.0


class DeliveryRecord:
    """Remembers them.

    Args:
        clock: gives the time.
    """

    def __init__(self, clock: Clock = time.time) -> None:
        self._clock = clock
        self._file: Path | None = None
        self._is_shared = False
        self._saving = asyncio.Lock()
        self._failing: dict[Key, FailingDestination] = {}
        self._changed: Recent[Key, FailingDestination | None] = Recent()  # bounded, while it cannot be saved
        self._days: dict[str, DayCount] = {}
        self._counted: dict[str, DayCount] = {}
        self._started = self._saved_at = self._pauses_since = clock()
        self._why = ""

    def keep_in(self, file: Path, *, is_shared: bool = False) -> None:
        """Take over what is in a file, and write there what is found out, with `save`.

        A file that cannot be read is a warning in the log, and is written anew.

        Args:
            file: the file.
            is_shared: other workers write there too.
        """
        self._file, self._is_shared = file, is_shared
        try:
            known = read_deliveries(file, self._clock())
        except SavedError as error:
            _logger.warning("%s; what fails and what was delivered is counted anew", error)
            self._why = str(error)
        else:
            self._take(known or Deliveries())

    def failed(self, target: Endpoint, domain: Domain, failure: Failure) -> None:
        """A destination could not be brought to take mail.

        Args:
            target: which.
            domain: whose mail was to go there.
            failure: how.
        """
        key = (*target, domain if failure.kind is FailureKind.NOT_PROVEN else "")
        now = self._clock()
        old = self._failing.get(key)
        domains = [domain, *(other for other in (old.domains if old else ()) if other != domain)][:MOST_DOMAINS]
        self._put(
            key,
            FailingDestination(
                onion=target[0],
                port=target[1],
                domains=tuple(domains),
                kind=failure.kind,
                reason=printable_ascii(failure.why)[:MOST_REASON],
                failures=(old.failures if old else 0) + (failure.is_counted or old is None),
                since=min(old.since, now) if old else now,
                last=now,
                next_try=now + failure.pause if failure.pause > 0 else None,
            ),
        )

    def succeeded(self, target: Endpoint, domain: Domain) -> None:
        """A destination has answered with a session, whatever it said to the message."""
        for key in ((*target, ""), (*target, domain)):
            if key in self._failing:
                self._put(key, None)

    def answered(self, replies: Iterable[Reply]) -> None:
        """Recipients were answered, by an onion MX or in its place."""
        for reply in replies:
            digit = reply.code // 100
            metrics.delivered(digit).inc()
            day = day_of(self._clock())
            count = DayCount(day=day, delivered=digit == 2, deferred=digit == 4, refused=digit == 5)  # noqa: PLR2004
            self._counted = added(self._counted, {day: count})

    def end_pauses(self) -> None:
        """All destinations are tried at once, as after a reload."""
        self._pauses_since = self._clock()

    def failing(self) -> tuple[FailingDestination, ...]:
        """Destinations that fail, the longest failing first."""
        now = self._clock()
        known = kept(self._failing, {}, now).failing.values()
        return tuple(sorted((self._with_next(each, now) for each in known), key=lambda each: each.since))

    def days(self) -> tuple[DayCount, ...]:
        """Counts by day, the oldest first."""
        return tuple(kept({}, added(self._days, self._counted), self._clock()).days.values())

    async def status(self, in_flight: int) -> RelayStatus:
        """What the control socket tells; what other workers have saved is known then, too.

        Args:
            in_flight: messages that are being handed over.
        """
        await self.save()
        return RelayStatus(
            version=__version__,
            at=self._saved_at if self._is_shared and not self._why else self._clock(),
            started=self._started,
            in_flight=in_flight,
            sessions=metrics.open_sessions(),
            failing=self.failing(),
            days=self.days(),
            why=self._why,
        )

    async def save(self) -> None:
        """Write what has changed, and learn what others have written.

        Where that fails, a warning in the log, and another try the next time.
        """
        # What has begun is brought to its end, even if the one who asked for it is gone: else counts would be lost.
        await asyncio.shield(asyncio.get_running_loop().create_task(self._save_once()))

    async def save_now_and_then(self) -> None:
        """Save every `SAVE_INTERVAL` seconds, for ever."""
        while True:
            await asyncio.sleep(SAVE_INTERVAL)
            await self.save()

    async def _save_once(self) -> None:
        async with self._saving:
            if self._file is not None and (self._changed or self._counted or self._is_shared):
                await self._save(self._file)

    async def _save(self, file: Path) -> None:
        changed, self._changed = self._changed, Recent()
        counted, self._counted = self._counted, {}
        try:
            known, self._saved_at = await asyncio.to_thread(self._write, file, changed, counted)
        except Exception as error:
            later, self._changed = self._changed, changed
            for key, failing in later.items():
                self._changed[key] = failing
            self._counted = added(counted, self._counted)
            if not isinstance(error, SavedError):
                _logger.exception("internal error")
            elif str(error) != self._why:  # once, and not every time
                _logger.warning("%s", error)
            self._why = str(error)
        else:
            self._why = ""
            self._take(known)

    def _write(
        self, file: Path, changed: Mapping[Key, FailingDestination | None], counted: Mapping[str, DayCount]
    ) -> tuple[Deliveries, Timestamp]:
        """What the file holds now, and since when: of several workers, the one who was last knows all."""
        known = write_deliveries(file, changed, counted, self._clock())
        return known, self._clock()

    def _take(self, known: Deliveries) -> None:
        """Know what the file says, and what has changed since."""
        self._days = dict(known.days)
        current = {**known.failing, **self._changed}
        self._failing = {key: each for key, each in current.items() if each is not None}
        for kind in FailureKind:
            metrics.failing.labels(kind.value).set(sum(each.kind is kind for each in self._failing.values()))

    def _put(self, key: Key, failing: FailingDestination | None) -> None:
        old = self._failing.pop(key, None)
        if old is not None:
            metrics.failing.labels(old.kind.value).dec()
        self._changed[key] = failing
        if failing is not None:
            self._failing[key] = failing  # at the end: what failed last
            metrics.failing.labels(failing.kind.value).inc()
            if len(self._failing) > MOST_FAILING:
                self._put(next(iter(self._failing)), None)

    def _with_next(self, failing: FailingDestination, now: Timestamp) -> FailingDestination:
        """With the time of the next try; none where it has come, or the pause ended with a process or a reload."""
        if failing.next_try is not None and (failing.next_try <= now or failing.last < self._pauses_since):
            return replace(failing, next_try=None)
        return failing
