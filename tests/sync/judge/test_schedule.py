"""When domains are asked again."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from onionmx.sync.judge.rules import Rules
from onionmx.sync.judge.schedule import LONGEST_STRETCH, next_question, next_question_after_none
from onionmx.sync.state.record import DomainRecord, Established, LastAnswer, Pending
from onionmx.target import Trust
from tests.mapfile.maps import A, B, domains
from tests.sync.world import DAY, HOUR, START

RULES = Rules()
ROUTE = Established(((A, 25),), Trust.DNSSEC, START - 10 * DAY, START)
FOUND = DomainRecord("a.example", START, answer=LastAnswer.FOUND, asked_at=START, established=ROUTE)
NONE = DomainRecord("a.example", START, answer=LastAnswer.NONE, asked_at=START)


def wait(record: DomainRecord) -> float:
    return next_question(record, START, RULES) - START


@pytest.mark.parametrize(
    ("ttl", "least"), [(0, HOUR), (60, HOUR), (7200, 7200), (864000, 7 * DAY), (2**31 - 1, 7 * DAY), (None, 7 * DAY)]
)
def test_ttl_within_bounds(ttl: int | None, least: float) -> None:
    assert least <= wait(replace(FOUND, ttl=ttl)) <= 1.1 * least


@pytest.mark.parametrize(("ttl", "least"), [(0, DAY), (3600, DAY), (2 * 86400, 2 * DAY), (864000, 7 * DAY)])
def test_domains_without_an_onion_mx_are_asked_less(ttl: int, least: float) -> None:
    assert least <= wait(replace(NONE, ttl=ttl)) <= 1.1 * least
    assert next_question_after_none("a.example", ttl, START, RULES) - START == wait(replace(NONE, ttl=ttl))


def test_failures_back_off_up_to_a_day() -> None:
    waits = [wait(replace(FOUND, answer=LastAnswer.UNKNOWN, failures=failures)) for failures in (1, 2, 3, 6, 5000)]
    assert [round(seconds / waits[0]) for seconds in waits] == [1, 2, 4, 24, 24]
    assert HOUR <= waits[0] <= 1.1 * HOUR


def test_what_waits_is_looked_at_often() -> None:
    pending = Pending(((B, 25),), Trust.UNSIGNED, START, START, "")
    record = replace(FOUND, ttl=864000, pending=pending)
    assert wait(record) <= 1.1 * RULES.hold / 8
    assert wait(replace(record, pending=replace(pending, endpoints=()))) <= 1.1 * RULES.hold_removal / 8
    assert wait(replace(record, pending=replace(pending, is_refused=True))) >= 7 * DAY


def test_a_first_unsigned_record_is_looked_at_often() -> None:
    route = Established(((A, 25),), Trust.UNSIGNED, START, START)
    record = replace(FOUND, ttl=864000, established=route)
    assert wait(record) <= 1.1 * RULES.hold / 8
    assert wait(replace(record, established=replace(route, since=START - RULES.hold))) >= 7 * DAY
    assert wait(replace(record, established=replace(route, trust=Trust.DNSSEC))) >= 7 * DAY


@given(domains, st.integers(0, 2**31), st.integers(0, 2**40))
def test_never_at_once_and_never_too_late(domain: str, ttl: int, failures: int) -> None:
    for record in (
        replace(FOUND, domain=domain, ttl=ttl),
        replace(NONE, domain=domain, ttl=ttl),
        replace(NONE, domain=domain, answer=LastAnswer.UNKNOWN, failures=failures + 1),
    ):
        assert RULES.min_interval <= wait(record) <= LONGEST_STRETCH * RULES.max_interval


def test_domains_that_were_asked_together_drift_apart() -> None:
    waits = {wait(replace(FOUND, domain=f"{number}.example", ttl=86400)) for number in range(100)}
    assert len(waits) == 100
    assert max(waits) - min(waits) > 0.08 * DAY
