import random

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import fields, replace

from onionmx.sync.state.encoding import (
    UnreadableError,
    decode_events,
    decode_pin,
    decode_record,
    encode_event,
    encode_pin,
    encode_record,
)
from onionmx.sync.state.record import DomainRecord, Established, HistoryLine, LastAnswer, Proof
from onionmx.target import Trust

from .records import ENDPOINTS, WAITING, endpoints, lines, records, routed, taken


def decoded(record: DomainRecord, detail: bytes) -> DomainRecord:
    return decode_record(
        record.domain, detail, first_seen=record.first_seen, listed=record.listed, due_at=record.due_at
    )


@given(records)
def test_nothing_of_a_record_is_lost(record: DomainRecord) -> None:
    assert decoded(record, encode_record(record)) == record


@pytest.mark.parametrize(
    ("known", "was_routed"),
    [
        ({"requirement_expires": 5.0}, True),
        ({"requirement": "mta-sts"}, False),
        ({"requirement": "mta-sts", "proof": Proof(ENDPOINTS[:1], "mta-sts", (), 1.0, 2.0)}, True),
        # Never looked at: in the map where no proofs are asked for, and in no other.
        ({}, None),
    ],
)
def test_whether_a_route_of_an_older_version_was_in_the_map(known: dict[str, object], was_routed: bool | None) -> None:  # noqa: FBT001
    record = routed("a.org", established=Established(ENDPOINTS[:1], Trust.UNSIGNED, 1.0, 2.0), **known)
    established = decoded(record, encode_record(record)).established
    assert established
    assert established.is_routed is was_routed


@given(lines)
def test_nothing_of_an_event_is_lost(line: HistoryLine) -> None:
    assert decode_events(line.domain, [encode_event(line)]) == [line]


@given(endpoints)
def test_nothing_of_a_pin_is_lost(pinned: tuple[tuple[str, int], ...]) -> None:
    assert decode_pin("a.org", encode_pin(pinned)) == pinned


def test_no_field_of_a_record_is_left_out() -> None:
    """A field that is added to the record, and forgotten here, would be lost at the next run."""
    full = routed(
        "a.org",
        asked_at=2.0,
        ttl=3,
        reason="r",
        failures=4,
        pending=WAITING,
        requirement="dane",
        requirement_expires=5.0,
        proof=object(),
        decision="d",
        former=object(),
        failing_since=6.0,
        listed=False,
        rivals=(WAITING,),
        told_at=7.0,
        refused=((),),
        removal=object(),
        doubt=object(),
        unknown="u",
        unknown_since=8.0,
        defers_until=9.0,
        keeps_unproven=True,
    )
    default = DomainRecord("", 0.0)
    assert not [field.name for field in fields(full) if getattr(full, field.name) == getattr(default, field.name)]


def test_a_domain_of_which_nothing_is_known_takes_no_space() -> None:
    assert encode_record(DomainRecord("a.org", 1.8e9, due_at=1.8e9)) == b""


def test_a_domain_without_a_route_takes_little() -> None:
    record = DomainRecord("a.org", 1.8e9, due_at=1.8e9, answer=LastAnswer.NONE, asked_at=1.8e9, ttl=3600)
    assert len(encode_record(record)) < 40


@given(records.filter(encode_record), st.randoms(use_true_random=False))
def test_a_flipped_bit_is_noticed(record: DomainRecord, chance: random.Random) -> None:
    detail = bytearray(encode_record(record))
    detail[chance.randrange(len(detail))] ^= 1 << chance.randrange(8)
    with pytest.raises(UnreadableError):
        decoded(record, bytes(detail))


def test_a_record_under_another_name_is_noticed() -> None:
    with pytest.raises(UnreadableError, match=r"b\.org"):
        decoded(replace(routed("a.org"), domain="b.org"), encode_record(routed("a.org")))
    with pytest.raises(UnreadableError, match=r"b\.org"):
        decode_events("b.org", [encode_event(taken("a.org"))])


@given(st.binary(min_size=1))
def test_anything_else_is_not_a_record(content: bytes) -> None:
    with pytest.raises(UnreadableError):
        decoded(DomainRecord("a.org", 1.0), content)
    with pytest.raises(UnreadableError):
        decode_events("a.org", [content])


def test_a_pin_that_is_none() -> None:
    with pytest.raises(UnreadableError, match=r"a\.org"):
        decode_pin("a.org", ENDPOINTS[0][0][:-7])
