"""All of a host, each source asked by itself: one that hangs costs a line."""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Mapping
from functools import partial
from typing import TypeVar

from msgspec import Struct
from msgspec.structs import replace

from onionmx import __version__
from onionmx.clock import Timestamp
from onionmx.config import Configuration
from onionmx.doctor.machine import Machine, in_thread
from onionmx.errors import OnionmxError
from onionmx.status.look.queue import look_at_queue
from onionmx.status.look.state import StateSeen, look_at_state
from onionmx.status.look.tor import look_at_onions, look_at_tor
from onionmx.status.model import (
    DeliveriesStatus,
    FallbackStatus,
    MapStatus,
    OnionsStatus,
    QueueStatus,
    Status,
    TorStatus,
)
from onionmx.status.relay_seen import RelaySeen, look_at_relay, shown_days
from onionmx.status.released import look_at_released

LIMIT = 10.0
"""Seconds for each source."""
_MARGIN = 1.0  # seconds by which what can say how far it got ends before its limit
KEPT = 300.0
"""Seconds for which what the directories said of our onions is told again: to ask them is work for others."""

_logger = logging.getLogger(__name__)
T = TypeVar("T")


class HostSeen(Struct, frozen=True):
    """What was seen of a host.

    Attributes:
        status: all of it.
        is_whole: everything that there is could be read.
    """

    status: Status
    is_whole: bool


class Host:
    """Looks at this host, once or again and again.

    Args:
        limit: seconds for each source.
    """

    def __init__(self, configuration: Configuration, limit: float = LIMIT) -> None:
        self._configuration = configuration
        self._limit = limit
        self._onions: tuple[float, OnionsStatus] | None = None

    async def look(self) -> HostSeen:
        """Ask all sources side by side."""
        configuration, short = self._configuration, self._limit - min(_MARGIN, self._limit / 2)
        machine = Machine(configuration)
        try:
            tor, onions, state, relay, fallback, queue = await asyncio.gather(
                self._within(look_at_tor(machine)),
                self._within(self._look_at_onions(machine, short)),
                self._within(in_thread(partial(look_at_state, configuration, short))),
                self._within(look_at_relay(configuration, short)),
                self._within(in_thread(partial(look_at_released, configuration.fallback))),
                self._within(look_at_queue()),
            )
        finally:
            await machine.close()
        parts = (tor, onions, state, relay, fallback, queue)
        return HostSeen(
            self._status(*parts), is_whole=all(not isinstance(part, str) and _is_whole(part) for part in parts)
        )

    def _status(  # noqa: PLR0913, PLR0917 -- one for each source
        self,
        tor: TorStatus | str,
        onions: OnionsStatus | str,
        state: StateSeen | str,
        relay: RelaySeen | str,
        fallback: FallbackStatus | str,
        queue: QueueStatus | str,
    ) -> Status:
        """Put together what was seen, or why it was not."""
        now = time.time()
        if isinstance(state, str):
            told = MapStatus(path=self._configuration.map.path, why=state)
            state = StateSeen(told, could_have_gone_why=state)
        relay = RelaySeen(why=relay) if isinstance(relay, str) else relay
        queue = QueueStatus(why=queue) if isinstance(queue, str) else queue
        return Status(
            version=__version__,
            host=socket.gethostname(),
            at=now,
            tor=TorStatus(answers=None, why=tor) if isinstance(tor, str) else tor,
            onions=OnionsStatus(services=None, why=onions) if isinstance(onions, str) else onions,
            map=state.map,
            failing=relay.failing_status,
            fallback=FallbackStatus(released=None, why=fallback) if isinstance(fallback, str) else fallback,
            queue=replace(queue, in_flight=relay.in_flight),
            deliveries=_with_sent(
                relay.deliveries(now, state.could_have_gone, state.could_have_gone_why), state.sent, now
            ),
        )

    async def _look_at_onions(self, machine: Machine, limit: float) -> OnionsStatus:
        now = time.monotonic()
        if self._onions is not None and now - self._onions[0] < KEPT:
            return self._onions[1]
        onions = await look_at_onions(machine, limit)
        if onions.services is not None and all(service.published is not None for service in onions.services):
            self._onions = now, onions
        return onions

    async def _within(self, look: Awaitable[T]) -> T | str:
        """What was seen, or why nothing was."""
        try:
            async with asyncio.timeout(self._limit):
                return await look
        except TimeoutError:
            return f"no answer within {self._limit:g} s"
        except OnionmxError as error:
            return "; ".join(str(error).splitlines())
        except Exception as error:
            # A fault of ours with one source must not hide what the others told.
            _logger.warning("a part of the status failed", exc_info=True)
            return f"internal error: {type(error).__name__}: {error}"


def _with_sent(deliveries: DeliveriesStatus, sent: Mapping[str, int] | None, now: Timestamp) -> DeliveriesStatus:
    """With what sync has counted of all mail in the logs, by day."""
    if sent is None:
        return deliveries
    days = shown_days(now)
    return replace(
        deliveries, sent_today=sent.get(days[-1], 0), sent_last_30_days=sum(sent.get(day, 0) for day in days)
    )


def _is_whole(part: object) -> bool:
    """Whether all that there is was read."""
    match part:
        case TorStatus():
            return part.version is not None
        case FallbackStatus():
            return part.released is not None
        case OnionsStatus():
            return part.services is not None
        case StateSeen() | RelaySeen():
            return part.is_whole
        case _:
            return True
