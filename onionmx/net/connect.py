"""Connections for questions."""

import asyncio
from collections.abc import Awaitable, Callable

from onionmx.net.stream import SocketStream
from onionmx.onion import Endpoint
from onionmx.smtp.faults import StreamError

OpenStream = Callable[[Endpoint], Awaitable[SocketStream]]
"""How a dialogue gets its stream."""


def over_tcp(timeout: float) -> OpenStream:
    """Connect to IP addresses without tor; raises `StreamError`.

    Args:
        timeout: seconds for one connection.
    """

    async def connect(endpoint: Endpoint) -> SocketStream:
        host, port = endpoint
        try:
            async with asyncio.timeout(timeout):
                _, stream = await asyncio.get_running_loop().create_connection(SocketStream, host, port)
        except TimeoutError as error:
            raise StreamError(f"{host}:{port}: no connection within {timeout:g} s") from error
        except OSError as error:
            raise StreamError(f"{host}:{port}: {error.strerror or error}") from error
        return stream

    return connect
