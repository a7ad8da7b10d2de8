"""Messages stream through: what a session holds does not depend on their size."""

import asyncio
import tracemalloc
from pathlib import Path

from onionmx.smtp.server import ServerSettings, listen_unix, serve
from tests.smtp.server.recorder import Recorder

SESSIONS = 10
SIZE = 8 * 1024 * 1024
PER_SESSION = 1024 * 1024  # a few reads on either side of the socket; what the kernel reads at once is 256 KiB


async def send(path: Path, *, is_chunked: bool) -> None:
    reader, writer = await asyncio.open_unix_connection(str(path))
    writer.write(b"EHLO x\r\nMAIL FROM:<>\r\nRCPT TO:<b@example.net>\r\n")
    writer.write(f"BDAT {SIZE} LAST\r\n".encode() if is_chunked else b"DATA\r\n")
    block = (b"x" * 1022 + b"\r\n") * 16
    for _ in range(SIZE // len(block)):
        writer.write(block)
        await writer.drain()
    writer.write(b"QUIT\r\n" if is_chunked else b".\r\nQUIT\r\n")
    answer = await reader.read()
    assert answer.endswith(b"250 2.0.0 OK\r\n221 2.0.0 closing the session\r\n")
    writer.close()
    await writer.wait_closed()


def test_messages_are_not_gathered(tmp_path: Path) -> None:
    async def main() -> int:
        recorder = Recorder(keep=False, gate=asyncio.Event())
        server = await serve(ServerSettings(), recorder.begin, [listen_unix(tmp_path / "smtp")])
        tracemalloc.start()
        try:
            clients = [
                asyncio.create_task(send(tmp_path / "smtp", is_chunked=bool(number % 2))) for number in range(SESSIONS)
            ]
            await asyncio.wait(clients, timeout=0.2)  # all is held back by the deliveries, which have not begun to read
            assert not any(client.done() for client in clients)
            assert recorder.gate
            recorder.gate.set()
            await asyncio.gather(*clients)
            peak = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
        await server.close(1)
        assert [one.size for one in recorder.transactions] == [SIZE] * SESSIONS
        return peak

    assert asyncio.run(main()) < SESSIONS * PER_SESSION
