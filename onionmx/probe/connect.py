"""Connections for questions: to an onion through tor, or straight to an address of this machine."""

import asyncio
from collections.abc import Awaitable, Callable

from onionmx.onion import Endpoint
from onionmx.smtp.faults import StreamError
from onionmx.smtp.stream import SocketStream
from onionmx.tor.socks import SocksConnector

Connect = Callable[[Endpoint], Awaitable[SocketStream]]
"""How a dialogue gets its stream."""


def over_tor(connector: SocksConnector) -> Connect:
    """Connect to onions; raises `SocksError` with tor's cause, or `StreamError`.

    Args:
        connector: tor's SOCKS port.
    """

    async def connect(endpoint: Endpoint) -> SocketStream:
        return await SocketStream.from_socket(await connector.connect(endpoint))

    return connect


def over_tcp(timeout: float) -> Connect:
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
