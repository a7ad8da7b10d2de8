"""Circuits that are to be closed: together, one connection to tor at a time; what tor cannot do stops nothing."""

import asyncio
from collections.abc import Collection, Mapping

import pytest

from onionmx.errors import ControlError
from onionmx.guard.closing import MAX_WAITING, Closer
from onionmx.guard.judge import circuits_of
from onionmx.guard.metrics import GuardMetrics
from onionmx.log.fields import fields_of
from onionmx.tor.circuits import Closing
from tests.guard.test_judge import SETTINGS

TIMEOUT = 120.0


class Tor:
    """Notes what it is asked; fails at first as often as it is told."""

    def __init__(self, *errors: Exception) -> None:
        self.asked: list[set[int]] = []
        self.forgotten: list[int] = []
        self.metrics = GuardMetrics(circuits_of(SETTINGS))
        self.closer = Closer(self.close, self.forgotten.append, self.metrics)
        self._errors = list(errors)

    def close(self, wanted: Collection[int]) -> Mapping[int, Closing]:
        self.asked.append(set(wanted))
        if self._errors:
            raise self._errors.pop(0)
        return dict(zip(sorted(wanted), Closing, strict=False))


def test_those_that_come_together_are_closed_together(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> Tor:
        gone = asyncio.Event()
        tor = Tor()

        def forget(circuit: int) -> None:
            tor.forgotten.append(circuit)
            gone.set()

        tor.closer = Closer(tor.close, forget, tor.metrics)
        for circuit in (1, 2, 3, 2):
            tor.closer.ask(circuit)
        task = asyncio.create_task(tor.closer.run())
        await asyncio.wait_for(gone.wait(), TIMEOUT)
        task.cancel()
        return tor

    tor = asyncio.run(test())
    assert tor.asked == [{1, 2, 3}]
    assert tor.forgotten == [1, 2]
    assert set(tor.metrics.closed.values()) == {1}
    events = [fields_of(record)["event"] for record in caplog.records]
    assert events == ["circuit_closed", "circuit_gone", "circuit_foreign"]
    assert caplog.messages == [
        "circuit 1 is closed",
        "circuit 2 is gone",
        "circuit 3 is not a client's of an onion service here, and was not closed",
    ]


def test_fault_of_tor_is_one_line_and_it_is_asked_again(caplog: pytest.LogCaptureFixture) -> None:
    async def test() -> Tor:
        tor = Tor(ControlError("no answer"), ControlError("no answer"), ZeroDivisionError())
        assert [await tor.closer.close_all({circuit}) for circuit in range(4)] == [False, False, False, True]
        return tor

    tor = asyncio.run(test())
    assert tor.asked == [{0}, {1}, {2}, {3}]
    assert tor.forgotten == [3]
    assert tor.metrics.failed == 3
    assert caplog.messages == [
        "circuits cannot be closed, and are refused only: no answer",
        "circuits cannot be closed: internal error",
        "circuit 3 is closed",
    ]


def test_what_waits_is_bounded() -> None:
    async def test() -> Tor:
        done = asyncio.Event()
        tor = Tor()
        tor.closer = Closer(tor.close, lambda _: done.set(), tor.metrics)
        for circuit in range(MAX_WAITING + 10):
            tor.closer.ask(circuit)
        task = asyncio.create_task(tor.closer.run())
        await asyncio.wait_for(done.wait(), TIMEOUT)
        task.cancel()
        return tor

    assert len(asyncio.run(test()).asked[0]) == MAX_WAITING
