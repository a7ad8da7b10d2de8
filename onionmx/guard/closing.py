"""Closing circuits by tor's control port: in a thread, as many at a time as have come together."""

import asyncio
import logging
from collections.abc import Callable, Collection, Mapping

from onionmx.errors import OnionmxError
from onionmx.guard.metrics import GuardMetrics
from onionmx.log import fields
from onionmx.tor.circuits import Closing

RETRY = 5.0
"""Seconds until tor is asked again after it could not be; circuits that go on are asked for anew."""
MAX_WAITING = 10_000
"""Circuits that wait to be closed; further ones come back with their next refusal."""

Close = Callable[[Collection[int]], Mapping[int, Closing]]
"""Closes circuits; blocks. Raises OnionmxError."""

_logger = logging.getLogger(__name__)


class Closer:
    """Has circuits closed. Belongs to one event loop.

    Args:
        close: closes circuits.
        forget: hears of each that is gone.
        metrics: counts.

    Attributes:
        close: as given; may be replaced.
    """

    def __init__(self, close: Close, forget: Callable[[int], None], metrics: GuardMetrics) -> None:
        self.close = close
        self._forget = forget
        self._metrics = metrics
        self._waiting: set[int] = set()
        self._some = asyncio.Event()
        self._is_failing = False

    def ask(self, circuit: int) -> None:
        """Have a circuit closed, soon."""
        if len(self._waiting) < MAX_WAITING:
            self._waiting.add(circuit)
            self._some.set()

    async def run(self) -> None:
        """Close circuits until cancelled."""
        while True:
            await self._some.wait()
            self._some.clear()
            batch, self._waiting = self._waiting, set()
            if not await self.close_all(batch):
                await asyncio.sleep(RETRY)

    async def close_all(self, batch: Collection[int]) -> bool:
        """Close circuits; whether tor has answered."""
        try:
            results = await asyncio.get_running_loop().run_in_executor(None, self.close, batch)
        except OnionmxError as error:
            self._failed(len(batch), str(error))
            return False
        except Exception:  # the next batch may fare better
            _logger.exception("circuits cannot be closed: internal error")
            self._failed(len(batch), "")
            return False
        self._is_failing = False
        for circuit, result in results.items():
            self._metrics.closed[result] += 1
            if result is Closing.FOREIGN:
                words = "circuit %d is not a client's of an onion service here, and was not closed"
                _logger.warning(words, circuit, extra=fields("circuit_foreign", circuit=circuit))
                continue
            self._forget(circuit)
            extra = fields(f"circuit_{result}", circuit=circuit)
            _logger.warning("circuit %d is %s", circuit, result, extra=extra)
        return True

    def _failed(self, number: int, why: str) -> None:
        self._metrics.failed += number
        if why and not self._is_failing:
            extra = fields("closing_failed", reason=why)
            _logger.error("circuits cannot be closed, and are refused only: %s", why, extra=extra)
        self._is_failing = True
