"""The guard as a process: sockets, signals, readiness, metrics, and the end of it."""

import asyncio
import contextlib
import os
import socket
from collections.abc import Callable, Collection, Iterable, Mapping
from dataclasses import dataclass
from functools import partial
from http import HTTPStatus
from pathlib import Path

import uvloop
from prometheus_client import CollectorRegistry

from onionmx.config import Configuration, GuardSection, TorSection
from onionmx.daemon import Load, allow_many_files, run
from onionmx.errors import ConfigurationError
from onionmx.guard.closing import Close, Closer
from onionmx.guard.connection import PolicyConnection
from onionmx.guard.judge import Guard, circuits_of
from onionmx.guard.metrics import GuardMetrics
from onionmx.net.listen import bind_address, tell_unserved
from onionmx.serve.connections import Connections
from onionmx.serve.http.connection import Request, Response
from onionmx.serve.http.pages import READ, metrics_page, refused
from onionmx.serve.http.server import serve_http
from onionmx.serve.listeners import BACKLOG
from onionmx.systemd import inherited_sockets, watchdog_seconds
from onionmx.tor.circuits import Closing, close_circuits
from onionmx.tor.control import open_control

_GRACE = 2.0  # seconds for the last answers to be read


@dataclass(frozen=True, slots=True)
class GuardListener:
    """A bound socket.

    Attributes:
        socket: bound; listening already or not.
        path: file of a unix socket to remove at the end; none for a socket that systemd owns.
        is_http: whether metrics are served there.
    """

    socket: socket.socket
    path: Path | None = None
    is_http: bool = False


def run_guard(configuration: Configuration, load: Load) -> int:
    """Run the guard until SIGTERM or SIGINT; returns the exit code.

    Args:
        load: reads the configuration again, at SIGHUP.

    Raises:
        ConfigurationError: an address cannot be bound.
    """
    allow_many_files()
    listeners = open_listeners(configuration.guard, inherited_sockets())
    try:
        uvloop.run(run(GuardDaemon(configuration, listeners), load, watchdog_seconds()))
    finally:
        _close_listeners(listeners)
    return os.EX_OK


def open_listeners(settings: GuardSection, inherited: Iterable[tuple[str, socket.socket]] = ()) -> list[GuardListener]:
    """All sockets of the guard; those from systemd take the place of `guard.listen`.

    Args:
        inherited: sockets from systemd with their names.

    Raises:
        ConfigurationError: an address cannot be bound.
    """
    listeners = [GuardListener(bound) for _, bound in inherited]
    try:
        if listeners:
            tell_unserved(settings.listen, [listener.socket for listener in listeners])
        else:
            for text in settings.listen:
                listeners.append(_open(text, settings))  # noqa: PERF401 -- what is open gets closed
        if settings.metrics_listen:
            listeners.append(_open(settings.metrics_listen, settings, is_http=True))
    except ConfigurationError:
        _close_listeners(listeners)
        raise
    return listeners


def _open(text: str, settings: GuardSection, *, is_http: bool = False) -> GuardListener:
    return GuardListener(*bind_address(text, int(settings.unix_mode, 8), settings.unix_owner), is_http)


def _close_listeners(listeners: Iterable[GuardListener]) -> None:
    for listener in listeners:
        listener.socket.close()
        if listener.path is not None:
            listener.path.unlink(missing_ok=True)


class GuardDaemon:
    """What runs.

    Args:
        listeners: where MTAs connect, and where metrics are served.
    """

    name = "guard"

    def __init__(self, configuration: Configuration, listeners: list[GuardListener]) -> None:
        self._configuration = configuration
        self._listeners = listeners

    async def start(self) -> None:
        """See `onionmx.daemon.Service`."""
        settings = self._configuration.guard
        circuits = circuits_of(settings)
        metrics = GuardMetrics(circuits)
        self._closer = Closer(_closes(self._configuration.tor), circuits.forget, metrics)
        self._guard = Guard(circuits, metrics, self._closer.ask)
        self._closing = asyncio.create_task(self._closer.run())
        self._connections = Connections(settings.max_connections)
        registry = CollectorRegistry()
        registry.register(metrics)
        connect = partial(PolicyConnection, self._guard, metrics, self._connections)
        respond = partial(_respond, registry)
        policy = [listener.socket for listener in self._listeners if not listener.is_http]
        self._servers = [await _listen(connect, bound) for bound in policy]
        pages = [listener.socket for listener in self._listeners if listener.is_http]
        self._pages = [await serve_http(bound, respond) for bound in pages]

    def take(self, configuration: Configuration) -> None:
        """Use other limits and another control port; sockets stay until a restart."""
        self._guard.use(configuration.guard)
        self._connections.limit = configuration.guard.max_connections
        self._closer.close = _closes(configuration.tor)
        self._configuration = configuration

    def refused(self) -> None:
        """See `onionmx.daemon.Service`."""

    async def stop(self) -> None:
        """Answer what has arrived, and end."""
        for server in self._servers:
            server.close()
        await asyncio.gather(self._connections.close(_GRACE), *(pages.close(_GRACE) for pages in self._pages))
        self._closing.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await self._closing


def _closes(settings: TorSection) -> Close:
    def close(wanted: Collection[int]) -> Mapping[int, Closing]:
        with open_control(settings) as controller:
            return close_circuits(controller, wanted)

    return close


async def _listen(connect: Callable[[], asyncio.Protocol], bound: socket.socket) -> asyncio.Server:
    loop = asyncio.get_running_loop()
    create = loop.create_unix_server if bound.family == socket.AF_UNIX else loop.create_server
    return await create(connect, sock=bound, backlog=BACKLOG)


async def _respond(registry: CollectorRegistry, request: Request) -> Response:
    if request.path != "/metrics":
        return Response.plain(HTTPStatus.NOT_FOUND, "there is no such page")
    if request.method not in READ:
        return refused(READ)
    return metrics_page(registry)
