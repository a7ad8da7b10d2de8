"""Who listens at the port of a believed resolver: looks are shared, and never older than what they are for."""

import asyncio
import socket
from collections.abc import Callable, Coroutine

import pytest

from onionmx.config import Resolver
from onionmx.dns.choice import Choice
from onionmx.dns.datagram import Datagrams
from onionmx.dns.wire import ask_for
from onionmx.net.owner import ListenerOwner
from tests.net.stranger import as_stranger, root_only

LONG = 3600.0
"""Seconds that no test waits for."""
Test = Callable[[Datagrams, socket.socket], Coroutine[None, None, None]]


def bound(port: int = 0) -> socket.socket:
    """A port that can be bound a second time, as tor's DNSPort can."""
    made = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    made.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    made.bind(("127.0.0.1", port))
    made.settimeout(20)
    return made


def run(test: Test) -> None:
    async def whole() -> None:
        with bound() as server:
            resolver = Resolver(*server.getsockname())
            async with asyncio.timeout(60):
                await test(Datagrams(resolver, Choice((resolver,), are_believed=True)), server)

    asyncio.run(whole())


async def ask(datagrams: Datagrams, number: int) -> list["asyncio.Task[bytes | None]"]:
    """So many questions, which have left."""
    tasks = [asyncio.create_task(datagrams.ask(ask_for(f"d{each}.example"), LONG)) for each in range(number)]
    await asyncio.sleep(0)
    return tasks


def heard(server: socket.socket, number: int) -> list[tuple[bytes, tuple[str, int]]]:
    """What the server was asked, as the answers to it, and by whom."""
    questions = [server.recvfrom(512) for _ in range(number)]
    return [(packet[:2] + bytes([packet[2] | 0x80]) + packet[3:], where) for packet, where in questions]


def test_one_look_for_many(monkeypatch: pytest.MonkeyPatch) -> None:
    looks: list[ListenerOwner] = []
    look = ListenerOwner._look  # noqa: SLF001 -- counted, and made

    def counted(listener: ListenerOwner) -> frozenset[tuple[int, bytes]]:
        looks.append(listener)
        return look(listener)

    monkeypatch.setattr(ListenerOwner, "_look", counted)

    async def test(datagrams: Datagrams, server: socket.socket) -> None:
        tasks = await ask(datagrams, 50)
        before = len(looks)
        for packet, where in heard(server, 50):
            server.sendto(packet, where)
        assert all(await asyncio.gather(*tasks))
        assert len(set(looks)) == 1
        assert before < len(looks) < 20  # one each, and a few more while sockets of others come and go

    run(test)


@root_only
def test_stranger_who_is_there_when_answers_are_read() -> None:
    async def test(datagrams: Datagrams, server: socket.socket) -> None:
        tasks = await ask(datagrams, 20)
        answers = heard(server, 20)
        with as_stranger():
            stranger = bound(server.getsockname()[1])
        with stranger:
            for packet, where in answers:
                stranger.sendto(packet, where)
            assert await asyncio.gather(*tasks) == [None] * 20
            assert await datagrams.ask(ask_for("example.org"), LONG) is None
            stranger.setblocking(False)  # noqa: FBT003 -- its signature
            with pytest.raises(BlockingIOError):
                stranger.recv(512)

    run(test)


@root_only
def test_a_look_is_not_good_for_a_later_answer() -> None:
    async def test(datagrams: Datagrams, server: socket.socket) -> None:
        tasks = await ask(datagrams, 2)
        (first, where), (second, _) = heard(server, 2)
        server.sendto(first, where)
        done, (other,) = await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        assert done.pop().result() == first
        with as_stranger():
            stranger = bound(server.getsockname()[1])
        with stranger:
            stranger.sendto(second, where)
            assert await other is None

    run(test)


@root_only
def test_a_look_is_not_good_for_a_later_question() -> None:
    async def test(datagrams: Datagrams, server: socket.socket) -> None:
        (task,) = await ask(datagrams, 1)
        ((packet, where),) = heard(server, 1)
        server.sendto(packet, where)
        assert await task == packet
        with as_stranger():
            stranger = bound(server.getsockname()[1])
        with stranger:
            await asyncio.sleep(0)
            assert await datagrams.ask(ask_for("example.org"), LONG) is None
        again = asyncio.create_task(datagrams.ask(ask_for("example.org"), LONG))
        await asyncio.sleep(0)
        ((packet, where),) = heard(server, 1)
        server.sendto(packet, where)
        assert await again == packet

    run(test)
