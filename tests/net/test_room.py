"""Who goes when more connections come than may be open."""

from dataclasses import dataclass, field

from hypothesis import given
from hypothesis import strategies as st

from onionmx.net.room import IDLE, PATIENCE, SHARE, Stay, User, make_room

NOW = 100.0


@dataclass(frozen=True, eq=False, slots=True)
class Guest:
    client: Stay = field(default_factory=Stay)


def guest(user: User, since: float | None = 0.0, waited: float = 0.0, *, is_free: bool = True) -> Guest:
    return Guest(Stay(user, is_free, since, waited))


USERS = st.sampled_from([None, 0, 1, 2, "192.168.0.1"])
GUESTS = st.builds(guest, USERS, st.none() | st.floats(0, NOW), st.floats(0, NOW), is_free=st.booleans())


@given(st.lists(GUESTS, max_size=30), GUESTS, st.integers(1, 30))
def test_nobody_loses_by_who_has_more(guests: list[Guest], newcomer: Guest, limit: int) -> None:
    leaver = make_room(guests, newcomer, limit, NOW)
    users = [guest.client.user for guest in guests]
    user = newcomer.client.user
    if len(guests) < limit:
        assert leaver is None
    elif leaver is None:
        assert users.count(user) < limit // SHARE
        assert len(guests) < 2 * limit
    elif leaver is not newcomer:
        assert leaver in guests
        stay = leaver.client
        assert stay.waits_since is not None, "it is at work"
        if stay.user == user:
            assert user is None or stay.is_free or NOW - stay.waits_since >= PATIENCE
        else:
            assert users.count(stay.user) - 1 >= users.count(user) + 1
        if not is_idle(stay):
            same = [other.client for other in guests if other.client.user in {user, stay.user}]
            assert not any(map(is_idle, same)), "an idle one could go"
    else:
        own = [other.client for other in guests if other.client.user == user and other.client.waits_since is not None]
        assert not any(user is None or other.is_free for other in own)


def is_idle(stay: Stay) -> bool:
    return stay.is_free and stay.waits_since is not None and NOW - stay.waits_since >= IDLE


def test_the_longest_silent_of_the_user_with_most_goes_first() -> None:
    mta = [guest(1, float(number)) for number in range(3)]
    crowd = [guest(2, 10.0 + number) for number in range(5)]
    busy = [guest(3, is_free=False) for _ in range(9)]
    assert make_room([*mta, *crowd, *busy], guest(1), 17, 50.0) is crowd[0]
    assert make_room([*mta, *busy], guest(2), 12, 50.0) is mta[0]
    assert make_room([*mta, *busy], guest(3), 12, 50.0) is busy[0], "none of those who have less"
    assert make_room(busy, newcomer := guest(3), 9, PATIENCE - 1) is newcomer


def test_one_that_may_be_about_to_begin_is_not_idle() -> None:
    mta = guest(1, NOW - IDLE / 2)
    busy = [guest(2, NOW, is_free=False) for _ in range(9)]
    assert make_room([mta, *busy], guest(3), 10, NOW) is busy[0]


def test_keeping_busy_protects_nobody_in_a_crowd() -> None:
    """What counts is for how long it has been waited for, whatever was said in between."""
    stranger = guest(None, 0.0, is_free=False)
    for now in range(1, 90):
        stranger.client.heard(float(now))  # RSET and MAIL, NOOP, a byte of content
        stranger.client.wait(float(now))
    mta = [guest(None, 89.0, is_free=False), guest(None, 89.0), guest(None, None, 99.0, is_free=False)]
    assert make_room([*mta, stranger], guest(None), 4, 90.0) is stranger
    stranger.client.delivered()
    assert make_room([mta[0], stranger], guest(None, 89.5), 2, 90.0) is mta[0], "it has handed over a message"
    at_work = [guest(None, None) for _ in range(3)]
    assert make_room(at_work, newcomer := guest(None), 3, 90.0) is newcomer


class Race:
    """A full room of one crowd, and how it goes on: the attacker opens connections, and keeps all of his busy."""

    def __init__(self, limit: int) -> None:
        self.limit = limit
        self.now = 0.0
        self.guests = {guest(None, 0.0) for _ in range(limit)}

    def come(self) -> Guest:
        newcomer = guest(None, self.now)
        leaver = make_room(self.guests, newcomer, self.limit, self.now)
        assert leaver is not newcomer
        self.guests.discard(leaver)
        self.guests.add(newcomer)
        return newcomer


@given(st.lists(st.booleans(), max_size=60))
def test_who_speaks_at_once_cannot_be_pushed_out(busy: list[bool]) -> None:
    """As long as fewer come meanwhile than may be open, whatever the others do."""
    race = Race(100)
    race.now += 1
    mta = race.come()
    for says in busy:
        race.now += 0.001
        race.come()
        if says:
            for other in race.guests:
                other.client.heard(race.now)
                other.client.is_free = False
                other.client.wait(race.now)
    assert mta in race.guests
