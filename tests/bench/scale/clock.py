"""An event loop whose time is virtual: instead of waiting it jumps to the next timer."""

import asyncio
from collections.abc import Coroutine
from selectors import DefaultSelector, SelectorKey
from typing import Any, TypeVar

T = TypeVar("T")


class _Jumping(DefaultSelector):
    """Waits for nothing.

    Attributes:
        now: seconds since the loop began.
    """

    def __init__(self) -> None:
        super().__init__()
        self.now = 0.0

    def select(self, timeout: float | None = None) -> list[tuple[SelectorKey, int]]:
        """Let the time pass that the loop would wait."""
        if timeout is None:
            raise RuntimeError("nothing is left to happen, and something is still waited for")
        self.now += max(0.0, timeout)
        return super().select(0)


class VirtualLoop(asyncio.SelectorEventLoop):
    """For simulations without I/O, single-threaded."""

    def __init__(self) -> None:
        self._jumping = _Jumping()
        super().__init__(self._jumping)

    def time(self) -> float:
        """Virtual seconds since the loop began."""
        return self._jumping.now


def simulate(main: Coroutine[Any, Any, T]) -> T:
    """Run this on a virtual clock that begins at 0."""
    with asyncio.Runner(loop_factory=VirtualLoop) as runner:
        return runner.run(main)
