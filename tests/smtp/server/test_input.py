"""Interrupting the wait for a client, whatever it is that is waited for."""

from __future__ import annotations

import asyncio
import re
import socket

import pytest

from onionmx.smtp.reply import OurReply
from onionmx.smtp.server import ServerSettings, listen_tcp
from onionmx.smtp.server.input import Input
from onionmx.smtp.server.refusal import HangUpError
from tests.smtp.server.dialog import EXTENSIONS
from tests.smtp.server.recorder import Recorder
from tests.smtp.server.test_serve import port_of, served

LEAVE = OurReply.SHUTTING_DOWN.value
LONG = 1000.0


@pytest.mark.parametrize("reads_replies", [True, False])
def test_interruption_ends_the_wait(reads_replies: bool) -> None:  # noqa: FBT001 -- a parameter
    """Also where the client has still to read its replies."""

    async def main() -> None:
        given = Input(asyncio.get_running_loop(), LONG, lambda: None)
        given.is_stuck = not reads_replies
        reading = asyncio.create_task(given.line(100))
        await asyncio.sleep(0)
        given.interrupt(LEAVE)
        with pytest.raises(HangUpError) as caught:
            await asyncio.wait_for(reading, 20)
        assert caught.value.reply == LEAVE
        assert given.client.waits_since is None

    asyncio.run(main())


def test_interruption_at_the_moment_in_which_the_replies_are_read() -> None:
    async def main() -> None:
        given = Input(asyncio.get_running_loop(), LONG, lambda: given.interrupt(LEAVE))
        with pytest.raises(HangUpError) as caught:
            await asyncio.wait_for(given.line(100), 20)
        assert caught.value.reply == LEAVE

    asyncio.run(main())


def test_interruption_at_the_moment_in_which_the_client_reads_on() -> None:
    async def main() -> None:
        given = Input(asyncio.get_running_loop(), LONG, lambda: None)
        given.is_stuck = True
        reading = asyncio.create_task(given.line(100))
        await asyncio.sleep(0)
        given.is_stuck = False
        given.wake()
        given.interrupt(LEAVE)
        with pytest.raises(HangUpError) as caught:
            await asyncio.wait_for(reading, 20)
        assert caught.value.reply == LEAVE

    asyncio.run(main())


def test_last_reply_stands_behind_whole_ones() -> None:
    """The server stops while the client reads none of the replies that it was sent."""

    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        async with served(Recorder(), listener, settings=ServerSettings(idle_timeout=LONG)) as server:
            with socket.create_connection(("127.0.0.1", port_of(listener))) as deaf:
                deaf.setblocking(False)  # noqa: FBT003 -- the name in the library
                loop = asyncio.get_running_loop()
                sending = asyncio.create_task(loop.sock_sendall(deaf, b"EHLO x\r\n" * 1_000_000))
                while not (server._sessions and any(_has_unread(each) for each in server._sessions)):  # noqa: ASYNC110, SLF001 -- nothing tells it
                    await asyncio.sleep(0)
                (session,) = server._sessions  # noqa: SLF001
                session.stop()
                sending.cancel()
                await asyncio.wait([sending])
                deaf.shutdown(socket.SHUT_WR)
                received = bytearray()
                while data := await asyncio.wait_for(loop.sock_recv(deaf, 65536), 20):
                    received += data
        whole = re.compile(rb"220 [^\r\n]*\r\n(?:%s)*%s" % (re.escape(EXTENSIONS), re.escape(LEAVE.to_bytes())))
        assert whole.fullmatch(bytes(received)), bytes(received[-500:])

    asyncio.run(main())


def _has_unread(session: object) -> bool:
    return bool(session._writer.transport.get_write_buffer_size())  # type: ignore[attr-defined]  # noqa: SLF001
