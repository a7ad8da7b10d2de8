"""A look that many ask for."""

import asyncio

import pytest

from onionmx.serve.http.shared_look import SharedLook


class Seen:
    """Numbers its looks, each of which waits to be let go."""

    def __init__(self) -> None:
        self.looks = 0
        self.may_end = asyncio.Event()

    async def __call__(self) -> int:
        self.looks += 1
        number = self.looks
        await self.may_end.wait()
        return number


def test_who_asks_meanwhile_waits_for_the_same_and_it_is_shown_again() -> None:
    async def run() -> None:
        seen = Seen()
        look = SharedLook(seen)
        asking = [asyncio.create_task(look.seen()) for _ in range(3)]
        await asyncio.sleep(0)
        asking.pop().cancel()  # one that hangs up ends nothing for the others
        seen.may_end.set()
        assert await asyncio.gather(*asking) == [1, 1]
        assert await look.seen() == 1
        look.forget()
        assert await look.seen() == 2
        await look.close()

    asyncio.run(run())


def test_close_ends_the_look() -> None:
    async def run() -> None:
        look = SharedLook(Seen())
        asking = asyncio.create_task(look.seen())
        await asyncio.sleep(0)
        await look.close()
        with pytest.raises(asyncio.CancelledError):
            await asking

    asyncio.run(run())


def test_close_before_any_look() -> None:
    asyncio.run(SharedLook(Seen()).close())
