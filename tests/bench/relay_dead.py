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
    alone: list[float] = []
    beside: list[float] = []
    for turn in range(ROUNDS):
        for times, domains in ((alone, [*HEALTHY]), (beside, [*HEALTHY, *DEAD])):
            with _running(folder / f"{turn}-{len(domains)}", scene) as candidate:
                descriptors = asyncio.run(_wait_for_healthy(candidate, domains, times))
                memory, threads = candidate.peak_memory / 1e6, candidate.threads
    what = f"{len(HEALTHY)} onions, {WAITING} messages for each"
    yield Row(f"{what}, median of a message", f"{median(alone):.2f} s")
    yield Row(f"{what}, beside {len(DEAD)} that never answer", f"{median(beside):.2f} s")
    yield at_most("the same, beside / alone", median(beside) / median(alone), TIMES)
    needed = f"{memory:.0f} MB, {threads} threads, {descriptors} descriptors"
    yield Row(f"the same, beside: {len(DEAD) * WAITING} messages wait", needed)


async def _wait_for_healthy(candidate: Relay, domains: Sequence[str], times: list[float]) -> int:
    """Send all at once until those to healthy onions are delivered; the descriptors that are open then."""
    queue = [*domains] * WAITING
    Random(len(queue)).shuffle(queue)
    mta = Mta(candidate.lmtp.port, queue, len(queue))
    await mta.begin()
    await mta.until(len(HEALTHY) * WAITING, positive=True)
    descriptors = candidate.descriptors
    await mta.end()
    times += [answer.seconds for answer in mta.answers if answer.is_positive]
    return descriptors


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
        words in answer.reply for words in ("no descriptor found", "times in a row", "another message goes on waiting")
    )


@contextmanager
def _running(folder: Path, scene: StandIn) -> Iterator[Relay]:
    # What waits for a dead onion when all is seen shall not hold up the end.
    with relay(folder, scene, HEALTHY | DEAD, grace=0) as candidate:
        yield candidate
