"""The relay is asked at its control socket, and whatever answers there holds nothing up."""

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from onionmx.config import RelaySection
from onionmx.relay.pages.control import bind_control, control_pages
from onionmx.relay.pages.http import serve_http
from onionmx.serve.page.relay import MAX_ANSWER, RelayError, relay_status
from onionmx.status.model import RelayStatus
from tests.serve.page.statuses import AT, DAYS, FAILING

TOLD = RelayStatus(version="1", at=AT, started=AT, in_flight=2, sessions=3, failing=FAILING, days=DAYS)
LONG = 120.0


@asynccontextmanager
async def relay(settings: RelaySection, *told: RelayStatus) -> AsyncIterator[None]:
    """The control sockets of the relay's workers, as it serves them."""
    bound = bind_control(settings)
    servers = []
    for each, status in zip(bound, told, strict=False):
        assert each is not None

        async def tell(status: RelayStatus = status) -> RelayStatus:
            return status

        servers.append(await serve_http(each, control_pages(tell)))
    try:
        yield
    finally:
        for server in servers:
            await server.close()
        for each in bound[len(told) :]:
            if each is not None:
                each.close()


@asynccontextmanager
async def answering(path: Path, answer: bytes) -> AsyncIterator[None]:
    """Something else in the place of the relay."""

    async def say(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(ConnectionError):  # the other side has given up
            await reader.readuntil(b"\r\n\r\n")
            writer.write(answer)
            if answer:
                writer.write_eof()
            await reader.read()
        writer.close()

    server = await asyncio.start_unix_server(say, path)
    try:
        yield
    finally:
        server.close()


def play(test: Callable[[], Awaitable[None]]) -> None:
    async def run() -> None:
        async with asyncio.timeout(LONG):
            await test()

    asyncio.run(run())


def test_all_workers_are_asked(tmp_path: Path) -> None:
    control = RelaySection(control=str(tmp_path / "relay.sock"), workers=2)

    async def test() -> None:
        async with relay(control, TOLD, TOLD):
            status = await relay_status(control, LONG)
        assert status == msgspec.structs.replace(TOLD, in_flight=4, sessions=6)

    play(test)


def test_a_worker_that_is_missing_is_told(tmp_path: Path) -> None:
    control = RelaySection(control=str(tmp_path / "relay.sock"), workers=2)

    async def test() -> None:
        async with relay(RelaySection(control=control.control), TOLD):
            status = await relay_status(control, LONG)
        assert status.in_flight == 2
        assert "1 of 2 workers: no relay listens at" in status.why

    play(test)


@pytest.mark.parametrize(
    ("answer", "why"),
    [
        (b"", "does not answer"),
        (b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n", "it answers 404"),
        (b"220 mx ESMTP\r\n", "is not the relay"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n{}", "is of another version"),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n{}", "is not the relay"),
        (b"HTTP/1.1 200 OK\r\n\r\n" + b" " * (MAX_ANSWER + 1), "it answers more than"),
    ],
    ids=["silent", "404", "SMTP", "other", "cut", "large"],
)
def test_what_is_no_relay(tmp_path: Path, answer: bytes, why: str) -> None:
    path = tmp_path / "relay.sock"

    async def test() -> None:
        async with answering(path, answer):
            with pytest.raises(RelayError, match=why):
                await relay_status(RelaySection(control=str(path)), 0.2 if not answer else LONG)

    play(test)


def test_no_relay(tmp_path: Path) -> None:
    async def test() -> None:
        for control, why in ((str(tmp_path / "none"), "no relay listens"), ("", "relay.control is empty")):
            with pytest.raises(RelayError, match=why):
                await relay_status(RelaySection(control=control), LONG)

    play(test)


@settings(max_examples=50)
@given(st.binary())
def test_any_answer(tmp_path_factory: pytest.TempPathFactory, answer: bytes) -> None:
    path = tmp_path_factory.mktemp("relay") / "s"

    async def test() -> None:
        async with answering(path, b"HTTP/1.1 200 OK\r\n\r\n" + answer):
            with pytest.raises(RelayError):
                await relay_status(RelaySection(control=str(path)), LONG)

    play(test)
