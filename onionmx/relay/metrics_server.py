"""Metrics and health of one worker: HTTP on a TCP port, or on a unix socket."""

import asyncio
import socket
import sys
from collections.abc import Collection
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Any

from prometheus_client import CONTENT_TYPE_LATEST, REGISTRY, generate_latest

from onionmx.config import UNIX, RelaySection, parse_socket
from onionmx.errors import ConfigurationError
from onionmx.net.listen import bind_tcp, bind_unix
from onionmx.onion import MAX_PORT
from onionmx.serve.connections import Connections
from onionmx.serve.http.connection import MAX_CONNECTIONS, HttpConnection, Response
from onionmx.serve.http.health import Health
from onionmx.serve.http.pages import READ, health_page, refused
from onionmx.serve.metrics import Tally
from onionmx.smtp.server.settings import BACKLOG


class MetricsServer:
    """The metrics being served.

    Args:
        health: closed with this.
    """

    def __init__(self, server: asyncio.Server, connections: Connections, health: Health) -> None:
        self._server = server
        self._connections = connections
        self._health = health

    async def close(self) -> None:
        """Take no more connections and end those there are."""
        self._server.close()
        await self._connections.close(0)
        await self._health.close()


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


async def serve_metrics(bound: socket.socket, health: Health, names: Collection[str] = ()) -> MetricsServer:
    """Serve the metrics of this process, and its health under `/healthz`.

    Args:
        bound: of `bind_metrics`.
        health: what is looked at; closed with this.
        names: of this machine, that a request may be for; see `is_for_this_machine`.
    """
    connections = Connections(MAX_CONNECTIONS)
    tally = Tally("http")
    loop = asyncio.get_running_loop()
    create: Any = loop.create_server
    if bound.family == socket.AF_UNIX:
        # From Python 3.13 on the path would go with the first of several workers that ends.
        keep: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
        create = partial(loop.create_unix_server, **keep)
    respond = partial(_respond, health)
    server = await create(lambda: HttpConnection(respond, tally, connections, names), sock=bound, backlog=BACKLOG)
    return MetricsServer(server, connections, health)


def remove_metrics(settings: RelaySection) -> None:
    """Take the unix sockets of all workers away."""
    if settings.metrics_listen.startswith(UNIX):
        for path in _paths(settings):
            path.unlink(missing_ok=True)


def _paths(settings: RelaySection) -> list[Path]:
    path = settings.metrics_listen.removeprefix(UNIX)
    return [Path(f"{path}.{worker}" if worker else path) for worker in range(settings.workers)]


async def _respond(health: Health, method: str, target: str) -> Response:
    path = target.partition("?")[0]
    if path not in {"/", "/metrics", "/healthz"}:
        return Response.plain(HTTPStatus.NOT_FOUND, "there is no such page")
    if method not in READ:
        return refused(READ)
    if path == "/healthz":
        return await health_page(health)
    return Response(HTTPStatus.OK, generate_latest(REGISTRY), CONTENT_TYPE_LATEST)
