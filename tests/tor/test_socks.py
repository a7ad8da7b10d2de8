"""Connections through a SOCKS port that is scripted: what is said, over what, and why there is none."""

import asyncio
import os
import socket
from collections.abc import Awaitable, Callable
from contextlib import suppress
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from onionmx.config import TorSection
from onionmx.defaults import TOR_USER
from onionmx.errors import HostError
from onionmx.tor import reach
from onionmx.tor.socks import Cause, SocksConnector, SocksError
from tests.mapfile.maps import A, B
from tests.relay.peer import Peer

PATIENCE = 120.0
Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def play(serve: Serve, test: Callable[[SocksConnector, str], Awaitable[None]], unix: Path | None = None) -> None:
    """Run a test with a connector to a SOCKS port on loopback, or on this unix socket."""
    served: list[asyncio.Task[None]] = []

    async def serve_one(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await serve(reader, writer)
        writer.close()
        with suppress(OSError):
            await writer.wait_closed()

    def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        served.append(asyncio.create_task(serve_one(reader, writer)))

    async def run() -> None:
        async with asyncio.timeout(PATIENCE):
            if unix:
                server = await asyncio.start_unix_server(accept, unix)
                where = f"unix:{unix}"
            else:
                server = await asyncio.start_server(accept, "127.0.0.1", 0)
                where = "{}:{}".format(*server.sockets[0].getsockname())
            async with server:
                await test(SocksConnector(where, PATIENCE), where)
                await asyncio.gather(*served)

    asyncio.run(run())


async def failure(connector: SocksConnector) -> SocksError:
    with pytest.raises(SocksError) as caught:
        await connector.connect((A, 25))
    return caught.value


def test_a_host_by_its_name_and_what_is_said_where_it_cannot_be_found() -> None:
    peer = Peer()

    async def test(_connector: SocksConnector, where: str) -> None:
        connector = SocksConnector(where.replace("127.0.0.1", "localhost"), PATIENCE)
        connector.find()
        (await connector.connect((A, 25))).close()

    play(peer.serve, test)
    lost = SocksConnector("nosuch.invalid:9050", PATIENCE)
    with pytest.raises(HostError, match=r"^tor\.socks: host nosuch\.invalid"):
        lost.find()
    error = asyncio.run(failure(lost))
    assert error.cause is Cause.HOST_UNKNOWN
    assert "tor's SOCKS port nosuch.invalid:9050: host nosuch.invalid" in str(error)


@pytest.mark.parametrize("is_unix", [False, True])
def test_connection_by_name_and_circuits_of_its_own(tmp_path: Path, is_unix: bool) -> None:  # noqa: FBT001
    peer = Peer()

    async def test(connector: SocksConnector, _where: str) -> None:
        for onion in (A, A, B):
            connection = await connector.connect((onion, 25))
            assert not connection.getblocking()
            greeting = await asyncio.get_running_loop().sock_recv(connection, 100)
            assert greeting == b"220 mx.example\r\n", "nothing of the peer's was read before"
            connection.close()
        assert peer.targets == [(A, 25), (A, 25), (B, 25)]
        assert [user.decode() for user, _ in peer.users] == [A, A, B]
        first, again, other = (password for _, password in peer.users)
        assert first == again != other

    play(peer.serve, test, tmp_path / "socks" if is_unix else None)


def test_failure_and_renewal_take_another_circuit() -> None:
    peer = Peer(socks=0xF2)

    async def test(connector: SocksConnector, _where: str) -> None:
        assert (await failure(connector)).cause is Cause.INTRODUCTION_FAILED
        peer.socks = 0
        (await connector.connect((A, 25))).close()
        connector.renew(A, connector.isolation(A))
        connector.renew(A, "of a circuit before")
        (await connector.connect((A, 25))).close()
        (await connector.connect((A, 25))).close()
        passwords = [password for _, password in peer.users]
        assert len(set(passwords[:3])) == 3
        assert passwords[2] == passwords[3]

    play(peer.serve, test)


def test_attempt_that_is_given_up_takes_another_circuit() -> None:
    asked = asyncio.Event()
    passwords = []

    class Silent(Peer):
        async def _connect(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> bool:
            self.socks = -1
            with suppress(ValueError):  # no reply can be made of this number
                await super()._connect(reader, writer)
            passwords.append(self.users[-1][1])
            asked.set()
            await reader.read()
            return False

    async def test(connector: SocksConnector, _where: str) -> None:
        for _ in range(2):
            asked.clear()
            attempt = asyncio.create_task(connector.connect((A, 25)))
            await asked.wait()
            attempt.cancel()
            with pytest.raises(asyncio.CancelledError):
                await attempt
        assert len(set(passwords)) == 2

    play(Silent().serve, test)


def answering(*answers: bytes) -> Serve:
    """Give these answers to the request, which comes as a whole, and close."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read(1000)
        for answer in answers:
            writer.write(answer)
            await writer.drain()
        writer.close()

    return serve


@pytest.mark.parametrize(
    ("answers", "cause", "words"),
    [
        ((b"HTTP/1.0 501 Not Implemented\r\n\r\n",), Cause.WRONG_SERVICE, "is an HTTP server, not tor's SOCKS port"),
        ((b"\x00\x5b\x00\x00\x00\x00\x00\x00",), Cause.WRONG_SERVICE, "is a SOCKS4 proxy"),
        ((b"\x05\xff",), Cause.WRONG_SERVICE, "takes no user and password"),
        ((b"\x05\x02", b"\x01\x01"), Cause.WRONG_SERVICE, "refuses user and password"),
        ((b"",), Cause.WRONG_SERVICE, "closes connections"),
        ((b"\x05\x02", b"\x01\x00"), Cause.CLOSED, "tor closed the connection without saying why"),
        ((b"\x05\x02", b"\x01\x00\x05\xf6"), Cause.BAD_ADDRESS, "(F6)"),
        ((b"\x05\x02", b"\x01\x00\x05\x63"), Cause.GENERAL, "general failure"),
    ],
)
def test_what_is_at_the_port_is_said(answers: tuple[bytes, ...], cause: Cause, words: str) -> None:
    async def test(connector: SocksConnector, where: str) -> None:
        error = await failure(connector)
        assert error.cause is cause
        assert words in error.words
        assert A in str(error)
        if cause is Cause.WRONG_SERVICE:
            assert f"what answers at {where} " in error.words

    play(answering(*answers), test)


def test_nothing_listens(tmp_path: Path) -> None:
    async def run() -> None:
        error = await failure(SocksConnector(f"unix:{tmp_path}/socks", PATIENCE))
        assert error.cause is Cause.PROXY_UNREACHABLE
        assert f"is tor running? (unix:{tmp_path}/socks: No such file or directory)" in error.words
        assert (await failure(SocksConnector("127.0.0.1:1", PATIENCE))).cause is Cause.PROXY_UNREACHABLE

    asyncio.run(run())


def test_silent_port_is_not_taken_for_a_silent_onion() -> None:
    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    async def let_in(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"\x01\x00")
        await reader.read()
        writer.close()

    for serve, cause in ((hang, Cause.PROXY_SILENT), (let_in, Cause.TIMEOUT)):

        async def test(_: SocksConnector, where: str, cause: Cause = cause) -> None:
            assert (await failure(SocksConnector(where, 0.3))).cause is cause

        play(serve, test)


def test_full_queue_of_a_unix_socket_is_waited_for(tmp_path: Path) -> None:
    """Until tor takes connections again: connect(2) fails at once with EAGAIN, which asyncio takes for success."""
    path = tmp_path / "socks"

    async def run() -> None:
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind(str(path))
            listener.listen(0)
            listener.settimeout(PATIENCE)
            filling = socket.socket(socket.AF_UNIX)
            filling.connect(str(path))
            waiting = asyncio.create_task(reach.reach(path, TOR_USER))
            await asyncio.sleep(0)
            assert not waiting.done()
            accepted = [(await asyncio.to_thread(listener.accept))[0] for _ in range(2)]
            connection = await waiting
            assert connection.getpeername() == str(path)
            for one in (filling, connection, *accepted):
                one.close()

    asyncio.run(run())


def test_connectors_own_end_frees_who_waits() -> None:
    async def test(connector: SocksConnector, _where: str) -> None:
        attempt = asyncio.create_task(failure(connector))
        while not connector._opening:  # noqa: SLF001, ASYNC110 -- nothing tells
            await asyncio.sleep(0)
        connector.close()
        await attempt

    async def hang(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    play(hang, test)


def test_auto_is_the_socket_of_onionmx_where_it_is_there(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert TorSection().socks == "auto"
    own = tmp_path / "onionmx.sock"
    monkeypatch.setattr(reach, "SOCKS_SOCKET", str(own))
    assert reach.socks_in_use("auto") == "127.0.0.1:9050"
    assert reach.socks_in_use("127.0.0.1:9150") == "127.0.0.1:9150"
    connector = SocksConnector("auto", PATIENCE)

    async def test(_: SocksConnector, where: str) -> None:
        assert reach.socks_in_use("auto") == where
        (await connector.connect((A, 25))).close()

    play(Peer().serve, test, own)
    own.unlink(missing_ok=True)

    async def later() -> None:
        error = await failure(connector)
        assert str(own) in error.words, "tor is down, and others may listen on 127.0.0.1:9050"

    asyncio.run(later())


@pytest.mark.parametrize("value", ["unix:socks", "unix:", "unix:/" + "x" * 107, "local host:9050", "9050"])
def test_impossible_ports(value: str) -> None:
    with pytest.raises(ValueError, match=r"expected"):
        TorSection(socks=value)


def test_auto_where_this_user_may_not_look_into_the_folder_of_tor(monkeypatch: pytest.MonkeyPatch) -> None:
    """As on systems whose /run/tor is tor's alone."""
    if os.geteuid() != 0:
        return
    with TemporaryDirectory() as folder:
        monkeypatch.setattr(reach, "SOCKS_SOCKET", f"{folder}/onionmx.sock")
        os.seteuid(65534)
        try:
            assert reach.socks_in_use("auto") == "127.0.0.1:9050"
        finally:
            os.seteuid(0)
