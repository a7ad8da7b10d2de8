"""What is remembered of names that strangers choose does not grow without end."""

from random import Random

from hypothesis import given
from hypothesis import strategies as st

from onionmx.relay.sessions.backoff import Backoff
from onionmx.relay.sessions.habits import Habits
from onionmx.relay.sessions.recent import REMEMBERED, Recent
from onionmx.smtp.client.states import Chunks, TlsPolicy
from onionmx.smtp.extensions import Extensions
from onionmx.smtp.faults import Obstacle


@given(st.lists(st.tuples(st.integers(0, 20), st.integers())), st.integers(1, 10))
def test_the_last_ones_set_are_kept(items: list[tuple[int, int]], limit: int) -> None:
    recent: Recent[int, int] = Recent(limit)
    for key, value in items:
        recent[key] = value
        assert len(recent) <= limit
    last = list(dict.fromkeys(key for key, _ in reversed(items)))[:limit]
    assert recent == {key: dict(items)[key] for key in last}


def test_onions_of_strangers_fill_no_memory() -> None:
    backoff, habits = Backoff(Random(1)), Habits(TlsPolicy.NEVER)
    for port in range(REMEMBERED + 10):
        endpoint = (f"{port}.onion", 25)
        for _ in range(2):
            backoff.failed(endpoint, "down")
        habits.opened(endpoint, Extensions(chunking=True))
        habits.broken((f"other{port}.onion", 25))
    for remembered in (backoff._failing, habits._announced, habits._unable):  # noqa: SLF001
        assert len(remembered) == REMEMBERED
    assert backoff.refusal(("0.onion", 25)) is None, "forgotten"
    assert backoff.refusal((f"{REMEMBERED}.onion", 25))
    assert habits.chunks(("other0.onion", 25)) is Chunks.ASK
    assert ((f"other{REMEMBERED}.onion", 25), Obstacle.CHUNKS) in habits._unable  # noqa: SLF001
