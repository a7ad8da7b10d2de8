"""Metrics and health of one worker: HTTP on a TCP port, or on a unix socket."""

import socket
from collections.abc import Collection
from functools import partial
from http import HTTPStatus
from pathlib import Path

from prometheus_client import REGISTRY

from onionmx.config import UNIX, RelaySection, parse_socket
from onionmx.errors import ConfigurationError
from onionmx.net.listen import bind_tcp, bind_unix
from onionmx.onion import MAX_PORT
from onionmx.serve.http.connection import Request, Response
from onionmx.serve.http.health import Health
from onionmx.serve.http.pages import READ, health_page, metrics_page, refused
from onionmx.serve.http.server import HttpServer, serve_http
from onionmx.status.relay import path_of_worker


def bind_metrics(settings: RelaySection) -> list[socket.socket | None]:
    """A socket for each worker, in their order; `None` where no metrics are wanted.

    A further worker has the next port, or the same path with `.1`, `.2` and so on behind it.

    Raises:
        ConfigurationError: one cannot be bound.
    """
    listen = settings.metrics_listen
    if not listen:
        return [None] * settings.workers
    if listen.startswith(UNIX):
        return [bind_unix(path, int(settings.unix_mode, 8), settings.unix_owner) for path in _paths(settings)]
    host, port = parse_socket(listen)
    if port + settings.workers - 1 > MAX_PORT:
        raise ConfigurationError(f"relay.metrics_listen {listen}: not enough ports for {settings.workers} workers")
    return [bind_tcp(host, port + worker) for worker in range(settings.workers)]


async def serve_metrics(bound: socket.socket, health: Health, names: Collection[str] = ()) -> HttpServer:
    """Serve the metrics of this process, and its health under `/healthz`.

    Args:
        bound: of `bind_metrics`.
        health: what is looked at.
        names: of this machine, that a request may be for; see `is_for_this_machine`.
    """
    return await serve_http(bound, partial(_respond, health), names)


def remove_metrics(settings: RelaySection) -> None:
    """Take the unix sockets of all workers away."""
    if settings.metrics_listen.startswith(UNIX):
        for path in _paths(settings):
            path.unlink(missing_ok=True)


def _paths(settings: RelaySection) -> list[Path]:
    path = settings.metrics_listen.removeprefix(UNIX)
    return [path_of_worker(path, worker) for worker in range(settings.workers)]


async def _respond(health: Health, request: Request) -> Response:
    if request.path not in {"/", "/metrics", "/healthz"}:
        return Response.plain(HTTPStatus.NOT_FOUND, "there is no such page")
    if request.method not in READ:
        return refused(READ)
    if request.path == "/healthz":
        return await health_page(health)
    return metrics_page(REGISTRY)
