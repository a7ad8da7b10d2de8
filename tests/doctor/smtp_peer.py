"""An MX that answers as a test says, over TCP: for judging what no real one says on demand."""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager

Answer = Callable[[str], str]
"""What to say to a command line, without line end; a reply of 421 ends the session."""


class Mx:
    """Plays an MX.

    Args:
        begin: called for each session; gives what is said in it.
        most: sessions at the same time; to further ones it says 421.

    Attributes:
        sessions: command lines, by session.
    """

    def __init__(self, begin: Callable[[], Answer], most: int = 100) -> None:
        self.sessions: list[list[str]] = []
        self._begin = begin
        self._most = most
        self._open = 0

    @property
    def lines(self) -> list[str]:
        """All command lines."""
        return [line for session in self.sessions for line in session]

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """One session."""
        session: list[str] = []
        self.sessions.append(session)
        answer = self._begin()
        self._open += 1
        try:
            reply = "421 too many connections" if self._open > self._most else "220 mx.example ESMTP Exim 4.96"
            while True:
                writer.write(f"{reply}\r\n".encode())
                if reply.startswith(("421", "221")) or not (line := await reader.readline()):
                    break
                session.append(line.decode().rstrip())
                reply = answer(session[-1])
        finally:
            self._open -= 1
            writer.close()


@asynccontextmanager
async def playing(mx: Mx) -> AsyncIterator[tuple[str, int]]:
    """Run it; gives its address."""
    async with await asyncio.start_server(mx.serve, "127.0.0.1", 0) as server:
        host, port = server.sockets[0].getsockname()
        yield host, port


def sound(line: str) -> str:
    """What a sound MX for example.org says."""
    verb = line.partition(" ")[0].upper()
    match verb:
        case "EHLO":
            return "250-mx.example\r\n250 PIPELINING"
        case "MAIL" | "RSET":
            return "250 OK"
        case "RCPT":
            return "250 OK" if line == "RCPT TO:<postmaster@example.org>" else "550 relay not permitted"
        case "QUIT":
            return "221 bye"
    return "502 no"
