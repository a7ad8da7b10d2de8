"""The whole relay on real sockets: a client's connection in, a scripted onion MX behind a SOCKS port out."""

import asyncio
import contextlib
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from onionmx.onion import Endpoint
from onionmx.relay.service import RelayCore, server_settings
from onionmx.smtp.envelope import Envelope
from onionmx.smtp.server import SmtpListener, SmtpServer, listen_tcp, serve
from tests.mapfile.maps import A, B
from tests.relay.onion_mx import OnionMx, running
from tests.relay.relay import configured

MESSAGE = b"Subject: x\r\n\r\nhello\r\n"
ENTRIES: Mapping[str, tuple[Endpoint, ...]] = {"example.org": ((A, 25),), "two.example": ((A, 25), (B, 2525))}


class Wire:
    """A client's connection, with raw lines."""

    def __init__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._reader = reader
        self._writer = writer

    async def reply(self) -> str:
        """The next reply, its lines joined by LF; empty at the end of the connection."""
        lines: list[str] = []
        while line := await self._reader.readline():
            lines.append(line.decode("utf-8", "backslashreplace").rstrip())
            if line[3:4] != b"-":
                break
        return "\n".join(lines)

    def send(self, data: bytes | str) -> None:
        self._writer.write(data.encode() if isinstance(data, str) else data)

    async def say(self, *lines: str | bytes) -> list[str]:
        """Send lines in one packet, and give the reply to each."""
        self.send(b"".join((line.encode() if isinstance(line, str) else line) + b"\r\n" for line in lines))
        return [await self.reply() for _ in lines]

    async def dot(self, content: bytes = MESSAGE) -> str:
        """Send what follows DATA, without dots in front of lines, and give the final reply."""
        self.send(content + b".\r\n")
        return await self.reply()


class Site:
    """A relay that serves.

    Attributes:
        mx: the onion MX behind every onion.
        delivering: the relay behind its server.
        server: the server.
    """

    def __init__(self, mx: OnionMx, delivering: RelayCore, server: SmtpServer, smtp: int, lmtp: int) -> None:
        self.server = server
        self.mx = mx
        self.delivering = delivering
        self._ports = {False: smtp, True: lmtp}

    @asynccontextmanager
    async def connected(self, *, lmtp: bool = True) -> AsyncIterator[Wire]:
        """A session, greeted."""
        reader, writer = await asyncio.open_connection("127.0.0.1", self._ports[lmtp])
        wire = Wire(reader, writer)
        try:
            await wire.reply()
            await wire.say("LHLO client.example" if lmtp else "EHLO client.example")
            yield wire
        finally:
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    async def send(
        self, *recipients: str, lmtp: bool = True, mail: str = "", rcpt: str = "", content: bytes = MESSAGE
    ) -> list[str]:
        """One message, its commands in one packet: the replies to each RCPT, and behind them those to the content."""
        async with self.connected(lmtp=lmtp) as wire:
            named = [f"RCPT TO:<{one}>{rcpt}" for one in recipients]
            _, *replies = await wire.say(f"MAIL FROM:<me@sender.example>{mail}", *named)
            accepted = sum(reply.startswith("2") for reply in replies)
            if accepted:
                wire.send(b"BDAT %d LAST\r\n%s" % (len(content), content))
                replies += [await wire.reply() for _ in range(accepted if lmtp else 1)]
            return replies


def play(
    tmp_path: Path,
    test: Callable[[Site], Awaitable[Any]],
    mx: OnionMx | None = None,
    entries: Mapping[str, tuple[Endpoint, ...]] = ENTRIES,
    **settings: Any,  # noqa: ANN401 -- fields of the section
) -> Any:  # noqa: ANN401
    """Run a test with a relay that has a map of these entries."""

    async def run() -> Any:  # noqa: ANN401
        async with running(mx or OnionMx()) as peer:
            configuration = configured(tmp_path, peer.port, entries, **settings)
            delivering = RelayCore(configuration)

            async def begin(envelope: Envelope, client: Any) -> Any:  # noqa: ANN401
                return delivering.begin(envelope, client)

            listeners: list[SmtpListener] = [listen_tcp("127.0.0.1", 0, is_lmtp=is_lmtp) for is_lmtp in (False, True)]
            server = await serve(server_settings(configuration.relay), begin, listeners)
            smtp, lmtp = (listener.socket.getsockname()[1] for listener in listeners)
            try:
                return await asyncio.wait_for(test(Site(peer, delivering, server, smtp, lmtp)), 120)
            finally:
                await server.close(1)
                await delivering.close()

    return asyncio.run(run())


def codes(replies: list[str]) -> list[str]:
    """The codes of replies, the enhanced ones with them."""
    return [" ".join(reply.split(" ")[:2]) for reply in replies]
