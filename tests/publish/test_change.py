import dns.name
import dns.opcode
import dns.tsig
from hypothesis import given
from hypothesis import strategies as st

from onionmx.publish.change import (
    MAX_MESSAGE,
    ChangeResult,
    Current,
    RecordChange,
    batches,
    srv_data,
    to_script,
    to_update,
)
from onionmx.publish.records import OnionMxRecords
from onionmx.target import Target
from tests.onions import make_onion

ZONE = dns.name.from_text("zone.example")
KEY = dns.tsig.Key("a-key-with-a-rather-long-name.zone.example", b"secret", "hmac-sha512")
A, B, C = (Target(make_onion(seed), 25, 0, 5) for seed in "ABC")
NOTHING = Current(ZONE)


def change(domain: str, old: tuple[Target, ...], new: tuple[Target, ...], ttl: int = 60) -> RecordChange:
    return RecordChange(OnionMxRecords(domain, new, 60), Current(ZONE, srv_data(old), ttl if old else 0))


def test_outcomes() -> None:
    assert change("a.zone.example", (), (A,)).outcome is ChangeResult.ADDED
    assert change("a.zone.example", (A,), (A, B)).outcome is ChangeResult.CHANGED
    assert change("a.zone.example", (B, A), (A, B)).outcome is ChangeResult.SAME
    assert change("a.zone.example", (A,), (A,), ttl=61).outcome is ChangeResult.CHANGED
    assert change("a.zone.example", (A,), ()).outcome is ChangeResult.REMOVED
    assert change("a.zone.example", (), ()).outcome is ChangeResult.SAME


def test_the_difference() -> None:
    name = "_onion-mx._tcp.a.zone.example."
    assert list(change("a.zone.example", (A, B), (B, C)).lines()) == [
        f"-{name} 60 IN SRV 0 5 25 {A.onion}.",
        f"+{name} 60 IN SRV 0 5 25 {C.onion}.",
    ]
    assert list(change("a.zone.example", (A,), (A,), ttl=61).lines()) == [
        f"-{name} 61 IN SRV 0 5 25 {A.onion}.",
        f"+{name} 60 IN SRV 0 5 25 {A.onion}.",
    ]
    assert list(change("a.zone.example", (A,), (A,)).lines()) == []


def test_the_message_touches_one_set_of_records() -> None:
    message = to_update([change("a.zone.example", (A,), (B,)), change("b.zone.example", (), (B,))])
    assert message.opcode() == dns.opcode.UPDATE
    name, other = "_onion-mx._tcp.a.zone.example.", "_onion-mx._tcp.b.zone.example."
    assert [rrset.to_text() for rrset in message.prerequisite] == [
        f"{name} 0 IN SRV 0 5 25 {A.onion}.",
        f"{other} NONE SRV",
        f"{other} NONE CNAME",
    ]
    assert [rrset.to_text() for rrset in message.update] == [
        f"{name} ANY SRV",
        f"{name} 60 IN SRV 0 5 25 {B.onion}.",
        f"{other} 60 IN SRV 0 5 25 {B.onion}.",
    ]


def test_the_script_says_what_the_message_says() -> None:
    changes = [
        change("a.zone.example", (A,), (B,)),
        change("b.zone.example", (), (B,)),
        change("c.zone.example", (A,), ()),
    ]
    name, other, third = (f"_onion-mx._tcp.{label}.zone.example." for label in "abc")
    assert to_script(changes, ("192.0.2.1", 5353)).splitlines() == [
        "server 192.0.2.1 5353",
        "zone zone.example.",
        f"prereq yxrrset {name} IN SRV 0 5 25 {A.onion}.",
        f"prereq nxrrset {other} IN SRV",
        f"prereq nxrrset {other} IN CNAME",
        f"prereq yxrrset {third} IN SRV 0 5 25 {A.onion}.",
        f"update delete {name} IN SRV",
        f"update add {name} 60 IN SRV 0 5 25 {B.onion}.",
        f"update add {other} 60 IN SRV 0 5 25 {B.onion}.",
        f"update delete {third} IN SRV",
        "send",
    ]


LABELS = st.from_regex("[a-z0-9]{1,40}", fullmatch=True)
SOME = st.sampled_from([(), (A,), (A, B)])


@given(LABELS, SOME, SOME, st.integers(1, 900))
def test_every_message_fits_and_nothing_gets_lost(
    label: str, old: tuple[Target, ...], new: tuple[Target, ...], count: int
) -> None:
    changes = [change(f"{label}{number}.zone.example", old, new) for number in range(count)]
    divided = list(batches(changes))
    assert [each for batch in divided for each in batch] == changes
    for batch in divided:
        message = to_update(batch)
        message.use_tsig(KEY)
        assert len(message.to_wire()) <= MAX_MESSAGE


def test_messages_are_well_filled() -> None:
    """Twenty messages are enough for 5 000 domains, new or replaced."""
    for old in ((), (A,)):
        changes = [change(f"customer-{number}.zone.example", old, (B,)) for number in range(5000)]
        assert len(list(batches(changes))) <= 20
