"""More connections than may be open: the MTA gets in all the same, whatever other local users do."""

import asyncio
import os
import socket

import pytest

from onionmx.smtp.reply import OurReply
from onionmx.smtp.server import ServerSettings, SmtpServer, listen_tcp, serve
from tests.net.stranger import root_only, stranger
from tests.smtp.server.recorder import Recorder
from tests.smtp.server.test_serve import OPEN, port_of, read_all, served

LIMIT = 40
MAKING_ROOM = OurReply.MAKING_ROOM.value.to_bytes()


async def mail_goes(port: int) -> None:
    """A message of the MTA."""
    answer = await asyncio.wait_for(read_all(port, OPEN + b"DATA\r\nx\r\n.\r\nQUIT\r\n"), 120)
    assert answer.endswith(OurReply.DELIVERED.value.to_bytes() + OurReply.CLOSING.value.to_bytes()), answer


def test_silent_connections_make_room(caplog: pytest.LogCaptureFixture) -> None:
    """By whomever: these are the MTA's own as far as the relay can tell."""

    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        async with served(Recorder(), listener, settings=ServerSettings(max_connections=LIMIT)) as server:
            silent = [await asyncio.open_connection("127.0.0.1", port_of(listener)) for _ in range(LIMIT)]
            for reader, _ in silent:
                await reader.readline()
            for _ in range(5):
                await mail_goes(port_of(listener))
            assert await silent[0][0].read() == MAKING_ROOM, "the one that was silent longest"
            assert server.open_sessions < LIMIT
            for _, writer in silent:
                writer.close()
                await writer.wait_closed()

    asyncio.run(main())
    assert caplog.text.count("idle ones are closed for others") == 1
    assert f"user {os.getuid()}: {LIMIT}" in caplog.text


def test_client_that_does_not_read_makes_room() -> None:
    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        async with served(Recorder(), listener, settings=ServerSettings(max_connections=1)) as server:
            with socket.create_connection(("127.0.0.1", port_of(listener))) as deaf:
                deaf.setblocking(False)  # noqa: FBT003 -- the name in the library
                loop = asyncio.get_running_loop()
                with pytest.raises(ConnectionError):
                    await asyncio.wait_for(_flood(loop, deaf, port_of(listener), server), 120)

    asyncio.run(main())


async def _flood(loop: asyncio.AbstractEventLoop, deaf: socket.socket, port: int, server: SmtpServer) -> None:
    while not server.open_sessions:  # noqa: ASYNC110
        await asyncio.sleep(0)
    sending = asyncio.create_task(loop.sock_sendall(deaf, b"EHLO x\r\n" * 1_000_000))
    (session,) = server._sessions  # noqa: SLF001
    while not session._writer.transport.get_write_buffer_size():  # noqa: ASYNC110, SLF001 -- nothing tells it
        await asyncio.sleep(0)
    await mail_goes(port)
    await sending


@root_only
@pytest.mark.parametrize("words", ["", "EHLO x\r\nMAIL FROM:<>\r\n", OPEN.decode() + "DATA\r\nx"])
def test_another_user_cannot_keep_the_mta_out(words: str) -> None:
    """Not with open transactions either: he has more than the MTA."""

    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        async with (
            served(Recorder(), listener, settings=ServerSettings(max_connections=LIMIT)),
            stranger(port_of(listener), LIMIT, words),
        ):
            for _ in range(5):
                await mail_goes(port_of(listener))

    asyncio.run(main())


@root_only
def test_messages_of_another_user_that_are_being_delivered_leave_a_share() -> None:
    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        gate = asyncio.Event()
        recorder = Recorder(last_gate=gate)
        server = await serve(ServerSettings(max_connections=LIMIT), recorder.begin, [listener])
        busy = (OPEN + b"BDAT 3 LAST\r\nabc").decode()
        async with stranger(port_of(listener), LIMIT, busy):
            while server.open_deliveries < LIMIT:  # noqa: ASYNC110 -- nothing tells it
                await asyncio.sleep(0)
            mine = [await asyncio.open_connection("127.0.0.1", port_of(listener)) for _ in range(LIMIT // 10)]
            for reader, _ in mine:
                assert (await reader.readline()).startswith(b"220")
            gate.set()
            for _, writer in mine:
                writer.close()
                await writer.wait_closed()
        await server.close(20)

    asyncio.run(main())


@root_only
def test_share_of_the_mta_is_not_taken_by_another_user() -> None:
    """What he opens once more is closed for what he opens then, never a session of the MTA."""

    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        async with served(Recorder(), listener, settings=ServerSettings(max_connections=LIMIT)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(listener))
            await reader.readline()
            async with stranger(port_of(listener), 3 * LIMIT):
                writer.write(OPEN + b"QUIT\r\n")
                assert (await reader.read()).endswith(OurReply.CLOSING.value.to_bytes())
            writer.close()
            await writer.wait_closed()
            assert server.open_sessions <= LIMIT

    asyncio.run(main())
