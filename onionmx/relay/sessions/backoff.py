"""Leaving alone a target that keeps failing.

A queue flush after an outage brings hundreds of messages for one dead onion, each of which would hold a session of the
MTA until tor gives up. After two failures in a row they are answered at once, for a growing, jittered while, but for
one message at a time that finds out whether the target is back.
"""

import math
import time
from collections.abc import Callable
from dataclasses import dataclass
from random import Random
from weakref import ref

from onionmx.onion import Endpoint
from onionmx.relay.sessions.recent import Recent

PATIENCE = 2  # failures in a row before the target is left alone: one may be a circuit that broke
FIRST_PAUSE = 10.0  # seconds
LONGEST_PAUSE = 600.0  # seconds; MTAs try again every few minutes, so a longer one would delay mail further
PROBE = 180.0  # seconds for which the message that finds out keeps all others away; tor's verdict takes up to 120


@dataclass(slots=True)
class _Failing:
    failures: int
    until: float
    why: str
    error: Callable[[], BaseException | None]
    probing: bool = False


class Backoff:
    """Remembers which targets are failing.

    Args:
        random: source of jitter.
        now: seconds of a clock that never goes back.
        on_failed: hears of each failure, and of what was raised.
        on_succeeded: hears of each answer.
    """

    def __init__(
        self,
        random: Random,
        now: Callable[[], float] = time.monotonic,
        *,
        on_failed: Callable[[Endpoint, BaseException | None], None] = lambda _target, _error: None,
        on_succeeded: Callable[[Endpoint], None] = lambda _: None,
    ) -> None:
        self._random = random
        self._now = now
        self._on_failed = on_failed
        self._on_succeeded = on_succeeded
        self._failing: Recent[Endpoint, _Failing] = Recent()

    def is_failing(self, target: Endpoint) -> bool:
        """Whether it has failed and not succeeded since."""
        return target in self._failing

    def refusal(self, target: Endpoint) -> str | None:
        """Why the target is not to be tried now, in words; `None` where it may be tried.

        Where a pause has just ended, the caller is the one that finds out: it has to report by `failed` or
        `succeeded`.
        """
        failing = self._failing.get(target)
        if failing is None or failing.failures < PATIENCE:
            return None
        left = failing.until - self._now()
        if left > 0:
            next_try = f"next try in {math.ceil(left)} s"
            return f"failed {failing.failures} times in a row, {next_try}; the last time: {failing.why}"
        failing.until = self._now() + PROBE
        failing.probing = True
        return None

    def failed(self, target: Endpoint, why: str, error: BaseException | None = None) -> bool:
        """The target could not be reached, or broke off.

        While a pause runs, only the message that finds out counts: all others began before it, and a hundred of them
        that fail together are one failure.

        Args:
            target: which.
            why: in words.
            error: what was raised; those who waited for one session hear the same one, and it counts once.

        Returns:
            Whether it counts.
        """
        self._on_failed(target, error)
        failing = self._failing.get(target)
        if failing and error is not None and failing.error() is error:
            return False
        if failing and failing.failures >= PATIENCE and not failing.probing and failing.until > self._now():
            return False
        failures = failing.failures + 1 if failing else 1
        pause = min(LONGEST_PAUSE, FIRST_PAUSE * 2 ** min(failures - PATIENCE, 10))
        jittered = pause * self._random.uniform(0.5, 1.0)
        seen = ref(error) if error is not None else _nothing
        self._failing[target] = _Failing(failures, self._now() + jittered, why, seen)
        return True

    def pause(self, target: Endpoint) -> float:
        """Seconds until the target is tried again; 0 where the next message is."""
        failing = self._failing.get(target)
        if failing is None or failing.failures < PATIENCE:
            return 0.0
        return max(0.0, failing.until - self._now())

    def succeeded(self, target: Endpoint) -> None:
        """The target has answered, whatever it said."""
        self._failing.pop(target, None)
        self._on_succeeded(target)


def _nothing() -> None:
    """What is called where there is no reference to an error."""
