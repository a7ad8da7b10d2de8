"""Who goes when more connections come than may be open."""

from dataclasses import dataclass

from hypothesis import given
from hypothesis import strategies as st

from onionmx.net.room import PATIENCE, SHARE, User, make_room


@dataclass(frozen=True, eq=False, slots=True)
class Guest:
    user: User
    is_free: bool = True
    waits_since: float | None = 0.0


USERS = st.sampled_from([None, 0, 1, 2, "192.168.0.1"])
GUESTS = st.builds(Guest, USERS, st.booleans(), st.none() | st.floats(0, 100))


@given(st.lists(GUESTS, max_size=30), GUESTS, st.integers(1, 30))
def test_nobody_loses_by_who_has_more(guests: list[Guest], newcomer: Guest, limit: int) -> None:
    leaver = make_room(guests, newcomer, limit, 100.0)
    users = [guest.user for guest in guests]
    if len(guests) < limit:
        assert leaver is None
    elif leaver is None:
        assert users.count(newcomer.user) < limit // SHARE
        assert len(guests) < 2 * limit
    elif leaver is not newcomer:
        assert leaver in guests
        assert leaver.waits_since is not None, "it is at work"
        if leaver.user == newcomer.user:
            assert leaver.is_free or 100.0 - leaver.waits_since >= PATIENCE
        else:
            assert users.count(leaver.user) - 1 >= users.count(newcomer.user) + 1
        better = [guest for guest in guests if guest.is_free and guest.user == newcomer.user]
        assert leaver.is_free or not any(guest.waits_since is not None for guest in better)
    else:
        assert not any(guest.user == newcomer.user and guest.is_free and guest.waits_since for guest in guests)


def test_the_longest_silent_of_the_user_with_most_goes_first() -> None:
    mta = [Guest(1, waits_since=float(number)) for number in range(3)]
    crowd = [Guest(2, waits_since=10.0 + number) for number in range(5)]
    busy = [Guest(3, is_free=False, waits_since=0.0) for _ in range(9)]
    assert make_room([*mta, *crowd, *busy], Guest(1), 17, 50.0) is crowd[0]
    assert make_room([*mta, *busy], Guest(2), 12, 50.0) is mta[0]
    assert make_room([*mta, *busy], Guest(3), 12, 50.0) is busy[0], "none of those who have less"
    assert make_room(busy, newcomer := Guest(3), 9, PATIENCE - 1) is newcomer
