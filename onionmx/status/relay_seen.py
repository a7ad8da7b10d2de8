"""What is known of the relay's deliveries: from the relay itself, or, where it does not run, from its file."""

import asyncio
import time
from datetime import date, timedelta
from functools import partial
from pathlib import Path

from msgspec import Struct
from msgspec.structs import replace

from onionmx.clock import Timestamp, day_of
from onionmx.config import Configuration
from onionmx.errors import InputError
from onionmx.files import read_regular
from onionmx.status.deliveries import MAX_SIZE, Deliveries, parse_deliveries, places
from onionmx.status.model import (
    CouldHaveGone,
    DayCount,
    DeliveriesStatus,
    DeliveryCount,
    FailingDestination,
    FailingStatus,
)
from onionmx.status.relay import TIMEOUT, NoRelayError, RelayError, ask_relay

SHOWN_DAYS = 30


class RelaySeen(Struct, frozen=True, kw_only=True):
    """What was seen.

    Attributes:
        failing: destinations, the longest failing first; `None` where that could not be told.
        days: counts, the oldest first; `None` where that could not be told.
        in_flight: messages that it is handing over; `None` where it could not be asked.
        why: what is not known, and why; empty where all is.
        is_whole: all that there is could be read.
    """

    failing: tuple[FailingDestination, ...] | None = None
    days: tuple[DayCount, ...] | None = None
    in_flight: int | None = None
    why: str = ""
    is_whole: bool = True

    @property
    def failing_status(self) -> FailingStatus:
        """As it is told."""
        return FailingStatus(destinations=self.failing, why=self.why)

    def deliveries(self, now: Timestamp, could: CouldHaveGone | None = None, could_why: str = "") -> DeliveriesStatus:
        """The counts as they are told.

        Args:
            now: the time.
            could: what could have gone.
            could_why: why that is not known.
        """
        told = DeliveriesStatus(why=self.why, could_have_gone=could, could_have_gone_why=could_why)
        if self.days is None:
            return told
        days = last_days(self.days, now)
        return replace(told, today=_sum(days[-1:]), last_30_days=_sum(days), days=days)


async def look_at_relay(configuration: Configuration, limit: float = TIMEOUT) -> RelaySeen:
    """Ask the relay, or read its file.

    Args:
        limit: seconds.
    """
    try:
        told = await ask_relay(configuration.relay, limit)
    except NoRelayError as error:
        return await asyncio.to_thread(partial(_of_file, configuration, str(error)))
    except RelayError as error:
        return RelaySeen(why=str(error), is_whole=False)
    return RelaySeen(
        failing=told.failing, days=told.days, in_flight=told.in_flight, why=told.why, is_whole=not told.why
    )


def last_days(days: tuple[DayCount, ...], now: Timestamp) -> tuple[DayCount, ...]:
    """The last `SHOWN_DAYS` days, the oldest first, one without a delivery included."""
    known = {each.day: each for each in days}
    return tuple(known.get(day) or DayCount(day=day) for day in shown_days(now))


def shown_days(now: Timestamp) -> list[str]:
    """The last `SHOWN_DAYS` days, the oldest first."""
    last = date.fromisoformat(day_of(now))
    return [(last - timedelta(days=back)).isoformat() for back in reversed(range(SHOWN_DAYS))]


def _sum(days: tuple[DayCount, ...]) -> DeliveryCount:
    return DeliveryCount(
        delivered=sum(each.delivered for each in days),
        deferred=sum(each.deferred for each in days),
        refused=sum(each.refused for each in days),
    )


def _of_file(configuration: Configuration, silent: str) -> RelaySeen:
    """What the relay knew when it ran last.

    Args:
        silent: why it is not asked.
    """
    for path in places(configuration):
        try:
            known = _read(path)
        except FileNotFoundError:
            continue
        except OSError as error:
            return RelaySeen(why=f"{silent}; {path} cannot be read: {error.strerror}", is_whole=False)
        except InputError as error:
            return RelaySeen(why=f"{silent}; {path}: {error}", is_whole=False)
        failing = tuple(sorted(known.failing.values(), key=lambda each: each.since))
        why = f"{silent} This is what it knew when it ran last."
        return RelaySeen(failing=failing, days=tuple(known.days.values()), why=why)
    return RelaySeen(why=f"{silent} What the MTA delivers by itself is not counted.")


def _read(path: Path) -> Deliveries:
    if path.is_symlink():  # the service owns the folder, and root would follow it
        raise InputError("it is a link: expected a file")
    return parse_deliveries(read_regular(path, MAX_SIZE), time.time())
