"""From requests to answers: what is no circuit passes, and so does everything at which the guard itself fails."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import GuardSection
from onionmx.guard.judge import PASS, Guard, circuits_of
from onionmx.guard.limits import Circuits, Event, Verdict
from onionmx.guard.metrics import GuardMetrics
from onionmx.guard.policy import PolicyRequest
from onionmx.log.fields import fields_of
from onionmx.serve.protocols.codec import ProtocolFault
from tests.guard.daemon import CIRCUIT

SETTINGS = GuardSection(connections_per_minute=2, close_after=2)
CONNECT = PolicyRequest(CIRCUIT, Event.CONNECTION)
REFUSED = b"action=421 4.7.0 too many connections over this circuit, try again later\n\n"


class Site:
    """A guard, and the circuits that it has closed."""

    def __init__(self, settings: GuardSection = SETTINGS) -> None:
        self.closed: list[int] = []
        circuits = circuits_of(settings)
        self.metrics = GuardMetrics(circuits)
        self.guard = Guard(circuits, self.metrics, self.closed.append)


def test_circuit_over_its_limit_is_refused_then_closed(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.INFO)
    site = Site()
    answers = [site.guard.answer(CONNECT, 0) for _ in range(4)]
    assert answers == [PASS, PASS, REFUSED, REFUSED]
    assert site.closed == [0x123456]
    assert caplog.messages == ["circuit 1193046 is over its limit of connections, and is refused"]
    said = {"event": "circuit_refused", "circuit": 1193046, "limit": "connections"}
    assert fields_of(caplog.records[0]) == said
    assert site.guard.answer(CONNECT, 120) == PASS


@given(
    st.text(max_size=50).filter(lambda text: not text.startswith("fc00")),
    st.sampled_from([*Event, None]),
    st.floats(0, 1e9),
)
def test_what_is_no_circuit_passes_untouched(client: str, event: Event | None, size: float) -> None:
    site = Site(GuardSection(connections_per_minute=1, bytes_per_hour=1))
    for _ in range(5):
        assert site.guard.answer(PolicyRequest(client, event, size), 0) == PASS
    assert site.closed == []
    assert site.metrics.others == 5


@pytest.mark.parametrize("is_fatal", [True, False])
def test_what_is_no_request_passes(is_fatal: bool) -> None:  # noqa: FBT001 -- a parameter of the test
    site = Site()
    assert site.guard.answer(ProtocolFault("nonsense", is_fatal), 0) == PASS
    assert site.metrics.malformed == 1


class Broken(Circuits):
    """A fault of the guard itself."""

    def judge(self, number: int, event: Event, size: float, now: float) -> Verdict:  # noqa: ARG002
        raise ZeroDivisionError


def test_fault_of_the_guard_passes(caplog: pytest.LogCaptureFixture) -> None:
    circuits = Broken({}, 1, 1)
    metrics = GuardMetrics(circuits)
    assert Guard(circuits, metrics, lambda _: None).answer(CONNECT, 0) == PASS
    assert metrics.faults == 1
    assert "internal error" in caplog.text


def test_other_limits_count_from_now_on() -> None:
    site = Site()
    for _ in range(2):
        assert site.guard.answer(CONNECT, 0) == PASS
    site.guard.use(GuardSection(connections_per_minute=10))
    for _ in range(8):
        assert site.guard.answer(CONNECT, 0) == PASS
    assert site.guard.answer(CONNECT, 0) == REFUSED
