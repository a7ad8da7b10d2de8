"""The lookup daemon as a process: sockets, signals, readiness, the cache on disk, and the end of it."""

import asyncio
import logging
import os
import socket
from collections.abc import Iterable
from functools import partial
from pathlib import Path

import uvloop

from onionmx.config import Configuration
from onionmx.daemon import Load, allow_many_files, run
from onionmx.errors import MapError, OnionmxError
from onionmx.parts import Parts
from onionmx.routing.cache import CacheEntry
from onionmx.routing.cache_file import write_cache
from onionmx.serve.listeners import BACKLOG, LookupListener, close_listeners, open_listeners
from onionmx.serve.service import LookupService
from onionmx.systemd import inherited_sockets, watchdog_seconds

SAVE_INTERVAL = 300.0
"""Seconds between two writings of the cache to its file."""

_logger = logging.getLogger(__name__)


def run_serve(configuration: Configuration, load: Load) -> int:
    """Run the lookup daemon until SIGTERM or SIGINT; returns the exit code.

    Args:
        load: reads the configuration again, at SIGHUP.

    Raises:
        ConfigurationError: an address cannot be bound, or a file that the configuration names has mistakes.
    """
    allow_many_files()
    listeners = open_listeners(configuration.serve, inherited_sockets())
    try:
        uvloop.run(run(_LookupDaemon(configuration, listeners), load, watchdog_seconds()))
    finally:
        close_listeners(listeners)
    return os.EX_OK


async def _listen(service: LookupService, listener: LookupListener) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    is_unix = listener.socket.family == socket.AF_UNIX
    connect = partial(service.connection, listener.protocol, is_unix=is_unix)
    create = loop.create_unix_server if is_unix else loop.create_server
    return await create(connect, sock=listener.socket, backlog=BACKLOG)


class _LookupDaemon:
    """What runs: the service, and what changes it: a new configuration, the cache of an earlier run.

    Args:
        listeners: where clients connect.
    """

    name = "lookups"

    def __init__(self, configuration: Configuration, listeners: list[LookupListener]) -> None:
        self._configuration = configuration
        self._listeners = listeners
        self._former: set[asyncio.Task[None]] = set()

    async def start(self) -> None:
        """See `onionmx.daemon.Service`."""
        configuration = self._configuration
        self._parts = Parts(configuration)
        router = self._parts.router
        try:
            router.check()
        except MapError as error:  # lookups say so until it is there; anything else is a mistake of the operator
            _logger.warning("%s", error)
        if configuration.serve.cache_path:
            number = router.load(Path(configuration.serve.cache_path))
            _logger.info("%d answers of an earlier run are in the cache", number)
        self._parts.keep_policies()
        self._service = LookupService(self._parts)
        self._servers = [await _listen(self._service, listener) for listener in self._listeners]
        self._saving = asyncio.create_task(self._save_now_and_then())

    def take(self, configuration: Configuration) -> None:
        """Use another configuration; sockets and the files of cache and control stay until a restart."""
        parts = Parts(configuration)
        parts.router.check()
        former, self._parts = self._parts, parts
        parts.keep_policies()
        parts.inherit(former)
        self._service.use(parts)
        # Those who asked the former one get its answer, at the latest when the time for it is over.
        task = asyncio.create_task(_close_later(former, self._configuration.serve.timeout))
        self._former.add(task)
        task.add_done_callback(self._former.discard)
        self._configuration = configuration
        self._service.metrics.reloads["taken"] += 1

    def refused(self) -> None:
        """See `onionmx.daemon.Service`."""
        self._service.metrics.reloads["refused"] += 1

    async def _save_now_and_then(self) -> None:
        """Write the cache every few minutes, so that a power failure does not lose it."""
        while True:
            await asyncio.sleep(SAVE_INTERVAL)
            if self._configuration.serve.cache_path:
                entries = tuple(self._parts.router.entries())
                path = Path(self._configuration.serve.cache_path)
                await asyncio.get_running_loop().run_in_executor(None, _save, path, entries)

    async def stop(self) -> None:
        """Answer what is under way, keep the cache, and end."""
        self._saving.cancel()
        # First of all nothing new is taken: a client that comes now waits in the socket, which systemd keeps.
        for server in self._servers:
            server.close()
        await self._service.close()
        if self._configuration.serve.cache_path:
            _save(Path(self._configuration.serve.cache_path), self._parts.router.entries())
        for task in self._former:
            task.cancel()
        await asyncio.gather(self._parts.close(), *self._former, return_exceptions=True)


def _save(path: Path, entries: Iterable[CacheEntry]) -> None:
    try:
        write_cache(path, entries)
    except OnionmxError as error:
        _logger.error("%s", error)  # noqa: TRY400 -- the line says it all


async def _close_later(parts: Parts, seconds: float) -> None:
    try:
        await asyncio.sleep(seconds)
    finally:
        await parts.close()
