"""Token buckets and the circuits that have them; the clock is the test's."""

from hypothesis import given
from hypothesis import strategies as st

from onionmx.guard.limits import Bucket, Circuits, Event, Limit, Rate, Verdict

RATE = Rate(10, 60)
LIMITS = {Limit.CONNECTIONS: RATE, Limit.RECIPIENTS: Rate(5, 60), Limit.BYTES: Rate(1000, 3600), Limit.ERRORS: RATE}
STEPS = st.lists(st.tuples(st.floats(0, 100), st.floats(-20, 40)), max_size=50)
EVENTS = st.lists(
    st.tuples(st.integers(1, 8), st.sampled_from(Event), st.floats(0, 1e6), st.floats(0, 5000)), max_size=100
)
CAPACITY = 4


def circuits(close_after: int = 3) -> Circuits:
    return Circuits(LIMITS, close_after, CAPACITY)


@given(STEPS)
def test_bucket_is_overdrawn_by_one_filling_at_most(steps: list[tuple[float, float]]) -> None:
    bucket, now = Bucket(), 0.0
    for pause, number in steps:
        now += pause
        bucket.take(number, RATE, now)
        assert 0 <= bucket.used <= 2 * RATE.number
    bucket.take(0, RATE, now + RATE.seconds * 1.001)  # floats
    assert not bucket.is_overdrawn(RATE)


@given(st.lists(st.floats(0, 30), max_size=200))
def test_no_more_passes_than_the_rate_allows(pauses: list[float]) -> None:
    bucket, now, passed = Bucket(), 0.0, 0
    for pause in pauses:
        now += pause
        bucket.take(1, RATE, now)
        passed += not bucket.is_overdrawn(RATE)
        assert passed <= RATE.number + now * RATE.number / RATE.seconds + 1


@given(st.integers(1, 300))
def test_client_within_the_rate_always_passes(number: int) -> None:
    known = circuits()
    pause = RATE.seconds / RATE.number
    for turn in range(number):
        assert known.judge(1, Event.CONNECTION, 1, turn * pause) == Verdict()


@given(EVENTS)
def test_memory_is_bounded_and_what_has_arrived_is_taken(events: list[tuple[int, Event, float, float]]) -> None:
    known, now = circuits(), 0.0
    for circuit, event, size, pause in events:
        now += pause
        verdict = known.judge(circuit, event, size, now)
        assert 1 <= len(known) <= CAPACITY
        assert verdict.limit is None or event in {Event.CONNECTION, Event.RECIPIENT}
        assert not verdict.closes or verdict.limit


def test_clock_that_stands_still_or_goes_back_gives_nothing() -> None:
    bucket = Bucket()
    bucket.take(11, RATE, 100)
    bucket.take(0, RATE, 40)
    assert bucket.is_overdrawn(RATE)
    bucket.take(0, RATE, 100)
    assert bucket.used == 11


def test_no_limit() -> None:
    known = Circuits(dict.fromkeys(Limit, Rate(0, 60)), 3, CAPACITY)
    for _ in range(1000):
        assert known.judge(1, Event.CONNECTION, 1, 0) == Verdict()


def test_refusals_close_the_circuit_and_the_first_is_marked() -> None:
    known = circuits(close_after=3)
    for _ in range(10):
        assert known.judge(1, Event.CONNECTION, 1, 0) == Verdict()
    said = [known.judge(1, Event.CONNECTION, 1, 0) for _ in range(7)]
    assert [verdict.closes for verdict in said] == [False, False, True, False, False, True, False]
    assert [verdict.is_first for verdict in said] == [True, *[False] * 6]
    assert {verdict.limit for verdict in said} == {Limit.CONNECTIONS}
    assert known.judge(2, Event.CONNECTION, 1, 0) == Verdict()
    assert known.judge(1, Event.CONNECTION, 1, 120) == Verdict()


def test_client_that_heeds_the_refusal_is_not_closed() -> None:
    known = circuits(close_after=2)
    for turn in range(50):
        for _ in range(11):
            verdict = known.judge(1, Event.CONNECTION, 1, turn * 70.0)
            assert not verdict.closes


def test_accepted_recipients_cost_nothing_and_refused_ones_do() -> None:
    known = circuits()
    for _ in range(100):
        assert known.judge(1, Event.RECIPIENT, 1, 0) == Verdict()
        known.judge(1, Event.ACCEPTED, 1, 0)
    for _ in range(5):
        assert known.judge(1, Event.RECIPIENT, 1, 0) == Verdict()
    assert known.judge(1, Event.RECIPIENT, 1, 0).limit is Limit.RECIPIENTS


def test_large_message_passes_and_what_follows_does_not() -> None:
    known = circuits()
    assert known.judge(1, Event.MESSAGE, 1e12, 0) == Verdict()
    assert known.judge(1, Event.CONNECTION, 1, 0).limit is Limit.BYTES
    assert known.judge(1, Event.CONNECTION, 1, 3601) == Verdict()


def test_circuit_that_is_gone_is_forgotten() -> None:
    known = circuits()
    known.judge(1, Event.MESSAGE, 1e12, 0)
    known.forget(1)
    known.forget(2)
    assert known.judge(1, Event.CONNECTION, 1, 0) == Verdict()


def test_the_one_that_was_silent_longest_gives_way() -> None:
    known = circuits()
    known.judge(1, Event.MESSAGE, 1e12, 0)
    for number in (2, 3, 4):
        known.judge(number, Event.CONNECTION, 1, 1)
    assert known.judge(1, Event.CONNECTION, 1, 2).limit is Limit.BYTES
    for number in (5, 6, 7):
        known.judge(number, Event.CONNECTION, 1, 3)
    assert known.judge(1, Event.CONNECTION, 1, 4).limit is Limit.BYTES
    known.judge(8, Event.CONNECTION, 1, 90_000)
    assert len(known) == 1
