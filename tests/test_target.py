from collections import Counter
from random import Random

from hypothesis import given
from hypothesis import strategies as st

from onionmx.target import Target, order, targets_of
from tests.onions import make_onion

A, B, C = (make_onion(seed) for seed in "abc")
targets = st.lists(
    st.builds(
        Target,
        st.sampled_from([A, B, C]),
        st.integers(1, 65535),
        st.integers(0, 65535),
        st.integers(0, 65535),
    )
)


@given(targets, st.integers())
def test_order_loses_nothing_and_keeps_priorities(records: list[Target], seed: int) -> None:
    ordered = order(records, Random(seed))
    assert set(ordered) == set(records)
    assert len(ordered) == len(set(records))
    assert [target.priority for target in ordered] == sorted(target.priority for target in set(records))
    assert order(reversed(records), Random(seed)) == ordered


def test_first_target_is_chosen_by_weight() -> None:
    """RFC 2782: with weights 10 and 30 the second is first three times out of four."""
    records = [Target(A, weight=10), Target(B, weight=30)]
    random = Random(2782)
    first = Counter(order(records, random)[0].onion for _ in range(10_000))
    assert 0.72 < first[B] / 10_000 < 0.78


def test_weight_zero_has_a_very_small_chance() -> None:
    """RFC 2782: weight 0 is chosen only if the random number is 0, here once in 101 times."""
    records = [Target(A, weight=0), Target(B, weight=100)]
    random = Random(2782)
    first = Counter(order(records, random)[0].onion for _ in range(10_000))
    assert 0 < first[A] < 200


def test_decided_order_is_kept() -> None:
    assert order(targets_of([(B, 25), (A, 26)]), Random(1)) == (Target(B, 25, 0), Target(A, 26, 1))
