"""Links to the relays of a private Tor network: TCP forwarders on loopback that take a while in each direction."""

import argparse
import asyncio
from functools import partial
from typing import cast

from tests.bench.relay_control import LOOPBACK, Message, run_forever, serve_control
from tests.bench.socks_proxy import Pipe


class Links:
    """All of them have the same length.

    Attributes:
        one_way: seconds in one direction.
        tasks: connections that are being made.
    """

    def __init__(self) -> None:
        self.one_way = 0.0
        self.tasks: set[asyncio.Task[None]] = set()

    async def answer(self, question: Message) -> Message:
        """Make them longer; never shorter, as then bytes would overtake others."""
        self.one_way = max(self.one_way, question["one_way"])
        return {}


class End(asyncio.Protocol):
    """One end of a connection through a link.

    Args:
        links: how long it is.
        forth: carries what comes in here to the other end.
        back: carries what came in there.
    """

    def __init__(self, links: Links, forth: Pipe, back: Pipe) -> None:
        self._links = links
        self._forth = forth
        self._back = back

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """What came in at the other end meanwhile may leave."""
        self._back.target = cast("asyncio.Transport", transport)
        self._back.flush()

    def data_received(self, data: bytes) -> None:
        """Carry it."""
        self._forth.delay = self._links.one_way
        self._forth.send(data)

    def connection_lost(self, exc: Exception | None) -> None:  # noqa: ARG002
        """Carry the end."""
        self._forth.send(None)


class Near(End):
    """The end that a tor connects to, which connects to the relay in turn."""

    def __init__(self, links: Links, relay: int) -> None:
        super().__init__(links, Pipe(0.0), Pipe(0.0))
        self._relay = relay

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Connect to the relay."""
        super().connection_made(transport)
        task = asyncio.get_running_loop().create_task(self._connect())
        self._links.tasks.add(task)
        task.add_done_callback(self._links.tasks.discard)

    async def _connect(self) -> None:
        try:
            await asyncio.get_running_loop().create_connection(
                lambda: End(self._links, self._back, self._forth), LOOPBACK, self._relay
            )
        except OSError:
            self._back.send(None)


async def _main(control: int, ports: list[str]) -> None:
    links = Links()
    loop = asyncio.get_running_loop()
    for pair in ports:
        listen, relay = map(int, pair.split(":"))
        await loop.create_server(partial(Near, links, relay), LOOPBACK, listen, backlog=1024)
    await serve_control(control, links.answer)


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("control", type=int)
    parser.add_argument("ports", nargs="*", help="LISTEN:RELAY")
    arguments = parser.parse_args()
    run_forever(_main(arguments.control, arguments.ports))
