"""The watch as a process, and a single round without one."""

import asyncio
import logging
import os
import time
from pathlib import Path

from onionmx.config import Configuration
from onionmx.daemon import Load, run
from onionmx.errors import EXIT_FOUND, EXIT_NO_ROUTE, EXIT_TEMPORARY, ControlError
from onionmx.onion import DEFAULT_PORT
from onionmx.systemd import watchdog_seconds
from onionmx.tor.service.running import mail_services
from onionmx.watch.judge import Reach, Watched, noted
from onionmx.watch.listening import listening
from onionmx.watch.probing import probe
from onionmx.watch.service import NO_SERVICE, WatchService
from onionmx.watch.state import watch_file


def run_watch(configuration: Configuration, load: Load) -> int:
    """Watch until SIGTERM or SIGINT; returns the exit code.

    Args:
        load: reads the configuration again, at SIGHUP.
    """
    logging.getLogger("stem").setLevel(logging.CRITICAL)  # what matters of it is raised
    asyncio.run(_run(configuration, load))
    return os.EX_OK


async def _run(configuration: Configuration, load: Load) -> None:
    await run(WatchService(configuration, watch_file(configuration)), load, watchdog_seconds())


async def probe_once(configuration: Configuration) -> list[Watched]:
    """Probe each onion service for mail once, and change nothing.

    Raises:
        ControlError: tor cannot be asked, or has no such service.
        ConfigurationError: the password file of the control port cannot be used.
    """
    kept = Path(configuration.onion.directory)
    async with listening(configuration.tor, time.time) as tor:
        services = await asyncio.to_thread(mail_services, tor.controller, DEFAULT_PORT, kept)
        onions = [service.onion for service in services if service.onion is not None]
        if not onions:
            raise ControlError(next((service.problem for service in services if service.problem), NO_SERVICE))
        found = await asyncio.gather(*(probe(tor.controller, onion, configuration, time.time) for onion in onions))
    return [noted(None, onion, probed) for onion, probed in zip(onions, found, strict=True)]


def exit_code(services: list[Watched]) -> int:
    """0 all are reachable; 1 nobody reaches one; 75 it could not be told of one."""
    answers = {service.reach for service in services}
    if Reach.FAILED in answers:
        return EXIT_NO_ROUTE
    return EXIT_TEMPORARY if Reach.UNKNOWN in answers else EXIT_FOUND
