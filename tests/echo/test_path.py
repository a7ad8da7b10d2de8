"""Which way a message came, for the layouts in which mail is run."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.echo.path import Way, circuit_of, path_of
from onionmx.echo.received import Hop

LOCAL = Hop("alice", "", "sender.example", "local")
RELAY = Hop("", "", "sender.example", "LMTP", is_relay=True)
TOR = Hop("sender.example", "127.0.0.1", "mx.example", "esmtp")
CIRCUIT = Hop("sender.example", "fc00:dead:beef:4dad::12:3456", "mx.example", "esmtp")
CLEARNET = Hop("sender.example", "8.8.8.8", "mx.example", "esmtps", "TLS1.3")
INTERNAL = Hop("app.sender.example", "10.0.0.5", "sender.example", "esmtp")
TO_FILTER = Hop("mx.example", "127.0.0.1", "localhost", "ESMTP")
FROM_FILTER = Hop("localhost", "127.0.0.1", "mx.example", "ESMTP")
BY_ITSELF = Hop("mx.example", "127.0.0.1", "mx.example", "ESMTP")
OTHER_FILTER = Hop("filter.sender.example", "127.0.0.1", "sender.example", "ESMTP")
TOR_ELSEWHERE = Hop("sender.example", "10.0.0.2", "mx.example", "esmtp")

LAYOUTS: dict[str, tuple[Sequence[Hop], Way]] = {
    "tor beside the MX": ([LOCAL, TOR], Way.ONION),
    "circuits as addresses": ([LOCAL, CIRCUIT], Way.ONION),
    "circuits, and a mail store in a private network behind": (
        [LOCAL, CIRCUIT, Hop("mx.example", "10.0.0.7", "store.example")],
        Way.ONION,
    ),
    "circuits, and a filter behind that greets by another name": ([LOCAL, CIRCUIT, OTHER_FILTER], Way.ONION),
    "by a circuit to a host that sends it on over the clearnet, or to a mail store": (
        [LOCAL, CIRCUIT, Hop("mx.example", "8.8.4.4", "store.example")],
        Way.UNKNOWN,
    ),
    "a filter of the sending host that greets by another name, and a private network": (
        [LOCAL, OTHER_FILTER, TOR_ELSEWHERE],
        Way.UNKNOWN,
    ),
    "a filter of the sending host that greets by another name, and no address": (
        [LOCAL, OTHER_FILTER, Hop("sender.example", "", "mx.example", "ESMTP")],
        Way.UNKNOWN,
    ),
    "a store behind tor, by a unix socket": ([LOCAL, TOR, Hop("mx.example", "", "store.example", "LMTP")], Way.ONION),
    "a user whose name has a dot": ([Hop("first.last", "", "mx.example", "local"), TOR], Way.ONION),
    "the relay, and a mail store with a public address behind": (
        [LOCAL, RELAY, TOR, Hop("mx.example", "8.8.4.4", "store.example")],
        Way.ONION,
    ),
    "the relay, and tor on another machine": ([LOCAL, RELAY, TOR_ELSEWHERE], Way.ONION),
    "a filter behind": ([LOCAL, TOR, TO_FILTER, FROM_FILTER, BY_ITSELF], Way.ONION),
    "from an internal host": ([INTERNAL, TOR], Way.ONION),
    "clearnet": ([LOCAL, CLEARNET], Way.CLEARNET),
    "clearnet, with a filter behind": ([LOCAL, CLEARNET, TO_FILTER, FROM_FILTER], Way.CLEARNET),
    "clearnet, with something before that looks like tor": ([LOCAL, TOR, CLEARNET], Way.CLEARNET),
    "a private network": ([LOCAL, TOR_ELSEWHERE], Way.UNKNOWN),
    "never left the host": ([LOCAL, FROM_FILTER], Way.UNKNOWN),
    "no address": ([Hop("x", "not an address", "y")], Way.UNKNOWN),
    "nothing": ([], Way.UNKNOWN),
}


@pytest.mark.parametrize("layout", LAYOUTS)
def test_layouts(layout: str) -> None:
    hops, way = LAYOUTS[layout]
    path = path_of(hops)
    assert path.way is way
    assert path.reason


def test_tor_on_a_machine_of_its_own_that_is_named() -> None:
    assert path_of([LOCAL, TOR_ELSEWHERE], ["10.0.0.2"]).way is Way.ONION
    assert path_of([LOCAL, Hop("sender.example", "10.0.0.3", "mx.example")], ["10.0.0.2"]).way is Way.CLEARNET
    assert path_of([LOCAL, TOR], ["10.0.0.2"]).way is Way.CLEARNET


def test_the_number_of_a_circuit() -> None:
    assert circuit_of(CIRCUIT) == 0x123456
    assert circuit_of(TOR) is None
    assert circuit_of(Hop(address="fc00:dead:beef:4dae::1")) is None


HOPS = st.lists(st.sampled_from([LOCAL, TOR, INTERNAL, TO_FILTER, FROM_FILTER, BY_ITSELF, TOR_ELSEWHERE, CLEARNET]))


@given(HOPS)
def test_a_leak_is_never_taken_for_an_onion(hops: list[Hop]) -> None:
    """After a host has it from a public address, only tor at a later one makes it a way over Tor.

    What is unsure behind that one leaves nothing shown.
    """
    if CLEARNET in hops:
        behind = hops[len(hops) - hops[::-1].index(CLEARNET) :]
        of_tor = [hop for hop in behind if hop in {TOR, INTERNAL, TOR_ELSEWHERE}]
        expected = Way.ONION if of_tor and of_tor[-1] == TOR else Way.CLEARNET
        assert path_of(hops).way is expected
