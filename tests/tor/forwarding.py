"""A stand-in for tor's SocksPort that connects to the addresses that it is asked for, or refuses."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from ipaddress import IPv4Address

IPV4, NAME = 1, 3


class Forwarding:
    """SOCKS5 with user and password (RFC 1928, RFC 1929)."""

    def __init__(self, reply: int) -> None:
        self.reply = reply
        self.names: dict[str, tuple[str, int]] = {}
        """Where host names lead."""
        self.targets: list[tuple[str, int]] = []
        self.users: list[tuple[bytes, bytes]] = []
        self._writers: list[asyncio.StreamWriter] = []

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._writers.append(writer)
        with suppress(OSError, EOFError):
            target = await self._handshake(reader, writer)
            if not self.reply:
                there, back = await asyncio.open_connection(*self.names.get(target[0], target))
                self._writers.append(back)
                await asyncio.gather(_copy(reader, back), _copy(there, writer))
        writer.close()

    async def close(self) -> None:
        """End all connections, and wait for it."""
        for writer in self._writers:
            writer.transport.abort()
        for writer in self._writers:
            with suppress(OSError):
                await writer.wait_closed()

    async def _handshake(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> tuple[str, int]:
        await reader.readexactly((await reader.readexactly(2))[1])
        writer.write(b"\x05\x02")
        user = await reader.readexactly((await reader.readexactly(2))[1])
        password = await reader.readexactly((await reader.readexactly(1))[0])
        self.users.append((user, password))
        writer.write(b"\x01\x00")
        kind = (await reader.readexactly(4))[3]
        assert kind in {IPV4, NAME}
        length = 4 if kind == IPV4 else (await reader.readexactly(1))[0]
        host = await reader.readexactly(length)
        target = str(IPv4Address(host)) if kind == IPV4 else host.decode(), int.from_bytes(await reader.readexactly(2))
        self.targets.append(target)
        writer.write(bytes([5, self.reply, 0, 1, 0, 0, 0, 0, 0, 0]))
        return target


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    with suppress(OSError):
        while data := await reader.read(65536):
            writer.write(data)
    writer.close()


@asynccontextmanager
async def forwarding(reply: int = 0) -> AsyncIterator[tuple[Forwarding, str]]:
    """Run it; gives it and its address as `tor.socks` takes it.

    Args:
        reply: to every CONNECT; 0 connects.
    """
    proxy = Forwarding(reply)
    listener = await asyncio.start_server(proxy.serve, "127.0.0.1", 0)
    try:
        yield proxy, "{}:{}".format(*listener.sockets[0].getsockname())
    finally:
        listener.close()
        await proxy.close()
        await listener.wait_closed()
