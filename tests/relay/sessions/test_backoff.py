from random import Random

from onionmx.errors import DnsError
from onionmx.relay.sessions.backoff import FIRST_PAUSE, LONGEST_PAUSE, PROBE, Backoff
from tests.mapfile.maps import A, B

TARGET = (A, 25)


class Clock:
    def __init__(self) -> None:
        self.now = 1000.0

    def __call__(self) -> float:
        return self.now


def pause(backoff: Backoff, clock: Clock) -> float:
    """Seconds until the target may be tried again."""
    start = clock.now
    while backoff.refusal(TARGET):
        clock.now += 0.5
    return clock.now - start


def test_one_failure_is_forgiven() -> None:
    backoff = Backoff(Random(1))
    backoff.failed(TARGET, "F2")
    assert backoff.refusal(TARGET) is None


def test_pauses_grow_with_jitter_up_to_a_limit() -> None:
    clock = Clock()
    backoff = Backoff(Random(1), clock)
    backoff.failed(TARGET, "F0")
    pauses = []
    for _ in range(12):
        backoff.failed(TARGET, "F0")
        pauses.append(pause(backoff, clock))
    assert FIRST_PAUSE / 2 <= pauses[0] <= FIRST_PAUSE + 0.5
    assert pauses[3] > pauses[0]
    assert LONGEST_PAUSE / 2 <= pauses[-1] <= LONGEST_PAUSE + 0.5
    assert len({value % 10 for value in pauses}) > 1


def test_one_message_finds_out_and_the_others_wait() -> None:
    clock = Clock()
    backoff = Backoff(Random(1), clock)
    backoff.failed(TARGET, "F0")
    backoff.failed(TARGET, "F0")
    assert "failed 2 times in a row" in (backoff.refusal(TARGET) or "")
    clock.now += FIRST_PAUSE
    assert backoff.refusal(TARGET) is None
    assert backoff.refusal(TARGET) is not None
    clock.now += PROBE
    assert backoff.refusal(TARGET) is None, "the one that was to find out never reported"


def test_messages_that_fail_together_are_one_failure() -> None:
    clock = Clock()
    backoff = Backoff(Random(1), clock)
    for _ in range(100):
        backoff.failed(TARGET, "connection lost")
    assert pause(backoff, clock) <= FIRST_PAUSE + 0.5
    backoff.failed(TARGET, "connection lost")
    assert "failed 3 times in a row" in (backoff.refusal(TARGET) or "")


def test_one_error_that_many_hear_is_one_failure() -> None:
    backoff = Backoff(Random(1))
    error = DnsError("F2")
    for _ in range(100):
        backoff.failed(TARGET, "F2", error)
    assert backoff.refusal(TARGET) is None, "one may be a circuit that broke"
    backoff.failed(TARGET, "F2", DnsError("F2"))
    assert "failed 2 times in a row" in (backoff.refusal(TARGET) or "")


def test_success_forgets_and_targets_are_apart() -> None:
    backoff = Backoff(Random(1))
    for _ in range(3):
        backoff.failed(TARGET, "F0")
    assert backoff.refusal((B, 25)) is None
    assert backoff.refusal((A, 2525)) is None
    backoff.succeeded(TARGET)
    assert backoff.refusal(TARGET) is None
