"""A connection to tor's control port that stays, and hears when descriptors are published."""

import asyncio
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from typing import TYPE_CHECKING

from stem.control import EventType

from onionmx.clock import Clock, Timestamp
from onionmx.config import TorSection
from onionmx.onion import SUFFIX
from onionmx.tor.control import open_control

if TYPE_CHECKING:
    from stem.control import Controller
    from stem.response.events import HSDescEvent


class Listening:
    """The connection.

    Attributes:
        controller: for questions.
    """

    def __init__(self, controller: "Controller", now: Clock) -> None:
        self.controller = controller
        self._now = now
        self._begun = now()
        self._published: dict[str, Timestamp] = {}

    def hear(self, event: "HSDescEvent") -> None:
        """Take an event; called by stem's own thread."""
        if event.action == "UPLOADED":
            self._published[str(event.address)] = self._now()

    def published(self, onion: str) -> Timestamp:
        """When a directory last took a descriptor of a service; when we began to listen, if none has since."""
        return self._published.get(onion.removesuffix(SUFFIX), self._begun)


@contextmanager
def _listening(settings: TorSection, now: Clock) -> Iterator[Listening]:
    with open_control(settings) as controller:
        connection = Listening(controller, now)
        controller.add_event_listener(connection.hear, EventType.HS_DESC)
        yield connection


@asynccontextmanager
async def listening(settings: TorSection, now: Clock) -> AsyncIterator[Listening]:
    """Open it, without holding up the loop; exceptions of stem leave this context as those of `open_control`.

    Raises:
        ControlError: as of `open_control`, from the body too.
        ConfigurationError: as of `open_control`.
    """
    connection = _listening(settings, now)
    found = await asyncio.to_thread(connection.__enter__)
    try:
        yield found
    except BaseException as error:
        if not connection.__exit__(type(error), error, error.__traceback__):
            raise
    else:
        connection.__exit__(None, None, None)
