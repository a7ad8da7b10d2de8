"""The limit: a server on uvloop that sends back what it gets, and does nothing else."""

import asyncio
import sys
from typing import cast

from tests.bench.relay_control import LOOPBACK, run_forever


class Echo(asyncio.Protocol):
    """Bytes in, the same bytes out."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._write = cast("asyncio.Transport", transport).write  # uvloop's transports are not of this class

    def data_received(self, data: bytes) -> None:
        self._write(data)


async def main() -> None:
    await asyncio.get_running_loop().create_server(Echo, LOOPBACK, int(sys.argv[1]), backlog=1000)


run_forever(main())
