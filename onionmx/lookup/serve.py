"""The lookup daemon as a process: sockets, signals, readiness, the cache on disk, and the end of it."""

import asyncio
import logging
import os
import resource
import signal
import socket
from collections.abc import Callable, Iterable
from functools import partial
from pathlib import Path

import uvloop

from onionmx.authenticate.policy_file import policy_file
from onionmx.config import Configuration
from onionmx.errors import MapError, OnionmxError
from onionmx.lookup.cache import CacheEntry
from onionmx.lookup.cache_file import write_cache
from onionmx.lookup.listeners import BACKLOG, Listener, close_listeners, open_listeners
from onionmx.lookup.router import Router
from onionmx.lookup.service import LookupService
from onionmx.systemd import inherited_sockets, notify, notify_reloading, watchdog_seconds

SAVE_INTERVAL = 300.0
"""Seconds between two writings of the cache to its file."""

_logger = logging.getLogger(__name__)

Load = Callable[[], Configuration]
"""Reads the configuration again."""


def run_serve(configuration: Configuration, load: Load) -> int:
    """Run the lookup daemon until SIGTERM or SIGINT; returns the exit code.

    Args:
        configuration: settings.
        load: reads the configuration again, at SIGHUP.

    Raises:
        ConfigurationError: an address cannot be bound, or a file that the configuration names has mistakes.
    """
    _allow_many_connections()
    listeners = open_listeners(configuration.serve, inherited_sockets())
    try:
        uvloop.run(_serve(configuration, load, listeners))
    finally:
        close_listeners(listeners)
    return os.EX_OK


def _allow_many_connections() -> None:
    """Raise the soft limit of open files to the hard one."""
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))


async def _serve(configuration: Configuration, load: Load, listeners: list[Listener]) -> None:
    loop = asyncio.get_running_loop()
    stop = asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    daemon = _Daemon(configuration, load)
    loop.add_signal_handler(signal.SIGHUP, daemon.reload)
    servers = [await _listen(daemon.service, listener) for listener in listeners]
    _feed_watchdog(loop)
    saving = asyncio.create_task(daemon.save_now_and_then())
    _logger.info("lookups ready (process %d)", os.getpid())
    notify("READY=1")
    await stop.wait()
    notify("STOPPING=1")
    _logger.info("stopping")
    saving.cancel()
    # First of all nothing new is taken: who comes now waits in the socket, which systemd keeps for the next process.
    for server in servers:
        server.close()
    await daemon.close()
    _logger.info("stopped")


async def _listen(service: LookupService, listener: Listener) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    connect = partial(service.connection, listener.protocol)
    create = loop.create_unix_server if listener.socket.family == socket.AF_UNIX else loop.create_server
    return await create(connect, sock=listener.socket, backlog=BACKLOG)


def _feed_watchdog(loop: asyncio.AbstractEventLoop) -> None:
    """Tell systemd that the loop turns, twice as often as it wants to hear it."""
    seconds = watchdog_seconds()
    if seconds is not None:
        notify("WATCHDOG=1")
        loop.call_later(seconds / 2, _feed_watchdog, loop)


class _Daemon:
    """The service, and what changes it: a new configuration, the cache of an earlier run."""

    def __init__(self, configuration: Configuration, load: Load) -> None:
        self._load = load
        self._configuration = configuration
        self._former: set[asyncio.Task[None]] = set()
        router = Router.from_configuration(configuration)
        try:
            router.check()
        except MapError as error:  # lookups say so until it is there; anything else is a mistake of the operator
            _logger.warning("%s", error)
        if configuration.serve.cache_path:
            number = router.load(Path(configuration.serve.cache_path))
            _logger.info("%d answers of an earlier run are in the cache", number)
        router.keep_policies(policy_file(configuration))
        self.service = LookupService(configuration, router)

    def reload(self) -> None:
        """Take the configuration as it is now; sockets and the files of cache and control stay until a restart."""
        notify_reloading()
        try:
            self._take(self._load())
        except OnionmxError as error:
            why = "; ".join(str(error).splitlines())
            _logger.error("the new configuration cannot be used, the old one stays: %s", why)  # noqa: TRY400
            self.service.metrics.reloads["refused"] += 1
        else:
            _logger.info("configuration reloaded")
            self.service.metrics.reloads["taken"] += 1
        notify("READY=1")

    def _take(self, configuration: Configuration) -> None:
        router = Router.from_configuration(configuration)
        router.check()
        former = self.service.routes.router
        router.keep_policies(policy_file(configuration))
        router.inherit(former)
        self.service.use(configuration, router)
        # Whoever asked the former one gets its answer, at the latest when the time for it is over.
        task = asyncio.create_task(_close_later(former, self._configuration.serve.timeout))
        self._former.add(task)
        task.add_done_callback(self._former.discard)
        self._configuration = configuration

    async def save_now_and_then(self) -> None:
        """Write the cache every few minutes, so that a power failure does not lose it."""
        while True:
            await asyncio.sleep(SAVE_INTERVAL)
            if self._configuration.serve.cache_path:
                entries = tuple(self.service.routes.router.entries())
                path = Path(self._configuration.serve.cache_path)
                await asyncio.get_running_loop().run_in_executor(None, _save, path, entries)

    async def close(self) -> None:
        """Answer what is under way, keep the cache, and end."""
        await self.service.close()
        router = self.service.routes.router
        if self._configuration.serve.cache_path:
            _save(Path(self._configuration.serve.cache_path), router.entries())
        for task in self._former:
            task.cancel()
        await asyncio.gather(router.close(), *self._former, return_exceptions=True)


def _save(path: Path, entries: Iterable[CacheEntry]) -> None:
    try:
        write_cache(path, entries)
    except OnionmxError as error:
        _logger.error("%s", error)  # noqa: TRY400 -- the line says it all


async def _close_later(router: Router, seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        await router.close()
