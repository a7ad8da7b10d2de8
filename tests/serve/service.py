"""A lookup service on real sockets, in the loop of the test, with a DNS that the test plays."""

import asyncio
import socket
from collections.abc import Awaitable, Callable
from functools import partial
from pathlib import Path
from typing import Any

import uvloop

from onionmx.config import Configuration, LocalSection, LookupSection, MapSection, ServeSection, SyncSection, TorSection
from onionmx.mapfile.cdb import DEFERS
from onionmx.parts import Parts
from onionmx.routing.files import RouteFiles
from onionmx.routing.live import LiveRoutes
from onionmx.routing.router import Router
from onionmx.serve.listeners import Protocol
from onionmx.serve.service import LookupService
from tests.mapfile.maps import A, B, make_map
from tests.routing.scripted_dns import ScriptedDns

GRACE = 120.0
"""Seconds after which a test that hangs has failed."""
RESULT = b"onion:inet:127.0.0.1:10026"


class PlayedParts(Parts):
    """Parts whose router is another one."""

    def __init__(self, configuration: Configuration, router: Router) -> None:
        super().__init__(configuration)
        self.router = router


class Service:
    """The service, and clients for it."""

    def __init__(self, folder: Path, tor: TorSection, **settings: Any) -> None:  # noqa: ANN401 -- fields of the section
        make_map(
            folder / "map.cdb",
            {"example.org": ((A, 25), (B, 2525)), "mapped.onion": ((A, 25),), "waits.example": DEFERS},
        )
        (folder / "pins").touch()
        self.configuration = Configuration(
            local=LocalSection(domains=("own.example", "own.onion")),
            map=MapSection(path=str(folder / "map.cdb")),
            sync=SyncSection(pins=str(folder / "pins")),
            tor=tor,
            serve=ServeSection(**settings),
        )
        self.dns = ScriptedDns()
        self.live = LiveRoutes(self.dns.ask, LookupSection())
        self.router = Router(RouteFiles.from_configuration(self.configuration), self.live)
        self.service = LookupService(PlayedParts(self.configuration, self.router))
        self._servers: list[asyncio.Server] = []
        self.ports: dict[Protocol, int] = {}

    async def start(self) -> None:
        for protocol in Protocol:
            bound = socket.create_server(("127.0.0.1", 0))
            self.ports[protocol] = bound.getsockname()[1]
            connect = partial(self.service.connection, protocol)
            self._servers.append(await asyncio.get_running_loop().create_server(connect, sock=bound))

    async def close(self) -> None:
        for server in self._servers:
            server.close()
        await self.service.close()
        await self.router.close()

    async def connect(self, protocol: Protocol) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        return await asyncio.open_connection("127.0.0.1", self.ports[protocol])

    async def ask(self, protocol: Protocol, data: bytes) -> bytes:
        """Everything that is answered to data, which a half-close follows."""
        reader, writer = await self.connect(protocol)
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
        return answer

    def count(self, protocol: str, answer: str) -> int:
        """Answers of a kind so far."""
        number: int = getattr(self.service.metrics.tally(protocol), answer)
        return number


def play(
    folder: Path,
    test: Callable[[Service], Awaitable[None]],
    tor: TorSection | None = None,
    **settings: Any,  # noqa: ANN401
) -> None:
    """Run a test with a service that has a map with example.org."""

    async def whole() -> None:
        service = Service(folder, tor or TorSection(), **settings)
        await service.start()
        try:
            async with asyncio.timeout(GRACE):
                await test(service)
        finally:
            await service.close()
        assert asyncio.all_tasks() == {asyncio.current_task()}

    uvloop.run(whole())


def netstrings(*payloads: bytes) -> bytes:
    return b"".join(b"%d:%b," % (len(payload), payload) for payload in payloads)
