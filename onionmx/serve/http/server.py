"""HTTP of a daemon that answers little of it: a TCP port or a unix socket, and its connections."""

import asyncio
import socket
import sys
from collections.abc import Collection
from functools import partial
from typing import Any

from onionmx.serve.connections import Connections
from onionmx.serve.http.connection import MAX_CONNECTIONS, HttpConnection, Respond
from onionmx.serve.listeners import BACKLOG
from onionmx.serve.metrics import Tally


class HttpServer:
    """What is being served."""

    def __init__(self, server: asyncio.Server, connections: Connections) -> None:
        self._server = server
        self._connections = connections

    async def close(self, grace: float = 0) -> None:
        """Take no more connections and end those there are.

        Args:
            grace: seconds for the last answers to be read.
        """
        self._server.close()
        await self._connections.close(grace)


async def serve_http(bound: socket.socket, respond: Respond, names: Collection[str] = ()) -> HttpServer:
    """Answer requests.

    Args:
        bound: where.
        respond: answers one.
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
    server = await create(lambda: HttpConnection(respond, tally, connections, names), sock=bound, backlog=BACKLOG)
    return HttpServer(server, connections)
