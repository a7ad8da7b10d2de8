"""Onions that hang hold up no other: through the SOCKS port alone, and through the whole relay."""

import asyncio
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import pytest

from onionmx.relay.sessions import together
from onionmx.tor.socks import SocksConnector
from tests.mapfile.maps import A
from tests.onions import make_onion
from tests.relay.peer import Peer, running
from tests.relay.relay import Relay, codes, play

DEAD = [make_onion(f"dead {number}") for number in range(7)]
MESSAGES = 10


async def until(condition: Callable[[], bool]) -> None:
    while not condition():  # noqa: ASYNC110 -- a peer tells nobody
        await asyncio.sleep(0.001)


def test_seventy_connections_that_hang() -> None:
    async def run() -> None:
        async with running(Peer(hanging=frozenset(DEAD))) as peer, asyncio.timeout(120):
            connector = SocksConnector(f"127.0.0.1:{peer.port}", 60)
            hanging = [asyncio.create_task(connector.connect((onion, 25))) for onion in DEAD for _ in range(MESSAGES)]
            await until(lambda: len(peer.targets) == len(hanging))
            (await connector.connect((A, 25))).close()
            assert not any(task.done() for task in hanging)
            for task in hanging:
                task.cancel()
            for task in hanging:
                with suppress(asyncio.CancelledError):
                    await task

    asyncio.run(run())


def test_mail_to_seven_dead_onions_and_to_a_healthy_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(together, "LONG", 1000.0)
    peer = Peer(hanging=frozenset(DEAD))

    async def test(relay: Relay) -> None:
        waiting = [
            asyncio.create_task(relay.send(f"user@dead{number}.example"))
            for number in range(len(DEAD))
            for _ in range(MESSAGES)
        ]
        await until(lambda: len(peer.targets) >= len(DEAD))
        for _ in range(MESSAGES):
            assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        assert not any(task.done() for task in waiting)
        asked = [onion for onion, _ in peer.targets]
        assert [asked.count(onion) for onion in DEAD] == [1] * len(DEAD)
        await relay.delivering._pool.close()  # noqa: SLF001 -- or the test would wait for the deadline
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)

    entries = {f"dead{number}.example": ((onion, 25),) for number, onion in enumerate(DEAD)}
    play(tmp_path, test, peer, {"example.org": ((A, 25),), **entries})


def test_one_message_waits_for_an_onion_that_never_answers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are told so, and go to the next target where there is one; nothing is held against the onion."""
    monkeypatch.setattr(together, "LONG", 0.01)
    dead = DEAD[0]

    async def test(relay: Relay) -> None:
        waiting = asyncio.create_task(relay.send("user@dead.example"))
        await until(lambda: (dead, 25) in relay.peer.targets)
        for _ in range(5):
            _, reply = await relay.send("user@dead.example")
            assert codes([reply]) == ["451 4.4.1"]
            assert "another message waits for the result" in reply.text
        assert codes(await relay.send("user@two.example"))[1] == "250 2.0.0"
        assert not waiting.done()
        assert relay.peer.targets.count((dead, 25)) == 1
        await relay.delivering._pool.close()  # noqa: SLF001 -- or the test would wait for the deadline
        waiting.cancel()
        await asyncio.gather(waiting, return_exceptions=True)

    entries = {"dead.example": ((dead, 25),), "two.example": ((dead, 25), (A, 25))}
    play(tmp_path, test, Peer(hanging=frozenset(DEAD)), entries)
