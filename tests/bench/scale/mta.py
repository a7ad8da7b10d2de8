"""The MTA: messages of which few onions get most, and a queue that tries again as Postfix does."""

import asyncio
import itertools
from collections.abc import Callable
from random import Random

from onionmx.relay.delivery import Courier, Message
from onionmx.smtp.envelope import Envelope, Recipient
from tests.bench.scale.tor import Onion

SESSIONS = 100
"""Messages that it hands over at once: `default_process_limit` of Postfix, and what docs/postfix.md sets."""
LEAST, MOST = 300.0, 4000.0
"""Seconds until a message is tried again: its age within these (postconf(5), minimal_ and maximal_backoff_time)."""
SCAN = 300.0
"""Seconds between two looks at the deferred queue (queue_run_delay)."""

_ENVELOPE = Envelope("sender@example.com", (Recipient("user@example.org"),))


class Mta:
    """Hands messages to the relay until they are taken.

    Args:
        courier: the relay's.
        onions: where they go, the busiest first: each gets as much as its rank says (Zipf's law).
        random: makes each run equal.
        taken: called with the times of arrival and delivery of each message.
    """

    def __init__(
        self, courier: Courier, onions: list[Onion], random: Random, taken: Callable[[float, float], None]
    ) -> None:
        self._courier = courier
        self._onions = onions
        self._random = random
        self._weights = list(itertools.accumulate(1 / rank for rank in range(1, len(onions) + 1)))
        self._slots = asyncio.Semaphore(SESSIONS)
        self._tasks: dict[asyncio.Task[None], Onion] = {}
        self._taken = taken

    async def feed(self, rate: float, until: float) -> None:
        """Let messages arrive, so many a second, one independent of the other."""
        loop = asyncio.get_running_loop()
        while loop.time() < until:
            await asyncio.sleep(self._random.expovariate(rate))
            onion = self._random.choices(self._onions, cum_weights=self._weights)[0]
            task = loop.create_task(self._bring(onion))
            self._tasks[task] = onion
            task.add_done_callback(self._tasks.pop)

    async def stop(self) -> None:
        """Give up what is still queued."""
        for task in self._tasks:
            task.cancel()
        await asyncio.gather(*self._tasks, return_exceptions=True)

    async def until_delivered(self) -> None:
        """Wait until nothing is queued for an onion MX that can be reached."""
        await asyncio.gather(*(task for task, onion in self._tasks.items() if onion.failure is None))

    async def _bring(self, onion: Onion) -> None:
        loop = asyncio.get_running_loop()
        arrived = loop.time()
        message = Message("", "example.org", _ENVELOPE, b"")
        while not await self._hand_over(message, onion):
            now = loop.time()
            due = now + min(max(now - arrived, LEAST), MOST)
            await asyncio.sleep(-(-due // SCAN) * SCAN - now)
        self._taken(arrived, loop.time())

    async def _hand_over(self, message: Message, onion: Onion) -> bool:
        async with self._slots:
            return all(reply.is_positive for reply in await self._courier.deliver(message, [onion.endpoint]))
