"""The control socket of one worker: HTTP on a unix socket, for root and those who may know to whom this host writes.

| request | answer |
|---|---|
| `GET /status` | which destinations fail, and how much was delivered: `onionmx.status.model.RelayStatus` as JSON |
"""

import contextlib
import logging
import socket
from collections.abc import Awaitable, Callable
from http import HTTPStatus
from pathlib import Path

from onionmx.config import RelaySection
from onionmx.errors import ConfigurationError
from onionmx.net.listen import bind_unix
from onionmx.serve.http.connection import Request, Respond, Response
from onionmx.serve.http.pages import READ, refused
from onionmx.status.model import RelayStatus
from onionmx.status.relay import path_of_worker

MODE = 0o660
"""The group is that of the process: `onionmx-status` by the unit, whose members may ask, and nobody else."""

_logger = logging.getLogger(__name__)


def bind_control(settings: RelaySection) -> list[socket.socket | None]:
    """A socket for each worker, in their order; `None` where there is none.

    Mail does not depend on it: one that cannot be bound is a warning in the log.
    """
    return [_bind(path_of_worker(settings.control, worker), settings) for worker in range(settings.workers)]


def remove_control(settings: RelaySection, bound: list[socket.socket | None]) -> None:
    """Take the sockets of all workers away, but for those of others."""
    for worker, one in enumerate(bound):
        if one is not None:
            path_of_worker(settings.control, worker).unlink(missing_ok=True)


def _bind(path: Path, settings: RelaySection) -> socket.socket | None:
    if not settings.control:
        return None
    with contextlib.suppress(OSError):  # bind() says what is wrong
        path.parent.mkdir(parents=True, exist_ok=True)
    try:
        return bind_unix(path, MODE)
    except ConfigurationError as error:
        _logger.warning("relay.control: %s; onionmx status cannot ask this relay", error)
        return None


def control_pages(status: Callable[[], Awaitable[RelayStatus]]) -> Respond:
    """What is answered.

    Args:
        status: tells what is known.
    """

    async def respond(request: Request) -> Response:
        if request.path != "/status":
            return Response.plain(HTTPStatus.NOT_FOUND, "there is no such page")
        if request.method not in READ:
            return refused(READ)
        return Response.json(HTTPStatus.OK, await status())

    return respond
