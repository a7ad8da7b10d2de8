"""An onion MX that keeps the protocol, behind a SOCKS port of its own, until a test wants a reply to be another one."""

import asyncio
import re
import ssl
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

EXTENSIONS = ("PIPELINING", "CHUNKING", "SIZE 0", "8BITMIME", "DSN", "SMTPUTF8")
CLOSE = "close"
"""Instead of a reply: end the connection."""
PLAIN = {
    "HELO": "250 mx.example",
    "NOOP": "250 2.0.0 ok",
    "RSET": "250 2.0.0 reset",
    "QUIT": "221 2.0.0 bye",
    "STARTTLS": "220 2.0.0 go",
    "DATA": "503 5.5.1 no recipients",
}
"""Replies that depend on nothing."""
SILENCE = "silence"
"""Instead of a reply: say nothing any more."""


@dataclass
class Dialog:
    """One connection.

    Attributes:
        number: from 1.
        onion: the name that was asked for.
        commands: lines, in order; what asks a new endpoint about BDAT is left out.
    """

    number: int
    onion: str
    commands: list[str] = field(default_factory=list)
    sender: str | None = None
    recipients: list[str] = field(default_factory=list)
    content: bytes = b""
    is_encrypted: bool = False
    was_asked: bool = False

    def reset(self) -> None:
        self.sender = None
        self.recipients = []
        self.content = b""


Answer = Callable[[Dialog, str, str], "str | None"]
"""Gives the reply to a verb and its line (`greeting` and `END` among them), `None` for the ordinary one."""


@dataclass
class Taken:
    """A message that was accepted."""

    onion: str
    sender: str
    recipients: tuple[str, ...]
    content: bytes


@dataclass
class OnionMx:
    """What it does, and what it has seen.

    Attributes:
        answer: replies that differ.
        extensions: what EHLO offers.
        is_hasty: says 250 to content that it has not read, and reads nothing more.
        swallows: whether it reads the octets of a BDAT that it refuses (RFC 3030 section 2).
        to_question: what it says to a BDAT without a transaction, if not what others say.
        socks: the reply of the SOCKS port to CONNECT, by onion; 0 for others.
        tls: what STARTTLS is made with; `None` breaks the connection off there.
        dialogs: all connections.
        taken: all accepted messages.
        chunks_asked: how often it was asked whether it swallows a refused BDAT.
    """

    answer: Answer = lambda _dialog, _verb, _line: None
    extensions: tuple[str, ...] = EXTENSIONS
    is_hasty: bool = False
    swallows: bool = True
    to_question: str = ""
    socks: dict[str, int] = field(default_factory=dict)
    tls: ssl.SSLContext | None = None
    dialogs: list[Dialog] = field(default_factory=list)
    taken: list[Taken] = field(default_factory=list)
    chunks_asked: int = 0
    over: asyncio.Event = field(default_factory=asyncio.Event)
    port: int = 0

    @property
    def commands(self) -> list[str]:
        """Of all connections."""
        return [command for dialog in self.dialogs for command in dialog.commands]

    @property
    def verbs(self) -> list[str]:
        """Of all commands."""
        return [command.split(" ")[0] for command in self.commands]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One connection."""
        try:
            if dialog := await self._connect(reader, writer):
                await self._talk(dialog, reader, writer)
        except (OSError, asyncio.IncompleteReadError, ssl.SSLError):
            pass
        finally:
            writer.close()

    async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> Dialog | None:
        _, methods = await reader.readexactly(2)
        await reader.readexactly(methods)
        writer.write(b"\x05\x02")
        _, length = await reader.readexactly(2)
        await reader.readexactly(length)  # user
        (length,) = await reader.readexactly(1)
        await reader.readexactly(length)  # password
        writer.write(b"\x01\x00")
        *_head, length = await reader.readexactly(5)
        onion = (await reader.readexactly(length)).decode()
        await reader.readexactly(2)
        code = self.socks.get(onion, 0)
        writer.write(bytes([5, code, 0, 1, 0, 0, 0, 0, 0, 0]))
        if code:
            return None
        self.dialogs.append(Dialog(len(self.dialogs) + 1, onion))
        return self.dialogs[-1]

    async def _talk(self, dialog: Dialog, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        goes_on = await self._say(dialog, "greeting", "", "220 mx.example ESMTP", writer)
        while goes_on:
            line = (await reader.readuntil(b"\r\n")).decode("utf-8", "surrogateescape").rstrip("\r\n")
            verb = line.split(" ")[0].upper()
            self._note(dialog, verb, line)
            reply = await self._obey(dialog, verb, line, reader, writer)
            goes_on = await self._say(dialog, verb, line, reply, writer)
            if self.is_hasty and dialog.recipients and verb in {"BDAT", "DATA"}:
                await self.over.wait()
            if verb == "STARTTLS" and goes_on:
                if self.tls is None:
                    return
                await writer.start_tls(self.tls)
                dialog.is_encrypted = True
            goes_on = goes_on and verb != "QUIT"

    def _note(self, dialog: Dialog, verb: str, line: str) -> None:
        """Keep a command, unless it is the question whether a refused BDAT is swallowed, with the RSET behind it."""
        asks = verb == "BDAT" and dialog.sender is None and not line.endswith(" LAST")
        if not asks and not (dialog.was_asked and verb == "RSET"):
            dialog.commands.append(line)
        self.chunks_asked += asks
        dialog.was_asked = asks

    async def _obey(
        self, dialog: Dialog, verb: str, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> str:
        match verb:
            case "EHLO":
                *others, last = ("mx.example", *self.extensions)
                return "".join(f"250-{text}\r\n" for text in others) + f"250 {last}"
            case "MAIL" | "RCPT":
                return self._take_address(dialog, verb, line)
            case "BDAT":
                return await self._take_chunk(dialog, line, reader)
            case "DATA" if dialog.recipients:
                return self.answer(dialog, verb, line) or await self._take_data(dialog, line, reader, writer)
            case "RSET":
                dialog.reset()
        return PLAIN.get(verb, "500 5.5.1 what?")

    def _take_address(self, dialog: Dialog, verb: str, line: str) -> str:
        if (dialog.sender is None) is (verb == "RCPT"):
            return "503 5.5.1 bad sequence"
        found = re.search(r":<(.*)>", line)
        assert found, line
        reply = self.answer(dialog, verb, line) or ("250 2.1.0 ok" if verb == "MAIL" else "250 2.1.5 ok")
        if reply.startswith("2") and verb == "MAIL":
            dialog.sender = found[1]
        elif reply.startswith("2"):
            dialog.recipients.append(found[1])
        return reply

    async def _take_data(
        self, dialog: Dialog, line: str, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> str:
        writer.write(b"354 go\r\n")
        if self.is_hasty:
            return "250 2.0.0 queued"
        content = b"\r\n"
        while not content.endswith(b"\r\n.\r\n"):
            content += await reader.readuntil(b"\r\n")
        dialog.content = content[2:-3].replace(b"\r\n..", b"\r\n.")
        return self._end(dialog, line)

    async def _take_chunk(self, dialog: Dialog, line: str, reader: asyncio.StreamReader) -> str:
        is_refused = not dialog.recipients
        if self.is_hasty and not is_refused:
            return "250 2.0.0 queued"
        if is_refused and not self.swallows:
            return "502 5.5.1 Missing RCPT TO command"
        dialog.content += await reader.readexactly(int(line.split(" ")[1]))
        if is_refused:
            dialog.content = b""
            return self.to_question or "503 5.5.1 no recipients"
        return self._end(dialog, line) if line.endswith(" LAST") else "250 2.0.0 octets taken"

    def _end(self, dialog: Dialog, line: str) -> str:
        reply = self.answer(dialog, "END", line) or "250 2.0.0 queued"
        if reply.startswith("2"):
            assert dialog.sender is not None
            self.taken.append(Taken(dialog.onion, dialog.sender, tuple(dialog.recipients), dialog.content))
        dialog.reset()
        return reply

    async def _say(self, dialog: Dialog, verb: str, line: str, usual: str, writer: asyncio.StreamWriter) -> bool:
        asked_already = verb in {"MAIL", "RCPT", "BDAT", "DATA"}
        reply = usual if asked_already else self.answer(dialog, verb, line) or usual
        if reply == CLOSE:
            return False
        if reply == SILENCE:
            await self.over.wait()
        writer.write(reply.encode("utf-8", "surrogateescape") + b"\r\n")
        await writer.drain()
        return not reply.startswith("421")


@asynccontextmanager
async def running(mx: OnionMx) -> AsyncIterator[OnionMx]:
    """Run it on a free port of loopback."""
    connections: dict[asyncio.StreamWriter, asyncio.Task[None]] = {}

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.current_task()
        assert task
        connections[writer] = task
        try:
            await mx.serve(reader, writer)
        finally:
            del connections[writer]

    server = await asyncio.start_server(serve, "127.0.0.1", 0)
    mx.port = server.sockets[0].getsockname()[1]
    try:
        yield mx
    finally:
        server.close()
        mx.over.set()
        for writer in connections:
            writer.transport.abort()
        await asyncio.gather(*connections.values(), return_exceptions=True)
        await server.wait_closed()
