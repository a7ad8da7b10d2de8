"""Closing circuits, at a real tor that has none; `tests/e2e/test_guard_tor.py` has some."""

import getpass
from pathlib import Path

from stem.control import Controller

from onionmx.config import TorSection
from onionmx.tor.circuits import Closing, close_circuits
from onionmx.tor.control import open_control
from tests.e2e.conftest import skip_without
from tests.e2e.lone_tor import LoneTor


class Ended:
    """A circuit that ends after tor has named it."""

    id = "7"
    purpose = "HS_SERVICE_REND"


class Remembers:
    """A controller by which the circuit is still named.

    Args:
        controller: of a real tor, which is told to close it.
    """

    def __init__(self, controller: Controller) -> None:
        self._controller = controller

    def get_circuits(self) -> list[Ended]:
        return [Ended()]

    def close_circuit(self, name: str) -> None:
        self._controller.close_circuit(name)


def test_circuits_that_tor_does_not_have(tmp_path: Path) -> None:
    skip_without("tor", "setpriv")
    tor = LoneTor(tmp_path / "tor")
    tor.start()
    try:
        with open_control(TorSection(control=tor.control_address, user=getpass.getuser())) as controller:
            assert close_circuits(controller, [1, 4_294_967_295]) == {1: Closing.GONE, 4_294_967_295: Closing.GONE}
            assert close_circuits(Remembers(controller), [7]) == {7: Closing.GONE}
    finally:
        tor.stop()
