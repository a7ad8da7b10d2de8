"""The life of a daemon, where signals come at bad moments."""

import asyncio
import os
import signal
from collections.abc import Callable

import pytest

from onionmx.config import Configuration
from onionmx.daemon import run


class Recorded:
    """A service that does nothing but note what it has to do."""

    name = "recorded"

    def __init__(self) -> None:
        self.heard: list[str] = []

    async def start(self) -> None:
        self.heard.append("start")

    def take(self, configuration: Configuration) -> None:
        del configuration
        self.heard.append("take")

    def refused(self) -> None:
        self.heard.append("refused")

    async def stop(self) -> None:
        os.kill(os.getpid(), signal.SIGHUP)
        await asyncio.sleep(0.2)
        self.heard.append("stop")


def play(load: Callable[[], Configuration], *signals: int) -> tuple[list[str], list[str]]:
    """What the service and the service manager hear, when these signals come one after the other."""
    service, told, left = Recorded(), [], list(signals)

    def tell(state: str) -> None:
        told.append(state.partition("=")[0])
        if told[-1] == "READY":
            os.kill(os.getpid(), left.pop(0))

    async def whole() -> None:
        async with asyncio.timeout(60):
            await run(service, load, None, tell)

    former = {number: signal.getsignal(number) for number in (signal.SIGHUP, signal.SIGTERM, signal.SIGINT)}
    try:
        asyncio.run(whole())
    finally:
        for number, handler in former.items():
            signal.signal(number, handler)
    return service.heard, told


def test_no_reload_while_it_stops() -> None:
    heard, told = play(Configuration, signal.SIGHUP, signal.SIGTERM)
    assert heard == ["start", "take", "stop"]
    assert told == ["READY", "RELOADING", "READY", "STOPPING"]


def test_a_reload_ends_whatever_comes_up(caplog: pytest.LogCaptureFixture) -> None:
    def load() -> Configuration:
        raise RuntimeError("unforeseen")

    heard, told = play(load, signal.SIGHUP, signal.SIGTERM)
    assert heard == ["start", "refused", "stop"]
    assert told == ["READY", "RELOADING", "READY", "STOPPING"]
    assert "the old one stays: internal error" in caplog.text
