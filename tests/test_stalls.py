"""The clock of the event loops in tests: a stall takes no time, and everything else takes the time that it takes."""

import asyncio
import time


def test_stall_ends_no_limit() -> None:
    async def whole() -> None:
        async with asyncio.timeout(0.2):
            time.sleep(0.4)  # noqa: ASYNC251 -- the stall
            await asyncio.sleep(0.001)

    asyncio.run(whole())


def test_waiting_takes_its_time() -> None:
    async def whole() -> float:
        loop = asyncio.get_running_loop()
        begin = loop.time()
        await asyncio.sleep(0.3)
        return loop.time() - begin

    begin = time.monotonic()
    by_the_loop = asyncio.run(whole())
    assert 0.29 < by_the_loop <= time.monotonic() - begin
