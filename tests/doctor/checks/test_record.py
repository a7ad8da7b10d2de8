"""What the doctor makes of what name servers say."""

import pytest

from onionmx.config import PublishSection
from onionmx.doctor.checks.record import judge_record, judge_signature
from onionmx.doctor.finding import Severity
from onionmx.publish.signatures import Signed
from onionmx.publish.verify import ServerState, ServerView, Verification
from onionmx.target import Target
from tests.mapfile.maps import A, B, C

HERE = [(A, 25), (B, 25)]
SETTINGS = PublishSection(ttl=600)


def server(number: int, *onions: str, state: ServerState | None = None, words: str = "") -> ServerView:
    state = state or (ServerState.SERVES if onions else ServerState.NONE)
    targets = tuple(Target(onion, 25, 0, 5) for onion in onions)
    return ServerView(f"ns{number}.example", f"192.0.2.{number}", state, words, 1, targets)


def found(*servers: ServerView, signed: Signed = Signed.VALID, problem: str = "") -> Verification:
    return Verification("example.org", "example.org", servers, signed, "why", problem)


@pytest.mark.parametrize(
    ("servers", "severity", "words"),
    [
        ([server(1, A)], Severity.OK, "leads to"),
        ([server(1, A, B), server(2, A, B)], Severity.OK, "on 2 name servers"),
        ([server(1, A), server(2, state=ServerState.UNKNOWN, words="no answer")], Severity.OK, "1 addresses"),
        ([server(1, A, C)], Severity.WARNING, "also to others"),
        ([server(1, C)], Severity.PROBLEM, f"ns1.example (192.0.2.1) says {C}"),
        ([server(1, A), server(2, C)], Severity.PROBLEM, "ns2.example"),
        ([server(1, A), server(2)], Severity.PROBLEM, "ns2.example (192.0.2.2) says has none"),
        ([server(1, state=ServerState.DIFFERENT, words="mail.example.org")], Severity.PROBLEM, "mail.example.org"),
        ([server(1), server(2)], Severity.PROBLEM, "has no onion-MX record"),
        ([server(1, state=ServerState.UNKNOWN, words="no answer")], Severity.NOT_CHECKED, "no answer"),
    ],
)
def test_record(servers: list[ServerView], severity: Severity, words: str) -> None:
    finding = judge_record(found(*servers), HERE, SETTINGS)
    assert finding.severity is severity
    assert words in finding.seen
    if severity in {Severity.WARNING, Severity.PROBLEM}:
        assert finding.fix.splitlines() == [
            f"_onion-mx._tcp.example.org. 600 IN SRV 0 5 25 {A}.",
            f"_onion-mx._tcp.example.org. 600 IN SRV 0 5 25 {B}.",
            "onionmx publish example.org",
        ]


def test_zone_that_cannot_be_found() -> None:
    finding = judge_record(found(problem="the resolver is silent"), HERE, SETTINGS)
    assert finding.severity is Severity.NOT_CHECKED
    assert "the resolver is silent" in finding.seen


@pytest.mark.parametrize("here", [None, []])
def test_nothing_to_compare_with(here: list[tuple[str, int]] | None) -> None:
    finding = judge_record(found(server(1, A)), here, SETTINGS)
    assert finding.severity is Severity.NOT_CHECKED
    assert A in finding.seen
    missing = judge_record(found(server(1)), here, SETTINGS)
    assert missing.severity is Severity.PROBLEM
    assert missing.fix == "onionmx onion create"


@pytest.mark.parametrize(
    ("signed", "severity"),
    [
        (Signed.VALID, Severity.OK),
        (Signed.UNSIGNED, Severity.WARNING),
        (Signed.ISLAND, Severity.WARNING),
        (Signed.BOGUS, Severity.PROBLEM),
        (Signed.UNKNOWN, Severity.NOT_CHECKED),
    ],
)
def test_signature(signed: Signed, severity: Severity) -> None:
    finding = judge_signature(found(server(1, A), signed=signed))
    assert finding.severity is severity
    assert bool(finding.fix) is (severity in {Severity.WARNING, Severity.PROBLEM})


@pytest.mark.parametrize(("unknown", "severity"), [("", Severity.PROBLEM), ("its ports", Severity.NOT_CHECKED)])
def test_record_that_may_lead_to_a_service_of_this_tor_that_is_not_known(unknown: str, severity: Severity) -> None:
    finding = judge_record(found(server(1, C)), HERE, SETTINGS, unknown)
    assert finding.severity is severity
    assert unknown in finding.seen
