"""Another user who does all he can that no connection is left for the MTA.

He holds as many as he can, in the state that a few words lead to, keeps each of them busy, and opens another one for
each that he loses. Run as a program: number of the user, port, how many he wants and how many he has to have at first,
what he says at first, and what he says again and again.
"""

import asyncio
import os
import selectors
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

AGAIN = 0.2
"""Seconds between two words on a connection, and between two connections instead of lost ones."""


@asynccontextmanager
async def crowd(  # noqa: PLR0913, PLR0917 -- what differs between tests
    port: int, wanted: int, enough: int, words: bytes, again: bytes, uid: int | None = None
) -> AsyncIterator[None]:
    """Let him be there, by default as our own user.

    Args:
        port: on loopback.
        wanted: how many connections he tries to have; with more than enough he opens them as fast as he can.
        enough: how many he has had open when this begins.
        words: what he says first.
        again: what he says again and again.
        uid: his number.
    """
    user = os.geteuid() if uid is None else uid
    command: list[str | bytes] = [sys.executable, __file__, *map(str, (user, port, wanted, enough)), words, again]
    process = await asyncio.create_subprocess_exec(*command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert process.stdin
    assert process.stdout
    try:
        assert await process.stdout.readline() == b"held\n"
        yield
    finally:
        process.stdin.close()
        await process.wait()


class _Crowd:
    """His connections."""

    def __init__(self, port: int, wanted: int, enough: int, words: bytes, again: bytes) -> None:
        self._port = port
        self._wanted = wanted
        self._enough = enough
        self._words = words
        self._again = again
        self._opened = 0
        self._opened_at = 0.0
        self._events = selectors.DefaultSelector()
        self._held: dict[socket.socket, float] = {}  # and when he said something; those silent for longest come first

    def run(self) -> None:
        """Go on until standard input ends; `held` is written once there were enough."""
        self._events.register(0, selectors.EVENT_READ)
        while True:
            wants = len(self._held) < self._wanted
            is_fast = self._opened < self._enough or self._wanted > self._enough
            if wants and (is_fast or time.monotonic() - self._opened_at >= AGAIN):
                self._open()
            for key, _ in self._events.select(0 if wants and is_fast else AGAIN):
                if not isinstance(key.fileobj, socket.socket):
                    return
                self._read(key.fileobj)
            self._keep_busy()

    def _open(self) -> None:
        connection = socket.socket()
        connection.connect(("127.0.0.1", self._port))
        self._held[connection] = time.monotonic()
        self._events.register(connection, selectors.EVENT_READ)
        self._say(connection, self._words)
        self._opened += 1
        self._opened_at = time.monotonic()
        if self._opened == self._enough:
            os.write(1, b"held\n")

    def _read(self, connection: socket.socket) -> None:
        try:
            is_over = not connection.recv(4096)
        except OSError:
            is_over = True
        if is_over:
            self._lose(connection)

    def _keep_busy(self) -> None:
        now = time.monotonic()
        for connection, said in list(self._held.items()):
            if now - said < AGAIN:
                return
            del self._held[connection]
            self._held[connection] = now
            self._say(connection, self._again)

    def _say(self, connection: socket.socket, words: bytes) -> None:
        try:
            connection.sendall(words)
        except OSError:
            self._lose(connection)

    def _lose(self, connection: socket.socket) -> None:
        del self._held[connection]
        self._events.unregister(connection)
        connection.close()


def _main() -> None:
    uid, port, wanted, enough = map(int, sys.argv[1:5])
    words, again = map(os.fsencode, sys.argv[5:])
    if uid != os.geteuid():
        os.setgid(uid)
        os.setuid(uid)
    _Crowd(port, wanted, enough, words, again).run()


if __name__ == "__main__":
    _main()
