from onionmx.dns.bulk.pace import Limits, Pace

PATIENCE = 10.0


def pace(concurrency: int = 100, rate: float = 0) -> Pace:
    return Pace(Limits(concurrency, rate, PATIENCE), 0.0)


def fill(pace: Pace, now: float) -> int:
    room = pace.room(now)
    pace.sent(room, now)
    return room


def test_window_grows_while_all_is_answered_and_no_further_than_it_may() -> None:
    one = pace(100)
    rooms = []
    for second in range(4):
        rooms.append(fill(one, second))
        assert one.room(second) == 0
        one.heard(one.under_way, 0, second)
    assert rooms == [64, 100, 100, 100]


def test_window_halves_when_much_is_lost_and_stays_when_little_is() -> None:
    one = pace(64)
    fill(one, 0)
    one.heard(60, 0, 0)
    one.lost(4)
    assert one.room(0) == 64
    for expected in (32, 16, 8, 8):
        fill(one, 0)
        one.lost(one.under_way)
        assert one.room(0) == expected
    fill(one, 0)
    one.heard(8, 0, 0)
    assert one.room(0) == 9


def test_rate() -> None:
    one = pace(1000, rate=10)
    asked = 0
    for millisecond in range(10_000):
        asked += fill(one, millisecond / 1000)
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
    assert one.room(2) == 64


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
