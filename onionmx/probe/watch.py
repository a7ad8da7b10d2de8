"""The same question again and again, at the same distance, until somebody ends it."""

import asyncio
import math
from collections.abc import Awaitable, Callable
from contextlib import suppress
from typing import TypeVar

T = TypeVar("T")


async def watch(
    interval: float, ask: Callable[[], Awaitable[T]], show: Callable[[T], None], stop: asyncio.Event
) -> None:
    """Ask at the start and then at each multiple of the interval.

    Rounds never overlap: one that takes longer than the interval makes those fall out that would have begun in it.
    What a round takes does not move the next ones.

    Args:
        interval: seconds from the beginning of a round to the beginning of the next.
        ask: one round.
        show: gets the result of each round that was not broken off.
        stop: ends the watch at once when it is set; the round that is under way is cancelled.
    """
    clock = asyncio.get_running_loop().time
    start = clock()
    beat = 0
    stopped = asyncio.ensure_future(stop.wait())
    try:
        while not stop.is_set():
            round_ = asyncio.ensure_future(ask())
            try:
                await asyncio.wait([round_, stopped], return_when=asyncio.FIRST_COMPLETED)
            finally:
                if not round_.done():
                    round_.cancel()
                    await asyncio.wait([round_])
            if round_.cancelled():
                return
            show(round_.result())
            beat = max(beat, math.floor((clock() - start) / interval)) + 1
            with suppress(TimeoutError):
                async with asyncio.timeout_at(start + beat * interval):
                    await asyncio.shield(stopped)
    finally:
        stopped.cancel()
