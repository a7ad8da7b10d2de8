"""The operator's word on one of several changes, in one store or in several."""

import pytest
from msgspec.structs import replace

from onionmx.errors import UsageError
from onionmx.onion import Endpoint
from onionmx.sync.pending import Words, settle_everywhere
from onionmx.sync.state.overlay import DryRunStore
from onionmx.sync.state.record import DomainRecord, Doubt, Established, Pending
from onionmx.target import Trust
from tests.mapfile.maps import A, B, C

DOMAIN = "a.example"


def store(*changes: tuple[Endpoint, ...]) -> DryRunStore:
    """A route to C, and changes that wait."""
    established = Established(((C, 25),), Trust.UNSIGNED, 1.0, 1.0, is_routed=True)
    waiting = [Pending(each, Trust.UNSIGNED, 1.0, 5.0, "unsigned") for each in changes]
    first, rivals = (waiting[0], tuple(waiting[1:])) if waiting else (None, ())
    made = DryRunStore(None)
    made.save([DomainRecord(DOMAIN, 1.0, listed=True, established=established, pending=first, rivals=rivals)], [])
    return made


def onions(one: DryRunStore) -> tuple[Endpoint, ...]:
    route = one.get([DOMAIN])[DOMAIN].established
    return route.endpoints if route else ()


def accept(word: str, *stores: DryRunStore, held: tuple[str, ...] = ()) -> None:
    settle_everywhere(stores, Words((f"{DOMAIN}{word}",)), 10.0, held)


def test_a_forged_change_that_leads_to_the_right_onion_too_is_not_meant() -> None:
    one = store(((A, 25), (B, 25)), ((A, 25),))
    accept(f"={A}", one)
    assert onions(one) == ((A, 25),)
    alone = store(((A, 25), (B, 25)))
    with pytest.raises(UsageError, match=f"{DOMAIN}=.*,.*"):
        accept(f"={A}", alone)
    accept(f"={A},{B}", alone)
    assert onions(alone) == ((A, 25), (B, 25))


def test_the_port_is_part_of_the_name() -> None:
    one = store(((A, 2525),), ((A, 25),))
    accept(f"={A}", one)
    assert onions(one) == ((A, 25),)


@pytest.mark.parametrize("others", [(), (((B, 25),),)])
def test_the_named_change_waits_in_one_of_two_stores(others: tuple[tuple[Endpoint, ...], ...]) -> None:
    for first in (True, False):
        one, other = store(((A, 25),)), store(*others)
        accept(f"={A}", *((one, other) if first else (other, one)))
        assert (onions(one), onions(other)) == (((A, 25),), ((C, 25),))


def test_one_has_to_be_named_where_two_stores_have_two() -> None:
    one, other = store(((A, 25),)), store(((B, 25),))
    with pytest.raises(UsageError, match="several changes wait"):
        accept("", one, other)
    assert (onions(one), onions(other)) == (((C, 25),), ((C, 25),))
    same = store(((A, 25),))
    accept("", one, same)
    assert (onions(one), onions(same)) == (((A, 25),), ((A, 25),))


def test_an_end_for_want_of_a_proof_is_a_change_too() -> None:
    one, other = store(), store(((A, 25),))
    record = one.get([DOMAIN])[DOMAIN]
    one.save([replace(record, doubt=Doubt(1.0, 5.0, "not proven", "a policy"))], [])
    with pytest.raises(UsageError, match=f"expected one of {DOMAIN}={A}, {DOMAIN}=none"):
        accept("", one, other)
    accept("=none", one, other)
    assert (one.get([DOMAIN])[DOMAIN].doubt, onions(other)) == (None, ((C, 25),))


def test_a_removal_that_is_held_back_has_a_name() -> None:
    one = store()
    for word in ("", "=none"):
        accept(word, one, held=(DOMAIN,))
        with pytest.raises(UsageError):
            accept(word, one)
    with pytest.raises(UsageError, match="no change to"):
        accept(f"={A}", one, held=(DOMAIN,))


@pytest.mark.parametrize("accepted", [(f"{DOMAIN}={A}", f"{DOMAIN}={B}"), (f"{DOMAIN}=",), (DOMAIN, f"{DOMAIN}={A}")])
def test_words_that_say_nothing_or_two_things(accepted: tuple[str, ...]) -> None:
    one = store(((A, 25),))
    with pytest.raises(UsageError):
        settle_everywhere([one], Words(accepted), 10.0)
    assert onions(one) == ((C, 25),)
