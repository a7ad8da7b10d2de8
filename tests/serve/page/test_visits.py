"""Visits of the page: over TCP with counts only, over a unix socket with names, and never for pages of others."""

import asyncio
from functools import partial
from pathlib import Path

import pytest
from msgspec.structs import replace

from onionmx.config import RelaySection
from onionmx.parts import Parts
from onionmx.serve.listeners import Protocol
from onionmx.serve.page.page import POLICY
from tests.mapfile.maps import A
from tests.serve.http.test_connection import parse, request
from tests.serve.page.relays import TOLD, relay
from tests.serve.service import Service, play

NAMES = (A, "secret.example")


async def over_unix(service: Service, path: Path, protocol: Protocol, data: bytes) -> bytes:
    loop = asyncio.get_running_loop()
    connect = partial(service.service.connection, protocol, is_unix=True)
    server = await loop.create_unix_server(connect, str(path))
    try:
        reader, writer = await asyncio.open_unix_connection(str(path))
        writer.write(data)
        writer.write_eof()
        answer = await reader.read()
        writer.close()
    finally:
        server.close()
    return answer


def test_names_are_shown_on_unix_sockets_alone(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        control = RelaySection(control=str(tmp_path / "relay.sock"))
        service.service.use(Parts(replace(service.configuration, relay=control)))
        async with relay(control, TOLD):
            status, headers, body = parse(await service.ask(Protocol.HTTP, request("/")))
            assert (status, headers["content-type"]) == (200, "text/html; charset=utf-8")
            assert headers["content-security-policy"] == POLICY == "default-src 'none'; style-src 'self'"
            assert headers["x-frame-options"] == "DENY"
            assert b"Destinations that fail" in body
            assert b'<td class="number">1</td>' in body
            assert not [name for name in NAMES if name.encode() in body]
            for protocol in (Protocol.HTTP, Protocol.CONTROL):
                answer = await over_unix(service, tmp_path / protocol, protocol, request("/"))
                status, headers, body = parse(answer)
                assert (status, headers["content-security-policy"]) == (200, POLICY)
                assert [name for name in NAMES if name.encode() in body] == list(NAMES)

    play(tmp_path, test)


def test_style_sheet_and_methods(tmp_path: Path) -> None:
    async def test(service: Service) -> None:
        status, headers, body = parse(await service.ask(Protocol.HTTP, request("/status.css")))
        assert (status, headers["content-type"]) == (200, "text/css; charset=utf-8")
        assert b"prefers-color-scheme" in body
        assert parse(await service.ask(Protocol.HTTP, request("/", "HEAD")), "HEAD")[0] == 200
        status, headers, _ = parse(await service.ask(Protocol.HTTP, request("/", "POST")), "POST")
        assert (status, headers["allow"]) == (405, "GET, HEAD")

    play(tmp_path, test)


@pytest.mark.parametrize("target", ["/", "/status.css", "/metrics", "/healthz", "/routes/example.org"])
@pytest.mark.parametrize(
    ("headers", "status"),
    [
        (("Host: attacker.example",), 421),
        (("Host: localhost:10030", "Sec-Fetch-Site: cross-site"), 403),
        (("Host: 127.0.0.1:10030", "Sec-Fetch-Site: same-site"), 403),
        (("Host: 127.0.0.1:10030", "Origin: https://attacker.example"), 403),
        (("Host: 127.0.0.1:10030", "Origin: null"), 403),
        (("Host: 127.0.0.1:10030", "Sec-Fetch-Site: none"), 200),
    ],
)
def test_pages_of_others_get_nothing(tmp_path: Path, target: str, headers: tuple[str, ...], status: int) -> None:
    async def test(service: Service) -> None:
        asked = "\r\n".join((f"GET {target} HTTP/1.1", *headers, "", "")).encode()
        found, _, body = parse(await service.ask(Protocol.HTTP, asked))
        if status != 200:
            assert found == status
            assert body.count(b"\n") == 1
        else:
            assert found in {200, 503}  # there is no tor

    play(tmp_path, test)
