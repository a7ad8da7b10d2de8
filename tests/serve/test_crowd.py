"""Full lookups whose users cannot be told from each other, as with `PrivateUsers=yes`."""

import asyncio
from contextlib import suppress
from pathlib import Path

import pytest

from onionmx.serve.http.connection import MAX_CONNECTIONS
from onionmx.serve.listeners import Protocol
from tests.net.crowd import crowd
from tests.routing.scripted_dns import found
from tests.serve.service import Service, play

LIMIT = 40
HTTP = b"GET /routes/%s HTTP/1.1\r\nHost: localhost\r\n\r\n"

pytestmark = pytest.mark.usefixtures("_nobody_is_told")


@pytest.fixture
def _nobody_is_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onionmx.net.clients._told", lambda _uid: None)


@pytest.mark.parametrize(
    ("protocol", "limit", "wanted", "ask", "answer", "again"),
    [
        (Protocol.TCP_TABLE, LIMIT, 2 * LIMIT, b"get %s\n", b"200 ", b"x"),
        (Protocol.TCP_TABLE, LIMIT, 2 * LIMIT, b"get %s\n", b"200 ", b"get example.org\n"),
        (Protocol.HTTP, MAX_CONNECTIONS, MAX_CONNECTIONS, HTTP, b"HTTP/1.1 200", b"x"),
        (Protocol.HTTP, MAX_CONNECTIONS, MAX_CONNECTIONS, HTTP, b"HTTP/1.1 200", HTTP % b"example.org"),
    ],
)
def test_crowd_takes_no_answer_from_the_mta(  # noqa: PLR0913, PLR0917 -- what is played
    tmp_path: Path, protocol: Protocol, limit: int, wanted: int, ask: bytes, answer: bytes, again: bytes
) -> None:
    """It keeps busy, with half a request or with whole ones; who waits for an answer stays until it is there."""

    async def test(service: Service) -> None:
        waiting = asyncio.create_task(service.ask(protocol, ask % b"slow.example"))
        await service.dns.wait_for_question("slow.example")
        async with crowd(service.ports[protocol], wanted, limit, ask[:3], again):
            for _ in range(10):
                assert (await ask_until_answered(service, protocol, ask % b"example.org")).startswith(answer)
            await service.dns.reply(found("slow.example"))
            assert (await waiting).startswith(answer)

    play(tmp_path, test, max_connections=LIMIT, timeout=100.0)


async def ask_until_answered(service: Service, protocol: Protocol, question: bytes) -> bytes:
    """After a stall the server is at work for the whole crowd at once: then only one that is not read yet can go."""
    while True:
        with suppress(ConnectionError):
            if answer := await service.ask(protocol, question):
                return answer
