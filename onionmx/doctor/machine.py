"""This machine as the checks ask it: its configuration, its tor, its onion services."""

import asyncio
import threading
from collections.abc import Awaitable, Callable
from contextlib import suppress
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from onionmx.answer import Found
from onionmx.config import Configuration
from onionmx.errors import ControlError
from onionmx.mapfile.domains import read_local_domains
from onionmx.onion import DEFAULT_PORT, Endpoint
from onionmx.parts import Parts
from onionmx.tor.control import open_control
from onionmx.tor.service.running import OnionService, services

if TYPE_CHECKING:
    from stem.control import Controller

T = TypeVar("T")

MAIL_PORT = DEFAULT_PORT
RESTART = "systemctl restart tor@default"
"""What makes tor take what a reload does not change."""


class Machine:
    """What the checks look at."""

    def __init__(self, configuration: Configuration) -> None:
        self.configuration = configuration
        self.parts = Parts(configuration)
        self._services: asyncio.Task[list[OnionService]] | None = None

    def local_domains(self) -> list[str]:
        """The mail domains of this host, in alphabetical order.

        Raises:
            ConfigurationError: the list cannot be used.
        """
        return sorted(read_local_domains(self.configuration.local))

    async def ask_tor(self, question: Callable[["Controller"], T]) -> T:
        """Ask tor over a connection of its own to the control port.

        Raises:
            ControlError: it cannot be asked.
        """

        def ask() -> T:
            with open_control(self.configuration.tor) as controller:
                return question(controller)

        return await in_thread(ask)

    async def services(self) -> list[OnionService]:
        """The onion services of this tor.

        Raises:
            ControlError: tor cannot be asked.
        """
        if self._services is None:
            kept = Path(self.configuration.onion.directory)
            self._services = asyncio.ensure_future(self.ask_tor(lambda tor: services(tor, kept)))
        # A check that runs out of time must not take the answer away from the others.
        return await asyncio.shield(self._services)

    async def mail_endpoints(self) -> list[Endpoint]:
        """Where mail for this host goes over Tor: to the services of this tor, or else to what the record says.

        With tor on a machine of its own its control port is often out of reach, and the record is all that is known.

        Raises:
            ConfigurationError: the local domains cannot be read.
        """
        with suppress(ControlError):
            onions = [service.onion for service in await self.services() if service.carries(MAIL_PORT)]
            if any(onions):
                return [(onion, MAIL_PORT) for onion in onions if onion]
        for domain in self.local_domains():
            answer = await self.parts.resolver.ask(domain)
            if isinstance(answer, Found):
                return list(answer.route.endpoints)
        return []

    async def close(self) -> None:
        """End what is under way."""
        await self.parts.close()
        if self._services is not None:
            self._services.cancel()
            await asyncio.wait([self._services])


def in_thread(function: Callable[[], T]) -> Awaitable[T]:
    """Run a function that blocks in a thread that holds up neither the other checks nor the end of the program.

    Those of asyncio are waited for at the end, and a control port that says nothing would keep the doctor forever.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[T] = loop.create_future()

    def run() -> None:
        try:
            result = function()
        except BaseException as error:  # noqa: BLE001 -- it is raised where the function was called
            _tell(loop, future, partial(future.set_exception, error))
        else:
            _tell(loop, future, partial(future.set_result, result))

    threading.Thread(target=run, name="doctor", daemon=True).start()
    return future


def _tell(loop: asyncio.AbstractEventLoop, future: "asyncio.Future[T]", settle: Callable[[], None]) -> None:
    def settle_if_wanted() -> None:
        if not future.done():
            settle()

    with suppress(RuntimeError):  # the loop has ended: nobody waits any more
        loop.call_soon_threadsafe(settle_if_wanted)
