"""The relay when tor or the onion MX fails, at every step of the dialog."""

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from onionmx.net.stream import Stream
from onionmx.relay.sessions import opener
from onionmx.smtp.client import opening_session
from onionmx.smtp.client.session import ClientSession
from tests.mapfile.maps import A, B
from tests.relay.peer import Fault, Peer, hang, reset, saying, trickle
from tests.relay.relay import AMPLE, Relay, codes, play

SOCKS_REPLIES = {
    **dict.fromkeys((0xF0, 0xF1, 0xF2, 0xF3, 0xF7, 1, 4, 5, 6), "451 4.4.1"),
    **dict.fromkeys((0xF4, 0xF5), "451 4.7.0"),
    0xF6: "550 5.4.4",
}


@pytest.mark.parametrize("number", SOCKS_REPLIES)
def test_causes_of_tor_in_words(tmp_path: Path, number: int) -> None:
    async def test(relay: Relay) -> None:
        _, reply = await relay.send("user@example.org")
        assert codes([reply]) == [SOCKS_REPLIES[number]]
        assert A in reply.text
        if number >= 0xF0:
            assert f"({number:X})" in reply.text

    play(tmp_path, test, Peer(socks=number))


def test_socks_port_that_is_closed(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        relay.delivering.parts.socks._socks = "127.0.0.1:1"  # noqa: SLF001 -- a port where nothing listens
        _, reply = await relay.send("user@example.org")
        assert codes([reply]) == ["451 4.4.1"]
        assert "is tor running?" in reply.text

    play(tmp_path, test)


def test_failure_renews_the_isolation(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        relay.peer.socks = 0xF2
        await relay.send("user@example.org")
        relay.peer.socks = 0
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        assert len({password for _, password in relay.peer.users}) == 2

    play(tmp_path, test)


def circuits(peer: Peer) -> int:
    """How many circuits were asked for."""
    return len({password for _, password in peer.users})


@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "BDAT"])
@pytest.mark.parametrize("fault", ["reset", "hang", "garbage"])
def test_broken_session_takes_another_circuit_the_next_time(tmp_path: Path, step: str, fault: str) -> None:
    async def test(relay: Relay) -> None:
        await relay.send("user@example.org")
        relay.peer.faults.clear()
        relay.take_time()
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        assert circuits(relay.peer) == len(relay.peer.users) == 2

    play(tmp_path, test, Peer(faults={step: FAULTS[fault]}), deadline=deadline_for(fault))


def test_session_that_was_closed_in_peace_keeps_its_circuit(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        for _ in range(3):
            await relay.send("user@example.org")
        assert (circuits(relay.peer), len(relay.peer.users)) == (1, 3)

    play(tmp_path, test, messages_per_session=1)


def test_many_sessions_that_break_together_take_one_circuit(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        for break_off in (False, True, False):
            relay.peer.faults = {"BDAT": reset} if break_off else {}
            relay.peer.barrier = asyncio.Barrier(3)
            await asyncio.gather(*(relay.send("user@example.org") for _ in range(3)))
            relay.peer.barrier = None
            relay.delivering._destinations.succeeded((A, 25), "example.org")  # noqa: SLF001 -- it would leave the target alone
        assert (circuits(relay.peer), len(relay.peer.users)) == (2, 6)

    play(tmp_path, test)


def cut(reply: bytes) -> Fault:
    """Send this much and end the connection."""

    def fault(writer: asyncio.StreamWriter) -> str | None:
        writer.write(reply)
        writer.close()
        return None

    return fault


@pytest.mark.parametrize("reply", [b"2", b"250", b"250 2.1.0 ", b"250-2.1.0 ok\r\n", b"250 2.1.0 ok\r"])
def test_peer_that_began_to_answer_is_not_sent_a_copy(tmp_path: Path, reply: bytes) -> None:
    """It has read the message, and may have taken it: the MTA's next try may find it knowing the message."""

    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        relay.peer.faults = {"MAIL": cut(reply)}
        assert codes(await relay.send("user@example.org"))[1] == "451 4.4.2"
        assert len(relay.peer.targets) == 1

    play(tmp_path, test)


def test_client_that_is_slow_is_not_the_onion_mx(tmp_path: Path) -> None:
    stopped = asyncio.Event()

    async def slowly() -> AsyncIterator[bytes]:
        yield b"Subject: x\r\n\r\n" + b"x" * 3000
        await stopped.wait()

    async def test(relay: Relay) -> None:
        for _ in range(3):
            _, reply = await relay.send("user@example.org", content=slowly())
            assert codes([reply]) == ["451 4.4.2"]
            assert "the client took too long" in reply.text
        relay.take_time()
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"

    play(tmp_path, test, keep_limit=1000, deadline=3.0)


def test_failing_target_is_left_alone(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        for _ in range(5):
            assert codes(await relay.send("user@example.org"))[1] == "451 4.4.1"
        assert len(relay.peer.targets) == 2
        _, reply = await relay.send("user@example.org")
        assert "failed 2 times in a row, next try in" in reply.text

    play(tmp_path, test, Peer(socks=0xF0))


def deadline_for(fault: str) -> float:
    """Short only where the peer goes silent, and not too short for the steps before."""
    return 4.0 if fault in {"hang", "trickle"} else AMPLE


STEPS = ["greeting", "EHLO", "MAIL", "RCPT", "BDAT"]
FAULTS: dict[str, Fault] = {
    "reset": reset,
    "hang": hang,
    "trickle": trickle,
    "421": saying("421 4.3.2 closing\r\n"),
    "garbage": saying("\x00\x01garbage\r\n"),
    "no number": saying("hello there\r\n"),
    "endless reply": saying("250-x\r\n" * 100_000),
    "two codes": saying("250-a\r\n550 b\r\n"),
    "too many": saying("250 a\r\n250 b\r\n550 c\r\n250 d\r\n250 e\r\n"),
}


@pytest.mark.parametrize("step", STEPS)
@pytest.mark.parametrize("fault", FAULTS)
def test_faults_at_every_step(tmp_path: Path, step: str, fault: str) -> None:
    """Temporary for the MTA, nothing lost, no hang past the deadline, and the session is not used again."""

    async def test(relay: Relay) -> None:
        start = asyncio.get_running_loop().time()
        _, reply = await relay.send("user@example.org")
        assert asyncio.get_running_loop().time() - start < AMPLE / 2
        assert reply.is_transient
        assert reply.code != 421, "the relay itself does not close"
        relay.peer.faults.clear()
        relay.take_time()
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        assert len(relay.peer.targets) == 2

    play(tmp_path, test, Peer(faults={step: FAULTS[fault]}), deadline=deadline_for(fault))


@pytest.mark.parametrize("fault", ["reset", "garbage", "421"])
@pytest.mark.parametrize("step", ["greeting", "EHLO", "MAIL", "RCPT"])
def test_next_target_is_tried(tmp_path: Path, step: str, fault: str) -> None:
    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@two.example")) == ["250 2.1.5", "250 2.0.0"]
        assert relay.peer.targets == [(A, 25), (B, 2525)]
        assert len(relay.peer.messages) == 1

    # In one flight everything has left when MAIL is answered: only a peer without CHUNKING leaves that open.
    plain = {"EHLO": "250-mx.example\r\n250 PIPELINING\r\n", "DATA": "451 4.3.0 not today\r\n"}
    peer = Peer(faults={step: FAULTS[fault]}, once=True)
    if step in {"MAIL", "RCPT"}:
        peer.replies = dict(plain)

        async def test_plain(relay: Relay) -> None:
            _, reply = await relay.send("user@two.example")
            assert reply.is_transient
            assert relay.peer.targets == [(A, 25), (B, 2525)]

        play(tmp_path, test_plain, peer)
        return
    play(tmp_path, test, peer)


def test_fault_of_ours_at_one_target(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    """Nothing was sent there, so the next target can have the message; without one, the MTA hears no internal text."""
    real = opening_session.open_session
    faults = [RecursionError("deep"), UnicodeError("label too long")]

    async def open_session(stream: Stream, **settings: Any) -> ClientSession:  # noqa: ANN401
        if faults:
            stream.abort()
            raise faults.pop()
        return await real(stream, **settings)

    monkeypatch.setattr(opener, "open_session", open_session)

    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@two.example")) == ["250 2.1.5", "451 4.3.0"]
        assert codes(await relay.send("user@two.example")) == ["250 2.1.5", "250 2.0.0"]

    play(tmp_path, test)
    assert caplog.text.count("Traceback") == 2


def test_lost_final_reply_goes_to_the_mta_and_not_to_the_next_target(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        _, reply = await relay.send("user@two.example")
        assert codes([reply]) == ["451 4.4.2"]
        assert relay.peer.targets == [(A, 25)]

    play(tmp_path, test, Peer(faults={"BDAT": reset}, once=True))


def test_session_that_was_closed_while_idle_loses_nothing(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        relay.peer.faults = {"MAIL": reset}
        relay.peer.once = True
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        assert len(relay.peer.targets) == 2
        assert len(relay.peer.messages) == 2

    play(tmp_path, test)


def test_all_sessions_that_were_closed_while_idle(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        relay.peer.barrier = asyncio.Barrier(3)
        await asyncio.gather(*(relay.send("user@example.org") for _ in range(3)))
        relay.peer.barrier = None
        assert len(relay.peer.targets) == 3
        relay.peer.faults = {"MAIL": reset}
        relay.peer.once = True
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        assert len(relay.peer.messages) == 4

    play(tmp_path, test)
