"""Who listens where tor should hears nothing. As root, the tests play the local user who does."""

import asyncio
import socket
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest

from onionmx.config import TorSection, parse_address, parse_server
from onionmx.errors import AutomapError, ControlError, OwnerError
from onionmx.net.owner import ListenerOwner
from onionmx.tor.addresses import host_list
from onionmx.tor.automap import resolve
from onionmx.tor.control import open_control
from onionmx.tor.reach import reach
from onionmx.tor.socks import Cause, SocksConnector, SocksError
from tests.net.test_owner import OWN, STRANGER, as_user, bound
from tests.onions import make_onion
from tests.tor.test_automap import virtual

A = make_onion("a")
IS_ROOT = OWN == 0  # only root can become somebody else; tests/net asks the same functions without


@contextmanager
def of_a_stranger(kind: str, folder: Path) -> Iterator[tuple[str, list[bytes]]]:
    """A listener of another user, who keeps what is said to it, and its address."""
    heard: list[bytes] = []
    with ExitStack() as stack:
        if kind == "tcp":
            server = stack.enter_context(bound(STRANGER))
            address = f"127.0.0.1:{server.getsockname()[1]}"
        else:
            server = stack.enter_context(socket.socket(socket.AF_UNIX))
            server.bind(str(folder / "tor"))
            with as_user(STRANGER):
                server.listen()
            address = f"unix:{folder}/tor"

        def serve() -> None:
            while True:
                try:
                    connection, _ = server.accept()
                except OSError:
                    return
                with connection:
                    heard.append(connection.recv(4096))

        thread = threading.Thread(target=serve)
        thread.start()
        yield address, heard
        server.shutdown(socket.SHUT_RDWR)
        thread.join()


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_stranger_who_listens_hears_nothing(kind: str, tmp_path: Path) -> None:
    if not IS_ROOT:
        return
    with of_a_stranger(kind, tmp_path) as (control, heard):
        refused = pytest.raises(ControlError, match=f"is not believed: user {STRANGER} listens at ")
        with refused, open_control(TorSection(control=control)):
            pass
    assert set(heard) <= {b""}


@pytest.mark.parametrize("kind", ["tcp", "unix"])
def test_socks_port_of_a_stranger(kind: str, tmp_path: Path) -> None:
    if not IS_ROOT:
        return
    with of_a_stranger(kind, tmp_path) as (socks, heard):
        with pytest.raises(SocksError, match=f"is not believed: user {STRANGER} listens at ") as caught:
            asyncio.run(SocksConnector(socks, 5).connect((A, 25)))
        assert caught.value.cause is Cause.FOREIGN
        with pytest.raises(OwnerError, match="not root or debian-tor"):
            asyncio.run(reach(parse_address(socks), "debian-tor"))
    assert set(heard) <= {b""}


def test_socks_port_of_a_stranger_by_name(tmp_path: Path) -> None:
    if not IS_ROOT:
        return
    with of_a_stranger("tcp", tmp_path) as (socks, heard):
        named = socks.replace("127.0.0.1", "localhost")
        with pytest.raises(SocksError, match=f"is not believed: user {STRANGER} listens at ") as caught:
            asyncio.run(SocksConnector(named, 5).connect((A, 25)))
        assert caught.value.cause is Cause.FOREIGN
        with pytest.raises(OwnerError, match="not root or debian-tor"):
            asyncio.run(reach(parse_server(named), "debian-tor"))
    assert set(heard) <= {b""}


@contextmanager
def dnsport(uid: int, port: int = 0) -> Iterator[int]:
    """A DNSPort of a user, which answers all questions with an address of its owner's choice."""
    with bound(uid, port=port, is_udp=True) as server:
        port = server.getsockname()[1]
        ended = threading.Event()

        def serve() -> None:
            while True:
                packet, asker = server.recvfrom(512)
                if ended.is_set():
                    return
                server.sendto(virtual(packet, f"127.192.0.{1 if uid == OWN else 66}"), asker)

        thread = threading.Thread(target=serve)
        thread.start()
        yield port
        ended.set()
        with socket.socket(type=socket.SOCK_DGRAM) as waker:
            waker.sendto(b"", server.getsockname())
            thread.join()


@pytest.mark.parametrize("is_beside_tor", [False, True])
def test_dnsport_of_a_stranger(is_beside_tor: bool) -> None:  # noqa: FBT001 -- pytest gives it
    """While tor is down, or in front of it: the last socket that was bound gets the questions."""
    if not IS_ROOT:
        return
    with ExitStack() as stack:
        port = stack.enter_context(dnsport(OWN)) if is_beside_tor else 0
        stranger = stack.enter_context(ExitStack())
        port = stranger.enter_context(dnsport(STRANGER, port))
        with pytest.raises(AutomapError, match=f"user {STRANGER} listens at 127.0.0.1:{port}"):
            resolve([A], ("127.0.0.1", port), 5)
        with pytest.raises(AutomapError, match=f"user {STRANGER} listens at 127.0.0.1:{port}"):
            asyncio.run(host_list([(A, 25)], ("127.0.0.1", port), "debian-tor"))
        if is_beside_tor:
            stranger.close()
            assert resolve([A], ("127.0.0.1", port), 5) == {A: "127.192.0.1"}


def test_stranger_who_comes_between_question_and_answer(monkeypatch: pytest.MonkeyPatch) -> None:
    if not IS_ROOT:
        return
    with ExitStack() as stack:
        port = stack.enter_context(dnsport(OWN))

        def looked_at(*port_of: object, **kind: bool) -> ListenerOwner:
            listener = ListenerOwner(*port_of, **kind)  # type: ignore[arg-type]
            stack.enter_context(dnsport(STRANGER, port))
            return listener

        monkeypatch.setattr("onionmx.tor.automap.ListenerOwner", looked_at)
        with pytest.raises(AutomapError, match=f"answered is not believed: user {STRANGER}"):
            resolve([A], ("127.0.0.1", port), 5)
