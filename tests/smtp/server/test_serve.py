"""The server on real sockets, with the clients of the standard library."""

import asyncio
import contextlib
import smtplib
import socket
import stat
import struct
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from ipaddress import ip_network
from pathlib import Path

import pytest

from onionmx.errors import ConfigurationError
from onionmx.smtp.reply import OurReply
from onionmx.smtp.server import ServerSettings, SmtpListener, SmtpServer, listen_tcp, listen_unix, serve
from tests.smtp.server.recorder import Recorder

OPEN = b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\n"


@asynccontextmanager
async def served(
    recorder: Recorder, *listeners: SmtpListener, settings: ServerSettings | None = None
) -> AsyncIterator[SmtpServer]:
    server = await serve(settings or ServerSettings(), recorder.begin, listeners)
    try:
        yield server
    finally:
        await server.close(0)


def port_of(listener: SmtpListener) -> int:
    port: int = listener.socket.getsockname()[1]
    return port


@pytest.mark.parametrize("host", ["127.0.0.1", "::1"])
def test_smtplib(host: str) -> None:
    listener = listen_tcp(host, 0)
    recorder = Recorder(recipients={"c@example.net": OurReply.NO_ROUTE.value})
    message = "Subject: x\r\n\r\n.\r\n..\r\n" + "y" * 900 + "\r\n"

    def send() -> None:
        with smtplib.SMTP(host, port_of(listener)) as client:
            for _ in range(2):
                refused = client.sendmail("a@example.org", ["b@example.net", "c@example.net"], message)
                assert refused == {"c@example.net": (451, b"4.4.4 no route over Tor for this domain")}
            assert client.esmtp_features["size"] == "104857600"
            assert client.verify("root")[0] == 252

    async def main() -> None:
        async with served(recorder, listener):
            await asyncio.to_thread(send)

    asyncio.run(main())
    assert recorder.messages == [("a@example.org", ["b@example.net"], message.encode())] * 2


def test_smtplib_lmtp_on_a_unix_socket(tmp_path: Path) -> None:
    path = tmp_path / "lmtp"
    recorder = Recorder()

    def send() -> None:
        with smtplib.LMTP(str(path)) as client:
            client.sendmail("a@example.org", ["b@example.net"], "x\r\n")

    async def main() -> None:
        async with served(recorder, listen_unix(path, mode=0o620, is_lmtp=True)):
            assert stat.S_IMODE(path.stat().st_mode) == 0o620
            await asyncio.to_thread(send)

    asyncio.run(main())
    assert recorder.messages == [("a@example.org", ["b@example.net"], b"x\r\n")]
    assert path.exists(), "another worker may serve it still"


def test_unix_socket_takes_the_place_of_a_stale_one_only(tmp_path: Path) -> None:
    path = tmp_path / "smtp"

    async def main() -> None:
        stale = listen_unix(path)
        stale.socket.close()
        async with served(Recorder(), listen_unix(path)):
            with pytest.raises(ConfigurationError, match="another server listens there"):
                listen_unix(path)
        path.unlink()
        path.write_text("a file")
        with pytest.raises(ConfigurationError, match="in use"):
            listen_unix(path)

    asyncio.run(main())
    assert path.read_text() == "a file"


def test_port_in_use() -> None:
    listener = listen_tcp("127.0.0.1", 0)
    listener.socket.listen()
    with pytest.raises(ConfigurationError, match=f"cannot listen on 127.0.0.1 port {port_of(listener)}"):
        listen_tcp("127.0.0.1", port_of(listener))
    listener.socket.close()


async def read_all(port: int, send: bytes = b"") -> bytes:
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(send)
    answer = await reader.read()
    writer.close()
    await writer.wait_closed()
    return answer


def test_client_from_elsewhere_is_refused(caplog: pytest.LogCaptureFixture) -> None:
    """It gets the reason even if it did not wait for the greeting, and then the end."""

    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        recorder = Recorder()
        settings = ServerSettings(clients=(ip_network("192.0.2.0/24"), ip_network("::/0")))
        async with served(recorder, listener, settings=settings):
            assert await read_all(port_of(listener), OPEN * 100) == OurReply.CLIENT_REFUSED.value.to_bytes()
        assert not recorder.transactions

    asyncio.run(main())
    assert "refused" in caplog.text


def test_mapped_address_is_the_ipv4_address() -> None:
    async def main() -> None:
        bound = socket.socket(socket.AF_INET6, socket.SOCK_STREAM)
        bound.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 0)
        bound.bind(("::", 0))
        async with served(Recorder(), SmtpListener(bound)):
            assert b"221" in await read_all(bound.getsockname()[1], b"QUIT\r\n")

    asyncio.run(main())


def test_connection_over_the_limit_is_deferred() -> None:
    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        async with served(Recorder(), listener, settings=ServerSettings(max_connections=1)) as server:
            reader, writer = await asyncio.open_connection("127.0.0.1", port_of(listener))
            writer.write(OPEN)
            await reader.readuntil(OurReply.RECIPIENT_OK.value.to_bytes())
            assert server.open_sessions == 1
            assert await read_all(port_of(listener)) == OurReply.TOO_MANY_CONNECTIONS.value.to_bytes()
            writer.write(b"QUIT\r\n")
            await reader.read()
            writer.close()
            await writer.wait_closed()
            assert b"221" in await read_all(port_of(listener), b"QUIT\r\n")

    asyncio.run(main())


def test_stop_ends_idle_sessions_and_finishes_the_others() -> None:
    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        port = port_of(listener)
        gate = asyncio.Event()
        recorder = Recorder(last_gate=gate)
        server = await serve(ServerSettings(), recorder.begin, [listener])
        idle = await asyncio.open_connection("127.0.0.1", port)
        await idle[0].readline()
        busy = await asyncio.open_connection("127.0.0.1", port)
        busy[1].write(OPEN + b"BDAT 3 LAST\r\nabc")
        await asyncio.wait_for(recorder.taken.wait(), 120)
        assert (server.open_sessions, server.open_deliveries) == (2, 1)
        closing = asyncio.create_task(server.close(20))
        assert await idle[0].read() == OurReply.SHUTTING_DOWN.value.to_bytes()
        with pytest.raises(ConnectionRefusedError):
            await read_all(port)
        assert not closing.done()
        gate.set()
        answer = await busy[0].read()
        assert answer.endswith(OurReply.DELIVERED.value.to_bytes() + OurReply.SHUTTING_DOWN.value.to_bytes())
        for _, writer in (idle, busy):
            writer.close()
            await writer.wait_closed()
        await closing
        assert server.open_sessions == 0

    asyncio.run(main())


def test_stop_breaks_off_what_outlasts_the_grace(caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        recorder = Recorder(last_gate=asyncio.Event())
        server = await serve(ServerSettings(), recorder.begin, [listener])
        reader, writer = await asyncio.open_connection("127.0.0.1", port_of(listener))
        writer.write(OPEN + b"BDAT 3 LAST\r\nabc")
        await asyncio.wait_for(recorder.taken.wait(), 120)
        await server.close(0.01)
        assert (await reader.read()).endswith(
            OurReply.RECIPIENT_OK.value.to_bytes() + OurReply.SHUTTING_DOWN.value.to_bytes()
        )
        assert recorder.ends == ["content cancelled"]
        writer.close()
        await writer.wait_closed()

    asyncio.run(main())
    assert "broken off after 0.01 s" in caplog.text
    assert len(caplog.records) == 1


async def _write_on(writer: asyncio.StreamWriter) -> None:
    while True:
        writer.write(b"VRFY x\r\n" * 1000)
        await writer.drain()


def test_client_that_never_reads_its_replies_is_dropped() -> None:
    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        async with served(Recorder(), listener, settings=ServerSettings(idle_timeout=0.1)) as server:
            _, writer = await asyncio.open_connection("127.0.0.1", port_of(listener), limit=1)
            with pytest.raises(ConnectionError):
                await asyncio.wait_for(_write_on(writer), 120)
            assert server.open_sessions == 0
            writer.close()
            with contextlib.suppress(ConnectionError):
                await writer.wait_closed()

    asyncio.run(main())


@pytest.mark.parametrize("last", [b"", b"POST / HTTP/1.1\r\n", b"NOOP\n", b"QUIT\r\n", b"BDAT 3 LAST\r\nabc"])
def test_reset_by_the_client_is_no_event(last: bytes, caplog: pytest.LogCaptureFixture) -> None:
    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        async with served(Recorder(), listener) as server:
            for _ in range(20):
                client = socket.create_connection(("127.0.0.1", port_of(listener)))
                client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                client.sendall(OPEN + last)
                client.close()
            await server.close(20)
            assert server.open_sessions == server.open_deliveries == 0

    asyncio.run(main())
    assert not caplog.records


def test_addresses_are_never_logged(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("INFO")

    async def main() -> None:
        listener = listen_tcp("127.0.0.1", 0)
        async with served(Recorder(), listener):
            await read_all(port_of(listener), OPEN + b"RCPT TO:<bad\r\nBDAT 3 LAST\r\nabcQUIT\r\n")

    asyncio.run(main())
    assert "example" not in caplog.text
    assert "127.0.0.1" not in caplog.text
