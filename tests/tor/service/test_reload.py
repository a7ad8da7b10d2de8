"""A service that tor makes anew; with a real tor in tests/e2e/test_onion_private.py."""

from pathlib import Path
from typing import Any, cast

import pytest
from stem import SocketClosed

from onionmx.errors import ControlError
from onionmx.tor.service.reload import renew_service
from onionmx.tor.service.running import OnionService
from onionmx.tor.service.torrc import ENCODING

OURS, OTHER = Path("/var/lib/tor/ours-été"), Path("/var/lib/tor/other")
LINES = [
    f"HiddenServiceDir={OURS}",
    "HiddenServicePort=25 127.0.0.1:25",
    f"HiddenServiceDir={OTHER}",
    "HiddenServicePort=80 127.0.0.1:80",
]


class Answer:
    def __init__(self, lines: list[str], *, is_ok: bool = True) -> None:
        self._lines = lines
        self._is_ok = is_ok

    def is_ok(self) -> bool:
        return self._is_ok

    def content(self, *, get_bytes: bool) -> list[tuple[str, str, bytes]]:
        assert get_bytes
        return [("250", " ", line.encode()) for line in self._lines]


class Tor:
    """A control port that does what it is told, and at one SETCONF something else happens too.

    A real tor neither hangs up nor has the user press Ctrl-C at a moment that a test could choose.
    """

    def __init__(self, at: int = 0, fault: BaseException | None = None, *, stays: bool = False) -> None:
        self.services: set[str] = {str(OURS), str(OTHER)}
        self._commands = 0
        self._at, self._fault, self._stays = at, fault, stays

    def msg(self, command: str) -> Answer:
        if command.startswith("GETCONF"):
            return Answer(LINES)
        self._commands += 1
        due = self._fault is not None and (self._commands == self._at or (self._stays and self._commands > self._at))
        if due and self._stays:
            raise self._fault or AssertionError
        said = command.encode(ENCODING).decode()
        self.services = {str(path) for path in (OURS, OTHER) if f'HiddenServiceDir="{path}"' in said}
        if due:
            raise self._fault or AssertionError
        return Answer([])


def renew(tor: Tor) -> None:
    renew_service(cast("Any", tor), OnionService(None, (), str(OURS)))


def test_it_is_there_afterwards() -> None:
    tor = Tor()
    renew(tor)
    assert tor.services == {str(OURS), str(OTHER)}


@pytest.mark.parametrize("at", [1, 2])
@pytest.mark.parametrize("fault", [KeyboardInterrupt(), MemoryError()])
def test_what_comes_between_leaves_no_service_away(at: int, fault: BaseException) -> None:
    tor = Tor(at, fault)
    with pytest.raises(type(fault)):
        renew(tor)
    assert tor.services == {str(OURS), str(OTHER)}


def test_one_that_is_away_is_said_to_be() -> None:
    tor = Tor(2, SocketClosed("cut off"), stays=True)
    with pytest.raises(ControlError, match=r"gave up the service in /var/lib/tor/ours-été .*restart tor"):
        renew(tor)
    assert tor.services == {str(OTHER)}


def test_one_that_tor_no_longer_has() -> None:
    tor = Tor()
    with pytest.raises(ControlError, match="tor has no HiddenServiceDir /elsewhere any more"):
        renew_service(cast("Any", tor), OnionService(None, (), "/elsewhere"))
    assert tor.services == {str(OURS), str(OTHER)}
