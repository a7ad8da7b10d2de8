"""Rounds at a steady distance, in a loop whose clock moves only when nothing else is to be done."""

import asyncio
import selectors
from collections.abc import Awaitable

import pytest

from onionmx.probe.watch import watch


class Sooner(selectors.DefaultSelector):
    """Does not wait: what would have been waited for passes on the clock instead."""

    now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        ready: list[tuple[selectors.SelectorKey, int]] = super().select(0)
        if not ready and timeout:
            self.now += timeout
        return ready


class FastLoop(asyncio.SelectorEventLoop):
    """An event loop on that clock."""

    def __init__(self) -> None:
        self.clock = Sooner()
        super().__init__(self.clock)

    def time(self) -> float:
        return self.clock.now


def run(test: Awaitable[None]) -> None:
    with asyncio.Runner(loop_factory=FastLoop) as runner:

        async def limited() -> None:
            await test

        runner.run(limited())


class Rounds:
    """Rounds of these lengths; the last one ends the watch, or lasts until it is ended."""

    def __init__(self, *lengths: float) -> None:
        self.lengths = list(lengths)
        self.starts: list[float] = []
        self.shown: list[float] = []
        self.stop = asyncio.Event()
        self.under_way = 0

    async def ask(self) -> float:
        self.under_way += 1
        assert self.under_way == 1, "two rounds at once"
        try:
            self.starts.append(asyncio.get_running_loop().time())
            await asyncio.sleep(self.lengths[len(self.starts) - 1])
        finally:
            self.under_way -= 1
        return self.starts[-1]

    def show(self, start: float) -> None:
        self.shown.append(start)
        if len(self.shown) == len(self.lengths):
            self.stop.set()

    async def watch(self, interval: float) -> None:
        await watch(interval, self.ask, self.show, self.stop)


def test_no_drift_and_no_overlap() -> None:
    async def test() -> None:
        rounds = Rounds(0.0, 3.5, 10.0, 9.5, 25.0, 1.0, 0.0)
        await rounds.watch(10)
        assert rounds.starts == pytest.approx([0, 10, 20, 40, 50, 80, 90])
        assert rounds.shown == rounds.starts

    run(test())


def test_ended_between_rounds() -> None:
    async def test() -> None:
        rounds = Rounds(1.0, 1.0)
        loop = asyncio.get_running_loop()
        loop.call_at(5, rounds.stop.set)
        await rounds.watch(10)
        assert rounds.shown == [0]
        assert loop.time() == pytest.approx(5)

    run(test())


def test_ended_in_a_round() -> None:
    async def test() -> None:
        rounds = Rounds(1.0, 1000.0)
        loop = asyncio.get_running_loop()
        loop.call_at(12, rounds.stop.set)
        await rounds.watch(10)
        assert (rounds.shown, rounds.under_way) == ([0], 0)
        assert loop.time() == pytest.approx(12)

    run(test())


def test_a_bug_ends_it() -> None:
    async def test() -> None:
        async def ask() -> None:
            raise ZeroDivisionError

        with pytest.raises(ZeroDivisionError):
            await watch(10, ask, lambda _: None, asyncio.Event())

    run(test())
