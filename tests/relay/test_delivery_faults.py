"""The relay when tor or the onion MX fails, at every step of the dialog."""

import asyncio
from pathlib import Path

import pytest

from tests.mapfile.maps import A, B
from tests.relay.peer import Fault, Peer, hang, reset, saying, trickle
from tests.relay.relay import Relay, codes, play

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
        relay.delivering._connector._socks = "127.0.0.1:1"  # noqa: SLF001 -- a port where nothing listens
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


def test_failing_target_is_left_alone(tmp_path: Path) -> None:
    async def test(relay: Relay) -> None:
        for _ in range(5):
            assert codes(await relay.send("user@example.org"))[1] == "451 4.4.1"
        assert len(relay.peer.targets) == 2
        _, reply = await relay.send("user@example.org")
        assert "failed 2 times in a row, next try in" in reply.text

    play(tmp_path, test, Peer(socks=0xF0))


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
        assert asyncio.get_running_loop().time() - start < 5
        assert reply.is_transient
        assert reply.code != 421, "the relay itself does not close"
        relay.peer.faults.clear()
        assert codes(await relay.send("user@example.org"))[1] == "250 2.0.0"
        assert len(relay.peer.targets) == 2

    play(tmp_path, test, Peer(faults={step: FAULTS[fault]}), deadline=1.5)


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
