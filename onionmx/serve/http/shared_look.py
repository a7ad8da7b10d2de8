"""A look that many ask for: who asks while it is under way waits for the same, and it is shown for some seconds."""

import asyncio
import time
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar

INTERVAL = 5.0
"""Seconds for which what was seen is shown again, so that frequent questions make no more work."""

T = TypeVar("T")


class SharedLook(Generic[T]):
    """Belongs to one event loop.

    Args:
        look: looks.
    """

    def __init__(self, look: Callable[[], Coroutine[Any, Any, T]]) -> None:
        self._look = look
        self._task: asyncio.Task[T] | None = None
        self._begun = -INTERVAL

    async def seen(self) -> T:
        """What was seen, at most `INTERVAL` ago."""
        now = time.monotonic()
        if self._task is None or (self._task.done() and now - self._begun >= INTERVAL):
            self._begun = now
            self._task = asyncio.create_task(self._look())
        return await asyncio.shield(self._task)

    def forget(self) -> None:
        """Look anew at the next question: something else is to be looked at."""
        self._begun = -INTERVAL

    async def close(self) -> None:
        """Stop looking."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,))
