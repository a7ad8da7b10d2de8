"""The life of a daemon, the same for the relay and for lookups: ready, reloaded, watched, stopped."""

import asyncio
import gc
import logging
import os
import resource
import signal
from collections.abc import Callable
from typing import Protocol

from onionmx.config import Configuration
from onionmx.errors import OnionmxError
from onionmx.log import fields
from onionmx.log.handlers import use_log
from onionmx.systemd import READY, STOPPING, WATCHDOG, notify, reloading

_ALLOCATIONS = 10_000
"""Objects more than before, at which garbage is collected: 700 come and go with a few messages or lookups at work."""

Load = Callable[[], Configuration]
"""Reads the configuration again."""
Tell = Callable[[str], None]
"""Tells the service manager a state of sd_notify(3)."""

_logger = logging.getLogger(__name__)


class Service(Protocol):
    """What runs as a daemon. Belongs to one event loop."""

    name: str
    """In log lines."""

    async def start(self) -> None:
        """Take connections from now on."""

    def take(self, configuration: Configuration) -> None:
        """Use another configuration from now on.

        Raises:
            OnionmxError: it cannot be used; the old one stays.
        """

    def refused(self) -> None:
        """Hear that a new configuration could not be used."""

    async def stop(self) -> None:
        """Finish what is under way, and end."""


def allow_many_files() -> None:
    """Raise the soft limit of open files to the hard one: a connection takes one descriptor, a message two."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


def collect_seldom() -> None:
    """Let the garbage collector leave alone what is there at the start, and look at the rest less often."""
    gc.freeze()
    gc.set_threshold(_ALLOCATIONS)


async def run(service: Service, load: Load, watchdog: float | None, tell: Tell = notify) -> None:
    """Run a service until SIGTERM or SIGINT; SIGHUP reads the configuration again.

    Args:
        load: reads the configuration again.
        watchdog: seconds after which a service that says nothing is taken for dead; `None` where nobody watches.
        tell: tells the service manager.
    """
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    asked_early = asyncio.Event()
    loop.add_signal_handler(signal.SIGHUP, asked_early.set)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, (signal.SIGTERM, signal.SIGINT, signal.SIGHUP))
    await service.start()
    loop.add_signal_handler(signal.SIGHUP, _reload, service, load, tell)
    if asked_early.is_set():
        _reload(service, load, tell)
    if watchdog is not None:
        _feed_watchdog(loop, watchdog, tell)
    _logger.info("%s ready (process %d)", service.name, os.getpid(), extra=fields("ready"))
    tell(READY)
    await stop.wait()
    loop.add_signal_handler(signal.SIGHUP, _logger.info, "%s stopping, and not reloaded", service.name)
    tell(STOPPING)
    _logger.info("%s stopping", service.name, extra=fields("stopping"))
    await service.stop()
    _logger.info("%s stopped", service.name, extra=fields("stopped"))


def _reload(service: Service, load: Load, tell: Tell) -> None:
    tell(reloading())
    try:
        configuration = load()
        service.take(configuration)
    except OnionmxError as error:
        why = "; ".join(str(error).splitlines())
        _logger.error(  # noqa: TRY400 -- the line says it all
            "the new configuration cannot be used, the old one stays: %s",
            why,
            extra=fields("reload_refused", reason=why),
        )
        service.refused()
    except Exception:  # systemd would wait for the end of it
        _logger.exception(
            "the new configuration cannot be used, the old one stays: internal error", extra=fields("reload_refused")
        )
        service.refused()
    else:
        use_log(configuration)
        _logger.info("configuration reloaded", extra=fields("reloaded"))
    tell(READY)


def _feed_watchdog(loop: asyncio.AbstractEventLoop, seconds: float, tell: Tell) -> None:
    """Say that the loop turns, twice as often as somebody wants to hear it."""
    tell(WATCHDOG)
    loop.call_later(seconds / 2, _feed_watchdog, loop, seconds, tell)
