"""What the watch does around a renewal; with a real tor in tests/e2e/test_watch.py."""

import asyncio
import threading
from contextlib import suppress
from pathlib import Path
from typing import Any, cast

import pytest

from onionmx.config import Configuration
from onionmx.errors import ControlError
from onionmx.tor.service.running import OnionService
from onionmx.watch import renewal
from onionmx.watch.judge import Reach, Watched
from onionmx.watch.service import WatchService
from onionmx.watch.state import FORMAT, Away, WatchState, read_state, write_state
from tests.onions import V3_ONION

AWAY = Away(V3_ONION, (("HiddenServiceDir", "/var/lib/tor/onion-mx"),))
FAILING = Watched(V3_ONION, Reach.FAILED, 100.0, 200.0)
PATIENCE = 300.0


class Tor:
    """In the place of a connection to tor."""

    controller = None


@pytest.mark.parametrize("fails", [False, True])
def test_what_is_away_when_it_is_stopped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, *, fails: bool) -> None:
    """A renewal that was finished leaves nothing to be given back, one that failed does."""
    path = tmp_path / "watch"
    write_state(path, WatchState(FORMAT, services=[FAILING]))
    begun, goes_on = threading.Event(), threading.Event()

    def renew(*_arguments: object) -> None:
        begun.set()
        assert goes_on.wait(PATIENCE)
        if fails:
            raise ControlError("tor does not take it")

    monkeypatch.setattr(renewal, "take", lambda *_arguments: AWAY)
    monkeypatch.setattr(renewal, "renew", renew)

    async def stopped_meanwhile() -> None:
        service = WatchService(Configuration(), path, lambda: 300.0)
        known = OnionService(V3_ONION, (), "/var/lib/tor/onion-mx")
        task = asyncio.create_task(service._renew(cast("Any", Tor()), known, FAILING))  # noqa: SLF001
        await asyncio.to_thread(begun.wait, PATIENCE)
        told = read_state(path, 300.0)
        assert told is not None
        assert told.away == AWAY
        task.cancel()
        asyncio.get_running_loop().call_soon(goes_on.set)
        with suppress(asyncio.CancelledError, ControlError):
            await task

    asyncio.run(stopped_meanwhile())
    kept = read_state(path, 300.0)
    assert kept is not None
    assert kept.away == (AWAY if fails else None)
