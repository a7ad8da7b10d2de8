"""The SOCKS handshake with the real tor, over TCP and over a unix socket.

SocksConnector ── tor (SocksPort on TCP and unix) ── private Tor network ── tor ── a server that greets
"""

import asyncio
import socket
import socketserver
from collections.abc import Callable, Coroutine, Iterator
from typing import Any

import pytest
import socks
import uvloop

from onionmx.config import parse_address
from onionmx.defaults import TOR_USER
from onionmx.net.stream import SocketStream
from onionmx.tor.handshake import Connected, Handshake
from onionmx.tor.reach import reach
from onionmx.tor.socks import Cause, SocksConnector, SocksError
from tests.onions import V3_ONION, make_onion

from .tcp_server import tcp_server
from .tor_network import TorNetwork

PATIENCE = 130.0
GREETING = b"220 mx.example\r\n"
Run = Callable[[Coroutine[Any, Any, None]], None]


class Greeter(socketserver.BaseRequestHandler):
    """Greets at once, answers the first line, and says what it got."""

    request: socket.socket

    def handle(self) -> None:
        self.request.sendall(GREETING)
        self.request.sendall(self.request.recv(1000).upper())


@pytest.fixture(scope="module")
def onion(tor_network: TorNetwork) -> Iterator[str]:
    with tcp_server(Greeter) as address:
        onion = tor_network.add_onion_service({25: address})
        tor_network.client.wait_until_reachable(onion)
        yield onion
        tor_network.remove_onion_service(onion)


@pytest.fixture(name="port", params=["tcp", "unix"])
def socks_port(tor_network: TorNetwork, request: pytest.FixtureRequest) -> str:
    client = tor_network.client
    return f"unix:{client.unix_socks}" if request.param == "unix" else "{}:{}".format(*client.socks)


@pytest.mark.parametrize("run", [asyncio.run, uvloop.run])
def test_connection(onion: str, port: str, run: Run) -> None:
    async def test() -> None:
        stream = await SocketStream.from_socket(await SocksConnector(port, PATIENCE).connect((onion, 25)))
        got = await stream.read()
        stream.write(b"ehlo\r\n")
        while data := await stream.read():
            got += data
        assert got == GREETING + b"EHLO\r\n"
        stream.close()
        await stream.wait_closed()

    run(test())


@pytest.mark.parametrize(
    ("host", "cause"),
    [
        (V3_ONION, Cause.DESCRIPTOR_NOT_FOUND),
        (make_onion("a", spoil_checksum=True), Cause.BAD_ADDRESS),
        ("mx.example", Cause.NOT_ALLOWED),
    ],
)
def test_what_tor_says(port: str, host: str, cause: Cause) -> None:
    with pytest.raises(SocksError) as caught:
        asyncio.run(_connect(port, host))
    assert caught.value.cause is cause


@pytest.mark.parametrize(
    ("host", "code"), [(V3_ONION, "0xf0"), (make_onion("a", spoil_checksum=True), "0xf6"), ("mx.example", "0x02")]
)
def test_another_client_hears_the_same(tor_network: TorNetwork, onion: str, host: str, code: str) -> None:
    """What our own handshake makes of tor's answers is what PySocks reads from the wire."""
    with socks.socksocket() as connection:
        connection.settimeout(PATIENCE)
        connection.set_proxy(socks.SOCKS5, *tor_network.client.socks, rdns=True, username=onion, password=onion)
        with pytest.raises(socks.ProxyError, match=code):
            connection.connect((host, 25))


def test_handshake_in_a_single_write(onion: str, port: str) -> None:
    """In a single write tor leaves out its first answer."""

    async def test() -> None:
        loop = asyncio.get_running_loop()
        handshake = Handshake(onion, 25, onion, "password")
        answers = b""
        with await reach(parse_address(port), TOR_USER) as connection:
            while handshake.result is None:
                await loop.sock_sendall(connection, handshake.data_to_send())
                data = await loop.sock_recv(connection, handshake.wanted)
                answers += data
                handshake.receive_data(data)
            assert handshake.result == Connected()
            assert answers.startswith(b"\x01\x00")
            assert handshake.rest == b""
            assert await loop.sock_recv(connection, 100) == GREETING

    asyncio.run(test())


async def _connect(port: str, host: str) -> None:
    (await SocksConnector(port, PATIENCE).connect((host, 25))).close()
