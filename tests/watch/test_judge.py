"""When an onion service is renewed."""

from typing import Any

import msgspec
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import WatchSection
from onionmx.defaults import DAY
from onionmx.watch.judge import Probed, Reach, Step, Watched, decide, due, forgotten, may_drop_guards, noted
from tests.onions import V3_ONION

SETTINGS = WatchSection()
INTERVAL = SETTINGS.interval
LONG_AGO = -1e6
PROBE = 85.0
"""Seconds that a probe takes at most."""


def run(answers: list[Reach], **known: Any) -> Watched:  # noqa: ANN401 -- fields
    """What is known after probes with these answers, the first of them at 0."""
    watched = None
    for number, reach in enumerate(answers):
        watched = noted(watched, V3_ONION, Probed(reach, "", number * INTERVAL, number * INTERVAL + PROBE))
        watched = msgspec.structs.replace(watched, **known)
    assert watched is not None
    return watched


def ended(answers: list[Reach]) -> float:
    return (len(answers) - 1) * INTERVAL + PROBE


@st.composite
def histories(draw: st.DrawFn) -> tuple[list[Reach], float | None, float, bool]:
    answers = draw(st.lists(st.sampled_from(Reach), min_size=1, max_size=12))
    now = ended(answers)
    renewed = draw(st.none() | st.floats(LONG_AGO, now))
    return answers, renewed, draw(st.floats(LONG_AGO, now)), draw(st.booleans())


@given(histories())
def test_renewed_only_after_an_unbroken_run_of_failures(history: tuple[list[Reach], float | None, float, bool]) -> None:
    answers, renewed, published, is_in_use = history
    now = ended(answers)
    step = decide(run(answers, renewed=renewed), published, now, SETTINGS, is_in_use=is_in_use)
    if step is Step.NOTHING:
        return
    failures = next((number for number, reach in enumerate(reversed(answers)) if reach is not Reach.FAILED), None)
    failures = len(answers) if failures is None else failures
    first = (len(answers) - failures) * INTERVAL
    assert failures
    assert now - first >= SETTINGS.failing_for
    assert now - published >= SETTINGS.publish_pause
    assert renewed is None or now - renewed >= SETTINGS.renewal_pause
    assert is_in_use or step is Step.RENEW


@given(histories())
def test_circuits_in_use_delay_a_renewal_for_a_bounded_time(
    history: tuple[list[Reach], float | None, float, bool],
) -> None:
    answers, renewed, published, _ = history
    watched = run(answers, renewed=renewed)
    when = due(watched, published, SETTINGS)
    if when is None:
        return
    assert decide(watched, published, when, SETTINGS, is_in_use=False) is Step.RENEW
    assert decide(watched, published, when, SETTINGS, is_in_use=True) is Step.WAIT
    late = when + SETTINGS.circuits_delay
    assert decide(watched, published, late, SETTINGS, is_in_use=True) is Step.RENEW


@given(st.floats(0, INTERVAL), st.floats(LONG_AGO, -SETTINGS.publish_pause), st.floats(1, PROBE))
def test_heals_within_17_minutes(wedged: float, published: float, seconds: float) -> None:
    """Where the last descriptor is older than 15 minutes and nobody is connected; a new one takes half a minute."""
    watched = None
    for beat in range(10):
        begun = beat * INTERVAL
        reach = Reach.REACHABLE if begun < wedged else Reach.FAILED
        watched = noted(watched, V3_ONION, Probed(reach, "", begun, begun + seconds))
        if decide(watched, published, begun + seconds, SETTINGS, is_in_use=False) is Step.RENEW:
            assert begun + seconds + 30 - wedged <= 17 * 60
            return
    raise AssertionError("never renewed")


def test_could_not_tell_is_no_failure() -> None:
    answers = [Reach.FAILED, Reach.FAILED, Reach.UNKNOWN, Reach.FAILED, Reach.FAILED]
    assert decide(run(answers), LONG_AGO, ended(answers), SETTINGS, is_in_use=False) is Step.NOTHING
    answers.append(Reach.FAILED)
    assert decide(run(answers), LONG_AGO, ended(answers), SETTINGS, is_in_use=False) is Step.RENEW
    assert due(run([Reach.UNKNOWN] * 100), LONG_AGO, SETTINGS) is None


def test_since_when() -> None:
    watched = run([Reach.REACHABLE, Reach.FAILED, Reach.FAILED])
    assert (watched.failing_since, watched.reachable_since, watched.reached) == (INTERVAL, None, PROBE)
    watched = noted(watched, V3_ONION, Probed(Reach.REACHABLE, "220", 1000.0, 1001.0))
    assert (watched.failing_since, watched.reachable_since, watched.reached) == (None, 1000.0, 1001.0)
    assert watched.words == "220"


def test_a_restart_begins_a_new_run() -> None:
    answers = [Reach.FAILED] * 5
    watched = forgotten(run(answers, renewed=5.0), 2000.0)
    assert (watched.reach, watched.renewed) == (Reach.UNKNOWN, 5.0)
    watched = noted(watched, V3_ONION, Probed(Reach.FAILED, "", 2000.0, 2001.0))
    assert watched.failing_since == 2000.0


def test_guards_are_dropped_only_where_that_is_asked_for_and_once_a_day() -> None:
    assert not may_drop_guards(None, 0.0, SETTINGS)
    asked = WatchSection(drop_guards=True)
    assert may_drop_guards(None, 0.0, asked)
    assert not may_drop_guards(0.0, DAY - 1, asked)
    assert may_drop_guards(0.0, DAY, asked)
