"""How the bench talks to the processes it has started: a line of JSON asks, a line of JSON answers."""

import asyncio
import json
import socket
from collections.abc import Awaitable, Callable, Coroutine
from types import ModuleType, TracebackType
from typing import Any, Self

LOOPBACK = "127.0.0.1"
TIMEOUT = 120.0
"""Seconds that one answer may take; the longest run waits for half a minute."""

Message = dict[str, Any]


async def serve_control(port: int, answer: Callable[[Message], Awaitable[Message]]) -> None:
    """Answer each question of each connection."""

    async def session(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while line := await reader.readline():
            writer.write(json.dumps(await answer(json.loads(line))).encode() + b"\n")
        writer.close()

    await asyncio.start_server(session, LOOPBACK, port)


def run_forever(main: Coroutine[Any, Any, None]) -> None:
    """Run a server on uvloop, or on asyncio's own loop where uvloop is not installed."""
    uvloop: ModuleType | None
    try:
        import uvloop  # noqa: PLC0415 - the servers of the bench run without it too
    except ImportError:
        uvloop = None

    async def forever() -> None:
        await main
        await asyncio.Event().wait()

    with asyncio.Runner(loop_factory=uvloop.new_event_loop if uvloop else None) as runner:
        runner.run(forever())


class Control:
    """The asking side."""

    def __init__(self, port: int) -> None:
        self._socket = socket.create_connection((LOOPBACK, port), TIMEOUT)
        self._lines = self._socket.makefile("rwb")

    def ask(self, **question: object) -> Message:
        """Ask and wait for the answer."""
        self._lines.write(json.dumps(question).encode() + b"\n")
        self._lines.flush()
        answer: Message = json.loads(self._lines.readline())
        return answer

    def __enter__(self) -> Self:
        """Give itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """Close the connection."""
        self._lines.close()
        self._socket.close()
