"""A local user who takes the ports of a real tor: beside it, and while it is down. As root, the tests play him."""

import asyncio
import os
import socketserver
from collections.abc import Iterator

import pytest

from onionmx.errors import AutomapError
from onionmx.tor.automap import resolve
from onionmx.tor.socks import Cause, SocksConnector, SocksError
from tests.net.test_owner import STRANGER, bound
from tests.onions import make_onion

from .socks import Address
from .tcp_server import tcp_server
from .tor_network import TorNetwork

A = make_onion("a")
IS_ROOT = os.geteuid() == 0  # only root can become somebody else


class Greeter(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 mx.example.org ESMTP\r\n")
        self.rfile.readline()


@pytest.fixture
def onion(tor_network: TorNetwork) -> Iterator[str]:
    with tcp_server(Greeter) as address:
        made = tor_network.add_onion_service({25: address})
        tor_network.client.wait_until_reachable(made)
        yield made
        tor_network.remove_onion_service(made)


def greeting(socks: Address, onion: str) -> bytes:
    async def ask() -> bytes:
        with await SocksConnector("{}:{}".format(*socks), 60).connect((onion, 25)) as connection:
            return await asyncio.get_running_loop().sock_recv(connection, 100)

    return asyncio.run(ask())


def test_dnsport_bound_a_second_time(tor_network: TorNetwork) -> None:
    if not IS_ROOT:
        return
    host, port = tor_network.client.dnsport
    address = resolve([A], (host, port), 10)[A]
    assert isinstance(address, str)
    with bound(STRANGER, host, port, is_udp=True) as stranger:
        stranger.settimeout(0)
        with pytest.raises(AutomapError, match=f"user {STRANGER} listens at {host}:{port}"):
            resolve([A], (host, port), 10)
        with pytest.raises(BlockingIOError):  # no onion name was told to him
            stranger.recv(512)
    assert resolve([A], (host, port), 10) == {A: address}


def test_socks_port_taken_while_tor_is_down(tor_network: TorNetwork, onion: str) -> None:
    if not IS_ROOT:
        return
    client = tor_network.client
    assert greeting(client.socks, onion).startswith(b"220 ")
    client.stop()
    try:
        with bound(STRANGER, *client.socks) as stranger:
            with pytest.raises(SocksError, match=f"user {STRANGER} listens") as caught:
                greeting(client.socks, onion)
            assert caught.value.cause is Cause.FOREIGN
            stranger.settimeout(0)
            with pytest.raises(BlockingIOError):
                stranger.accept()
    finally:
        client.start()
    client.wait_until_reachable(onion)
    assert greeting(client.socks, onion).startswith(b"220 ")
