"""tor itself is away: one line and one metric when it goes and when it comes back, and not one for each message."""

import logging
from pathlib import Path

import pytest

from onionmx.relay import metrics
from onionmx.relay.sessions.tor_state import TorState
from onionmx.tor.socks import WITHOUT_TOR, Cause, SocksError
from tests.onions import V3_ONION
from tests.relay.relay import Relay, codes, play

HERE = (V3_ONION, 25)
MESSAGES = 20


def answers() -> float:
    return float(metrics.tor_answers._value.get())  # noqa: SLF001


def test_each_change_is_one_line(caplog: pytest.LogCaptureFixture) -> None:
    time = [100.0]
    state = TorState(lambda: time[0])
    with caplog.at_level(logging.INFO, "onionmx.mail"):
        for cause in (Cause.PROXY_UNREACHABLE, Cause.PROXY_UNREACHABLE, Cause.CLOSED):
            state.failed(SocksError(HERE, cause))
        assert answers() == 0
        time[0] = 160.0
        state.failed(SocksError(HERE, Cause.DESCRIPTOR_NOT_FOUND))  # tor has said so
        assert answers() == 1
        state.answered()
    assert [record.levelname for record in caplog.records] == ["ERROR", "INFO"]
    assert "is tor running?" in caplog.messages[0]
    assert caplog.messages[1] == "tor answers again, after 60 s and 3 connections that failed"


@pytest.mark.parametrize("cause", Cause)
def test_which_failures_are_those_of_tor(cause: Cause) -> None:
    state = TorState()
    state.failed(SocksError(HERE, cause))
    assert answers() == (cause not in WITHOUT_TOR)


def test_messages_while_tor_is_away(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    async def test(relay: Relay) -> None:
        relay.delivering.parts.socks._socks = "127.0.0.1:1"  # noqa: SLF001 -- a port where nothing listens
        for _ in range(MESSAGES):
            replies = await relay.send("user@example.org")
            assert codes(replies)[-1] == "451 4.4.1"
            assert "is tor running?" in replies[-1].text

    with caplog.at_level(logging.INFO, "onionmx.mail"):
        play(tmp_path, test)
    assert len(caplog.records) == 1
    assert caplog.records[0].levelname == "ERROR"
    assert answers() == 0
