"""Whose turn it is, for any order of recipients, any failures, and MTAs with several sessions."""

from collections.abc import Collection, Sequence

from hypothesis import given
from hypothesis import strategies as st

from onionmx.relay.turns import LONGEST, TransactionTurns, Turns
from onionmx.smtp.envelope import Envelope

MESSAGE = Envelope("me@sender.example")


class Attempt:
    """One transaction of an MTA that names recipients with a route each, one by one."""

    def __init__(self, turns: Turns, named: Sequence[str], message: Envelope = MESSAGE) -> None:
        self.turns: TransactionTurns = turns.of(message)
        self.were_asked = self.turns.must_ask
        self.taken = ""
        for name in named:
            if self.turns.is_sent_back(name):
                continue
            if self.taken:
                self.turns.send_back(name)
            else:
                self.taken = name

    def end(self, failing: Collection[str]) -> str:
        """The reply to the message; who got it, if it is good."""
        fails = self.taken in failing
        if self.taken:
            self.turns.end([self.taken], is_transient=fails, were_asked=self.were_asked)
        return "" if fails else self.taken


def tried_until_delivered(turns: Turns, named: Sequence[str], failing: Collection[str], most: int) -> list[str]:
    """Who was tried, until all that can be delivered are, or that often."""
    left, tried = list(named), []
    for _ in range(most):
        attempt = Attempt(turns, left)
        tried.append(attempt.taken)
        delivered = attempt.end(failing)
        if delivered:
            left.remove(delivered)
        if set(left) <= set(failing):
            break
    return tried


NAMES = st.lists(st.sampled_from([f"{letter}@{letter}.example" for letter in "abcdefgh"]), min_size=1, unique=True)


@given(NAMES, st.data())
def test_all_that_can_be_delivered_are(names: list[str], data: st.DataObject) -> None:
    """Each of those that fail has two tries at the most before the last of the others has had one."""
    failing = data.draw(st.sets(st.sampled_from(names)))
    tried = tried_until_delivered(Turns(), names, failing, 3 * len(names))
    assert set(names) - failing <= set(tried)
    assert all(tried), "each time one goes"
    assert max(map(tried.count, tried)) <= 2


@given(NAMES, st.lists(st.integers(0, 3), max_size=40), st.data())
def test_sessions_at_the_same_time_do_not_lock_each_other(
    names: list[str], ends: list[int], data: st.DataObject
) -> None:
    turns = Turns()
    failing = data.draw(st.sets(st.sampled_from(names)))
    sessions: list[Attempt] = []
    for end in ends:
        if end < len(sessions):
            sessions.pop(end).end(failing)
        else:
            sessions.append(Attempt(turns, data.draw(st.permutations(names))))
    for session in sessions:
        session.end(failing)
    assert Attempt(turns, names).taken


def test_a_message_of_its_own_waits_for_nobody_for_ever() -> None:
    """The others of the first message never come again, and both messages look the same."""
    now = 0.0
    turns = Turns(lambda: now)
    for _ in range(2):
        Attempt(turns, ["a@a.example", "b@b.example"]).end(["a@a.example"])
    assert not Attempt(turns, ["a@a.example"]).taken
    assert Attempt(turns, ["a@a.example"], Envelope("other@sender.example")).taken
    assert Attempt(turns, ["a@a.example"], Envelope("me@sender.example", size=1)).taken
    now = LONGEST + 1
    assert Attempt(turns, ["a@a.example"]).taken


def test_it_is_kept_over_a_reload() -> None:
    former, turns = Turns(), Turns()
    for _ in range(2):
        Attempt(former, ["a@a.example", "b@b.example"]).end(["a@a.example"])
    turns.inherit(former)
    assert Attempt(turns, ["a@a.example", "b@b.example"]).taken == "b@b.example"


def test_what_is_remembered_has_a_bound() -> None:
    turns = Turns(most=20)
    named = ["a@a.example", "b@b.example"]
    for number in range(11):
        for _ in range(2):
            Attempt(turns, named, Envelope(f"{number}@sender.example")).end(named[:1])
    assert Attempt(turns, named[:1], Envelope("0@sender.example")).taken, "the oldest is forgotten"
    assert not Attempt(turns, named[:1], Envelope("1@sender.example")).taken
    many = [f"{number}@{number}.example" for number in range(50)]
    for _ in range(2):
        Attempt(turns, many).end(many[:1])
    assert Attempt(turns, many).taken == many[1], "the newest is not"
