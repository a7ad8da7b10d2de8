from hypothesis import given
from hypothesis import strategies as st

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.mapfile.pins import pinned_answer
from onionmx.onion import Endpoint
from onionmx.sync.plan import Decision, Outcome, make_plan
from onionmx.target import Route, Source, Trust, targets_of
from tests.mapfile.maps import A, B, domains, entries, values

Content = dict[str, tuple[Endpoint, ...]]


def found(domain: str, *endpoints: Endpoint) -> Found:
    return Found(Route(domain, targets_of(endpoints), Source.SRV, Trust.UNSIGNED, 60))


def decide(old: tuple[Endpoint, ...], answer: Answer | None) -> Decision:
    answers = {"a.example": answer} if answer else {}
    (decision,) = make_plan({"a.example": old} if old else {}, answers).decisions
    return decision


def outcome(old: tuple[Endpoint, ...], answer: Answer | None) -> Outcome:
    return decide(old, answer).outcome


def test_every_outcome() -> None:
    here = ((A, 25),)
    assert outcome((), found("a.example", (A, 25))) is Outcome.ADDED
    assert outcome(here, found("a.example", (A, 25))) is Outcome.KEPT
    assert outcome(here, found("a.example", (B, 25))) is Outcome.CHANGED
    assert outcome(here, NoRoute("a.example", "no SRV record")) is Outcome.REMOVED
    assert outcome((), NoRoute("a.example", "no SRV record")) is Outcome.WITHOUT
    assert outcome(here, None) is Outcome.REMOVED
    assert outcome(here, CouldNotTell("a.example", "SERVFAIL")) is Outcome.UNDECIDED
    assert outcome((), CouldNotTell("a.example", "SERVFAIL")) is Outcome.UNDECIDED


def test_failed_lookup_keeps_the_entry_and_says_why() -> None:
    decision = decide(((A, 25),), CouldNotTell("a.example", "SERVFAIL"))
    assert decision.new == ((A, 25),)
    assert decision.reason == "SERVFAIL"


def test_pin_to_none_removes() -> None:
    decision = decide(((A, 25),), pinned_answer("a.example", ()))
    assert (decision.outcome, decision.new, decision.reason) == (Outcome.REMOVED, (), "pinned to none")


answers = st.one_of(
    st.none(),
    st.builds(lambda value: found("x", *value), values),
    st.just(NoRoute("x", "no SRV record")),
    st.just(CouldNotTell("x", "SERVFAIL")),
)


@given(entries, st.dictionaries(domains, answers))
def test_no_failure_loses_an_entry_and_no_entry_comes_from_nowhere(
    old: Content, drawn: dict[str, Answer | None]
) -> None:
    given_answers = {domain: answer for domain, answer in drawn.items() if answer}
    plan = make_plan(old, given_answers)
    assert list(plan.entries) == sorted(plan.entries)
    assert sum(plan.count(kind) for kind in Outcome) == len(plan.decisions)
    for domain in old.keys() | given_answers.keys():
        match given_answers.get(domain):
            case Found(route):
                assert plan.entries[domain] == route.endpoints
            case CouldNotTell():
                assert plan.entries.get(domain) == old.get(domain)
            case _:
                assert domain not in plan.entries
