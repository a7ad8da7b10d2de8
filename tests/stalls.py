"""A clock for the event loops of tests that does not count the time in which the machine stood still.

Client and server of most tests share one loop. When such a process gets no CPU for two seconds, neither side could do
anything meanwhile, and yet each short limit of the test would be over. By this clock only what never comes takes time.
"""

import asyncio
from asyncio import AbstractEventLoop
from time import monotonic
from weakref import WeakKeyDictionary

import pytest

LONGEST_WAIT = 0.05
"""Seconds after which a loop looks at the clock again, whatever it waits for."""
LONGEST_STEP = 2 * LONGEST_WAIT
"""Seconds that pass at most between two looks; what is more was a stall."""


def leave_out_stalls(monkeypatch: pytest.MonkeyPatch) -> None:
    """Give the loops of asyncio such a clock; uvloop keeps its own, and so does all that runs without a loop."""
    times: WeakKeyDictionary[AbstractEventLoop, tuple[float, float]] = WeakKeyDictionary()

    def time(loop: AbstractEventLoop) -> float:
        now = monotonic()
        looked, passed = times.get(loop, (now, now))
        passed += min(now - looked, LONGEST_STEP)
        times[loop] = now, passed
        return passed

    monkeypatch.setattr(asyncio.SelectorEventLoop, "time", time, raising=False)
    monkeypatch.setattr(asyncio.base_events, "MAXIMUM_SELECT_TIMEOUT", LONGEST_WAIT)
