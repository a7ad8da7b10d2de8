"""Ten thousand onions for an hour, an hour without tor, and what follows: sessions, circuits, time to deliver."""

import asyncio
import logging
from collections.abc import Iterator
from dataclasses import dataclass, field
from random import Random
from statistics import mean, median, quantiles

from onionmx.config import RelaySection
from onionmx.relay.delivery import Courier
from onionmx.relay.destinations import Destinations
from onionmx.relay.record import DeliveryRecord
from onionmx.relay.sessions.backoff import Backoff
from onionmx.relay.sessions.pool import SessionPool
from tests.bench.measure import Row
from tests.bench.scale.clock import simulate
from tests.bench.scale.mta import SESSIONS, Mta
from tests.bench.scale.tor import OFFLINE, SILENT, Tor

ONIONS = 10_000
RATE = 5.0
"""Messages a second: 432 000 a day."""
BEGIN = 900.0
"""Seconds until as many circuits end as begin."""
HOUR = 3600.0
SEED = 14


@dataclass
class _Phase:
    """What is seen from `start` to `end`, in virtual seconds."""

    start: float
    end: float
    sessions: list[int] = field(default_factory=list)
    circuits: list[int] = field(default_factory=list)
    seconds: list[float] = field(default_factory=list)
    messages: dict[bool, int] = field(default_factory=dict)


def measure() -> Iterator[Row]:
    """Simulate it, and tell what was needed."""
    logging.disable(logging.CRITICAL)
    try:
        usual, after = simulate(_play())
    finally:
        logging.disable(logging.NOTSET)
    yield Row(
        f"simulated: {ONIONS} onions, {RATE:g} messages/s by Zipf's law",
        f"{OFFLINE:.0%} of the onions offline, {SILENT:.0%} silent, MTA with {SESSIONS} sessions",
    )
    yield from _needs("an hour", usual)
    share = usual.messages[False] / sum(usual.messages.values())
    yield Row("messages that ride on an open session", f"{share:.0%} of {sum(usual.messages.values())}")
    yield Row("seconds from arrival to 250", _spread(usual.seconds))
    yield from _needs("the hour after an hour without tor", after)
    waited = len(after.seconds)
    yield Row(f"from its end until {waited} messages that waited are delivered", _spread(after.seconds))


def _needs(what: str, phase: _Phase) -> Iterator[Row]:
    for name, values in (("sessions", phase.sessions), ("circuits", phase.circuits)):
        yield Row(f"{name} in {what}", f"peak {max(values)}, mean {mean(values):.0f}")


def _spread(seconds: list[float]) -> str:
    return f"median {median(seconds):.1f} s, p95 {quantiles(seconds, n=20)[-1]:.1f} s"


async def _play() -> tuple[_Phase, _Phase]:
    loop = asyncio.get_running_loop()
    random = Random(SEED)
    tor = Tor(ONIONS, random)
    settings = RelaySection()
    pool = SessionPool(settings, tor.open)
    down = BEGIN + HOUR
    up = down + HOUR
    usual, after = _Phase(BEGIN, down), _Phase(up, up + HOUR)

    def taken(arrived: float, delivered: float) -> None:
        if usual.start <= arrived and delivered < usual.end:
            usual.seconds.append(delivered - arrived)
        elif down <= arrived < up:
            after.seconds.append(delivered - up)

    courier = Courier(pool, Destinations(Backoff(random, loop.time), DeliveryRecord()), settings.deadline)
    mta = Mta(courier, tor.onions, random, taken)
    feeding = loop.create_task(mta.feed(RATE, after.end))
    await _watch(tor, usual)
    tor.stop()
    await asyncio.sleep(up - loop.time())
    tor.start()
    await _watch(tor, after)
    await feeding
    await mta.until_delivered()
    await mta.stop()
    await pool.close()
    return usual, after


async def _watch(tor: Tor, phase: _Phase) -> None:
    """Look once a second."""
    loop = asyncio.get_running_loop()
    await asyncio.sleep(phase.start - loop.time())
    before = dict(tor.messages)
    while loop.time() < phase.end:
        phase.sessions.append(tor.sessions)
        phase.circuits.append(tor.circuits)
        await asyncio.sleep(1)
    phase.messages = {is_first: count - before[is_first] for is_first, count in tor.messages.items()}
