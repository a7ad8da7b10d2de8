"""What tor says of itself when it is not well; a real one is asked by `tests/e2e/test_status.py`."""

import asyncio
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pytest

from onionmx.config import Configuration, MapSection
from onionmx.errors import ControlError
from onionmx.status.look.host import Host
from onionmx.status.look.tor import look_at_onions, look_at_tor
from onionmx.status.model import OnionsStatus, TorStatus
from onionmx.tor.service.running import Forward, OnionService
from tests.mapfile.maps import A

_INFO = {
    "version": "0.4.8.16 (git-1)",
    "status/bootstrap-phase": 'NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY="Done"',
    "status/circuit-established": "1",
    "circuit-status": "1 BUILT $A~a PURPOSE=GENERAL\n2 LAUNCHED PURPOSE=GENERAL\n3 BUILT $B~b",
}


class ScriptedMachine:
    """A machine whose tor says what a test wants."""

    def __init__(self, info: Mapping[str, str] | None = None, services: Sequence[OnionService] = ()) -> None:
        self.configuration = Configuration()
        self._info = info
        self._services = list(services)

    async def ask_tor(self, question: Callable[[Any], Any]) -> Any:  # noqa: ANN401 -- whatever is asked
        if self._info is None:
            raise ControlError("tor is asleep")
        return question(self)

    def get_info(self, name: str) -> str:
        assert self._info is not None
        return self._info[name]

    async def services(self) -> list[OnionService]:
        return self._services


def tor(**changes: str) -> TorStatus:
    names = {"phase": "status/bootstrap-phase", "established": "status/circuit-established", "version": "version"}
    info = _INFO | {names[key]: value for key, value in changes.items()}
    return asyncio.run(look_at_tor(ScriptedMachine(info)))  # type: ignore[arg-type] # as much as is asked


def onions(*services: OnionService, info: Mapping[str, str] | None = None) -> OnionsStatus:
    return asyncio.run(look_at_onions(ScriptedMachine(info, services), 1.0))  # type: ignore[arg-type]


def test_tor_that_is_well() -> None:
    assert tor() == TorStatus(answers=True, version="0.4.8.16", bootstrapped=100, has_circuits=True, circuits=2)


def test_tor_that_has_not_reached_the_network_says_why() -> None:
    phase = 'WARN BOOTSTRAP PROGRESS=14 TAG=conn SUMMARY="Handshaking" WARNING="No route\x1b[2J to host" REASON=X'
    found = tor(phase=phase, established="0")
    assert (found.bootstrapped, found.has_circuits) == (14, False)
    assert "Handshaking; No route" in found.why
    assert "\x1b" not in found.why
    assert tor(established="0").why == "it has no circuit"
    assert tor(phase="nonsense").bootstrapped is None


def forward(port: int) -> Forward:
    return Forward(port, "127.0.0.2", 25)


def test_services_that_carry_no_mail_are_none() -> None:
    assert onions().services == ()
    assert onions(OnionService(A, (forward(80),), "/var/lib/tor/web")).services == ()


def test_service_of_which_the_ports_are_not_known_may_be_one() -> None:
    found = onions(OnionService(A, (), None, problem="unknown", ports_known=False))
    assert found.services is None
    assert A in found.why


def test_service_without_address_and_tor_that_falls_silent() -> None:
    (found,) = onions(OnionService(None, (forward(25),), "/d", problem="hostname cannot be read")).services or ()
    assert (found.onion, found.published, found.published_why) == (None, None, "hostname cannot be read")
    (found,) = onions(OnionService(A, (forward(25),), "/d")).services or ()
    assert (found.onion, found.published, found.published_why) == (A, None, "tor is asleep")


def test_fault_of_ours_in_one_source_leaves_the_others(
    monkeypatch: pytest.MonkeyPatch, tmp_path_factory: pytest.TempPathFactory
) -> None:
    async def fail(*_: object) -> None:
        raise ValueError("a fault")

    for name in ("look_at_tor", "look_at_relay", "look_at_queue"):
        monkeypatch.setattr(f"onionmx.status.look.host.{name}", fail)
    folder = tmp_path_factory.mktemp("status")
    seen = asyncio.run(Host(Configuration(map=MapSection(path=f"{folder}/map.cdb"))).look())
    assert not seen.is_whole
    why = "internal error: ValueError: a fault"
    assert seen.status.tor == TorStatus(answers=None, why=why)
    assert seen.status.failing.destinations is None
    assert seen.status.failing.why == seen.status.queue.why == seen.status.deliveries.why == why
    assert seen.status.map.waiting == ()
