"""Onions that never answer: what they cost the others, and how soon the MTA hears of them."""

import asyncio
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from random import Random
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.measure import Row, at_most
from tests.bench.mta import Answer, Mta
from tests.bench.relay_candidates import Relay, relay
from tests.bench.relay_stage import StandIn, stage
from tests.onions import make_onion

ROUND_TRIP = 0.3
HEALTHY = {f"healthy{number}.example": make_onion(f"healthy {number}") for number in range(25)}
DEAD = {f"dead{number}.example": make_onion(f"dead {number}") for number in range(25)}
WAITING = 20
"""Messages for each onion."""
ROUNDS = 3
TIMES = 1.3
FLUSHED = 20_000
SESSIONS = 500
"""Of the MTA that flushes its queue, half of what the relay takes."""
SECONDS = 60.0
MEMORY = 200_000_000
NO_DESCRIPTOR = 5.0
"""Seconds until the stand-in says F0, as tor does once it has asked the directories."""


def measure() -> Iterator[Row]:
    """Measure what the others notice, then flush a queue."""
    with TemporaryDirectory(prefix="onionmx-bench-") as name, stage(Path(name)) as scene:
        scene.set_round_trip(ROUND_TRIP)
        scene.proxy.ask(silent=list(DEAD.values()))
        yield from _beside_dead(Path(name), scene)
        yield from _flush(Path(name) / "silent", scene, "that never answer")
        scene.proxy.ask(silent=[], offline=list(DEAD.values()), seconds=NO_DESCRIPTOR)
        yield from _flush(Path(name) / "offline", scene, "without descriptor (F0)")


def _beside_dead(folder: Path, scene: StandIn) -> Iterator[Row]:
    ways = {
        "alone": ([*HEALTHY], []),
        "the others wait already": ([*HEALTHY], [*DEAD]),
        "all handed over at once": ([*HEALTHY, *DEAD], []),
    }
    times: dict[str, list[float]] = {way: [] for way in ways}
    needed = ""
    for turn in range(ROUNDS):
        for number, (way, (domains, waiting)) in enumerate(ways.items()):
            with _running(folder / f"{turn}-{number}", scene) as candidate:
                found, descriptors = asyncio.run(_deliver(candidate, domains, waiting))
                times[way] += found
                needed = f"{candidate.peak_memory / 1e6:.0f} MB, {candidate.threads} threads, {descriptors} descriptors"
    medians = {way: median(found) for way, found in times.items()}
    what = f"{len(HEALTHY)} onions that answer, {len(DEAD)} that never do, {WAITING} messages for each"
    for way, seconds in medians.items():
        yield Row(f"{what}, {way}: median of a message that arrives", f"{seconds:.2f} s")
    alone, beside, at_once = medians.values()
    yield at_most("a message that arrives, while others wait for the dead / without them", beside / alone, TIMES)
    yield Row("the same where all are handed over at once, twice as many", f"{at_once / alone:.2f} x")
    yield Row(f"needed while {len(DEAD) * WAITING} messages wait for the dead", needed)


async def _deliver(candidate: Relay, domains: Sequence[str], waiting: Sequence[str]) -> tuple[list[float], int]:
    """Send until all messages to healthy onions are delivered.

    Args:
        candidate: the relay.
        domains: whose messages are handed over at the same time.
        waiting: whose messages were handed over before.

    Returns:
        The seconds of each message that was delivered, and the descriptors open at the end.
    """
    before = Mta(candidate.lmtp.port, [*waiting] * WAITING, len(waiting) * WAITING)
    await before.begin()
    await before.until_sent(len(waiting) * WAITING)
    queue = [*domains] * WAITING
    Random(len(queue)).shuffle(queue)
    mta = Mta(candidate.lmtp.port, queue, len(queue))
    await mta.begin()
    await mta.until(len(HEALTHY) * WAITING, positive=True)
    descriptors = candidate.descriptors
    await mta.end()
    await before.end()
    return [answer.seconds for answer in mta.answers if answer.is_positive], descriptors


def _flush(folder: Path, scene: StandIn, which: str) -> Iterator[Row]:
    """Send a queue of messages to dead onions; one for each may wait for tor's verdict."""
    with _running(folder, scene) as candidate:
        seconds, answers = asyncio.run(_flush_queue(candidate))
        peak = candidate.peak_memory
    what = f"{FLUSHED} messages to {len(DEAD)} onions {which}"
    told = sum(answer.reply.startswith("451 4.4.1 ") and _has_reason(answer) for answer in answers)
    yield Row(
        f"{what}: answered 451 with the reason",
        f"{told} in {seconds:.0f} s",
        f"at least {FLUSHED - len(DEAD)} in {SECONDS:g} s",
        told == len(answers) and seconds <= SECONDS,
    )
    yield Row(f"{what}: peak resident memory", f"{peak / 1e6:.0f} MB", f"below {MEMORY / 1e6:g} MB", peak < MEMORY)


async def _flush_queue(candidate: Relay) -> tuple[float, list[Answer]]:
    mta = Mta(candidate.lmtp.port, [*DEAD] * (FLUSHED // len(DEAD)), SESSIONS)
    await mta.begin()
    seconds = await mta.until(FLUSHED - len(DEAD))
    answers = list(mta.answers)
    await mta.end()
    return seconds, answers


def _has_reason(answer: Answer) -> bool:
    return any(
        words in answer.reply
        for words in ("no descriptor found", "times in a row", "another message waits for the result")
    )


@contextmanager
def _running(folder: Path, scene: StandIn) -> Iterator[Relay]:
    # What waits for a dead onion when all is seen shall not hold up the end.
    with relay(folder, scene, HEALTHY | DEAD, grace=0) as candidate:
        yield candidate
