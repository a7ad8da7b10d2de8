import pytest

from onionmx.dns.bulk.pace import Limits, Pace

PATIENCE = 10.0


def pace(concurrency: int = 100, rate: float = 0) -> Pace:
    return Pace(Limits(concurrency, rate, PATIENCE), 0.0)


def ask(pace: Pace, now: float) -> int:
    pace.turn(now)
    room = pace.room(now)
    pace.sent(room, now)
    return room


def fill(pace: Pace, now: float) -> int:
    """As often as there is room; how many are under way then."""
    while ask(pace, now):
        now += 1
    return pace.under_way


def test_window_grows_while_all_is_answered_and_no_further_than_it_may() -> None:
    one = pace(300)
    for window in 100, 200, 300, 300:
        assert fill(one, 0) == window
        one.wait()
        one.heard(window, 0, 0)


@pytest.mark.parametrize(("gathered", "window"), [(100, 100), (50, 100), (49, 200), (1, 200)])
def test_window_stays_while_replies_gather_and_we_are_at_work(gathered: int, window: int) -> None:
    one = pace(1000)
    for _ in range(0, 150, gathered):
        fill(one, 0)
        one.heard(gathered, 0, 0)
    assert fill(one, 0) == window


def test_server_that_says_nothing_is_not_asked_more_than_it_can_keep() -> None:
    one = pace(500)
    for window in 100, 200, 400:
        assert fill(one, 0) == window
        one.wait()
        one.heard(window, 0, 0)
    assert [ask(one, 0), ask(one, 0), ask(one, 0.019)] == [100, 0, 0]
    assert [ask(one, 0.02), ask(one, 0.02)] == [100, 0]
    one.heard(1, 0, 0.021)
    assert [ask(one, 0.021), ask(one, 0.021)] == [100, 0]


def test_window_halves_when_much_is_lost_and_stays_when_little_is() -> None:
    one = pace(64)
    assert fill(one, 0) == 64
    one.heard(60, 0, 0)
    one.lost(4)
    for expected in (64, 32, 16, 8, 8):
        assert fill(one, 0) == expected
        one.lost(one.under_way)
    assert fill(one, 0) == 8
    one.wait()
    one.heard(8, 0, 0)
    assert fill(one, 0) == 9


def test_rate() -> None:
    one = pace(1000, rate=10)
    asked = 0
    for millisecond in range(10_000):
        asked += ask(one, millisecond / 1000)
        one.heard(one.under_way, 0, millisecond / 1000)
    assert 99 <= asked <= 102


def test_what_was_not_asked_is_not_saved_up() -> None:
    one = pace(1000, rate=100)
    assert one.room(3600) == 5


def test_silence() -> None:
    one = pace()
    assert not one.is_quiet(50)
    one.sent(1, 50)
    assert not one.is_quiet(50.9)
    assert not one.wants_probe(50.9)
    assert one.is_quiet(51)
    assert one.wants_probe(51)
    assert not one.wants_probe(51.5)
    assert one.wants_probe(52)
    assert not one.is_lost(59.9)
    assert one.is_lost(60)
    assert one.is_dead
    assert one.why_dead == "silent for 10 s"
    assert one.room(60) == 0
    assert not one.is_lost(61)


def test_many_hanging_domains_are_not_the_resolver() -> None:
    one = pace()
    one.sent(64, 0)
    for second in range(1, 100):
        assert one.wants_probe(second)
        one.probe_answered(second, is_failure=False)
        assert not one.is_quiet(second)
        assert not one.is_lost(second)


def test_dead_resolver_comes_back() -> None:
    one = pace()
    one.fail("no route to host")
    assert one.room(0) == 0
    assert one.wants_probe(1)
    one.probe_answered(2, is_failure=False)
    assert one.room(2) == 100


def test_nothing_but_errors() -> None:
    one = pace(10_000)
    one.sent(2000, 0)
    one.heard(0, 999, 1)
    assert not one.wants_probe(1)
    one.heard(0, 1, 1)
    assert one.wants_probe(1)
    one.probe_answered(1, is_failure=True)
    assert one.is_dead
    assert one.why_dead == "answered 1000 questions in a row with errors"


def test_many_domains_of_a_broken_server_are_not_the_resolver() -> None:
    one = pace(10_000)
    one.sent(2000, 0)
    one.heard(0, 1000, 1)
    assert one.wants_probe(1)
    one.probe_answered(1, is_failure=False)
    assert not one.is_dead
    one.heard(0, 999, 2)
    assert not one.wants_probe(2)
    one.heard(1, 0, 2)
    one.heard(0, 1, 2)
    assert not one.wants_probe(2)
