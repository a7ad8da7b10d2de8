"""The metrics of one worker, for Prometheus: HTTP on a TCP port, or on a unix socket."""

import asyncio
import socket
import sys
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from onionmx.config import UNIX, RelaySection, parse_socket
from onionmx.errors import ConfigurationError
from onionmx.lookup.connections import Connections
from onionmx.lookup.http import MAX_CONNECTIONS, HttpConnection, Response
from onionmx.lookup.metrics import Tally
from onionmx.lookup.pages import READ, refused
from onionmx.onion import MAX_PORT
from onionmx.relay.server.settings import BACKLOG
from onionmx.sockets import bind_tcp, bind_unix


class MetricsServer:
    """The metrics being served.

    Args:
        server: takes connections.
        connections: those it took.
    """

    def __init__(self, server: asyncio.Server, connections: Connections) -> None:
        self._server = server
        self._connections = connections

    async def close(self) -> None:
        """Take no more connections and end those there are."""
        self._server.close()
        await self._connections.close(0)


def bind_metrics(settings: RelaySection) -> list[socket.socket]:
    """A socket for each worker, in their order; none where no metrics are wanted.

    A further worker has the next port, or the same path with `.1`, `.2` and so on behind it.

    Raises:
        ConfigurationError: one cannot be bound.
    """
    listen = settings.metrics_listen
    if not listen:
        return []
    if listen.startswith(UNIX):
        return [bind_unix(path, int(settings.unix_mode, 8), settings.unix_owner) for path in _paths(settings)]
    host, port = parse_socket(listen)
    if port + settings.workers - 1 > MAX_PORT:
        raise ConfigurationError(f"relay.metrics_listen {listen}: not enough ports for {settings.workers} workers")
    return [bind_tcp(host, port + worker) for worker in range(settings.workers)]


async def serve_metrics(bound: socket.socket) -> MetricsServer:
    """Serve the metrics of this process."""
    connections = Connections(MAX_CONNECTIONS)
    tally = Tally("http")
    loop = asyncio.get_running_loop()
    create: Any = loop.create_server
    if bound.family == socket.AF_UNIX:
        # From Python 3.13 on the path would go with the first of several workers that ends.
        keep: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        create = partial(loop.create_unix_server, **keep)
    return MetricsServer(
        await create(lambda: HttpConnection(_respond, tally, connections), sock=bound, backlog=BACKLOG), connections
    )


def remove_metrics(settings: RelaySection) -> None:
    """Take the unix sockets of all workers away."""
    if settings.metrics_listen.startswith(UNIX):
        for path in _paths(settings):
            path.unlink(missing_ok=True)


def _paths(settings: RelaySection) -> list[Path]:
    path = settings.metrics_listen.removeprefix(UNIX)
    return [Path(f"{path}.{worker}" if worker else path) for worker in range(settings.workers)]


async def _respond(method: str, target: str) -> Response:
    if target.partition("?")[0] not in {"/", "/metrics"}:
        return Response.plain(HTTPStatus.NOT_FOUND, "there is no such page")
    if method not in READ:
        return refused(READ)
    return Response(HTTPStatus.OK, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
