"""Records for tests, and a strategy that makes all kinds of them."""

from hypothesis import strategies as st
from msgspec.structs import replace

from onionmx.sync.state.record import (
    DomainRecord,
    Doubt,
    Established,
    HistoryLine,
    How,
    LastAnswer,
    Pending,
    Proof,
    Removal,
)
from onionmx.target import Trust
from tests.onions import make_onion

ENDPOINTS = tuple((make_onion(number), port) for number, port in enumerate((25, 25, 2525)))
DOMAINS = ("a.org", "b.org", "c.example.net", "d.xn--p1ai", "e")
OLD = Established(ENDPOINTS[:1], Trust.DNSSEC, 10.0, 20.0, is_routed=True)
WAITING = Pending(ENDPOINTS[1:], Trust.UNSIGNED, 30.0, 40.0, "seen since yesterday", steady=10.0)

times = st.floats(0, 1e11)
endpoints = st.lists(st.sampled_from(ENDPOINTS), unique=True).map(tuple)
some_endpoints = endpoints.filter(bool)
trusts = st.none() | st.sampled_from(Trust)
established = st.builds(Established, some_endpoints, st.sampled_from(Trust), times, times, st.booleans())
doubts = st.builds(Doubt, times, times, st.text(), st.text(), st.booleans(), times)
removals = st.builds(Removal, st.sampled_from(How), times)
pending = st.builds(Pending, endpoints, trusts, times, times, st.text(), st.booleans(), times)
proofs = st.builds(Proof, some_endpoints, st.text(), st.lists(st.text()).map(tuple), times, times)
records = st.builds(
    DomainRecord,
    domain=st.sampled_from(DOMAINS),
    first_seen=times,
    listed=st.booleans(),
    due_at=times,
    answer=st.sampled_from(LastAnswer),
    asked_at=st.none() | times,
    ttl=st.none() | st.integers(0, 2**31 - 1),
    reason=st.text(),
    failures=st.integers(0, 10_000),
    established=st.none() | established,
    pending=st.none() | pending,
    requirement=st.sampled_from(["", "mta-sts", "dane"]),
    requirement_expires=times,
    proof=st.none() | proofs,
    decision=st.text(),
    former=st.none() | established,
    failing_since=times,
    rivals=st.lists(pending, max_size=4).map(tuple),
    told_at=times,
    refused=st.lists(endpoints, max_size=3).map(tuple),
    removal=st.none() | removals,
    doubt=st.none() | doubts,
    unknown=st.text(),
    unknown_since=times,
    defers_until=times,
    keeps_unproven=st.booleans(),
).filter(lambda record: record.refused or not (record.pending and record.pending.is_refused))
lines = st.builds(HistoryLine, st.sampled_from(DOMAINS), times, st.text(min_size=1), endpoints, trusts, st.text())


def routed(domain: str, **fields: object) -> DomainRecord:
    """A record with a route."""
    return replace(DomainRecord(domain, 1.0, due_at=100.0, answer=LastAnswer.FOUND, established=OLD), **fields)


def taken(domain: str, at: float = 1.0) -> HistoryLine:
    """The first line of its history."""
    return HistoryLine(domain, at, "taken", OLD.endpoints, OLD.trust, "the first one seen")
