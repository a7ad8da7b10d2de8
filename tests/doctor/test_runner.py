"""Checks side by side: order, deadlines, crashes, choice."""

import asyncio
from collections.abc import Iterator, Sequence
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import Configuration
from onionmx.doctor.checks import CHECKS, ESSENTIAL, TOPICS
from onionmx.doctor.finding import (
    Finding,
    Severity,
    blocking,
    by_cause,
    exit_code,
    not_checked,
    ok,
    problem,
    warning,
)
from onionmx.doctor.machine import Machine, in_thread
from onionmx.doctor.runner import Check, Look, Topic, run_checks
from onionmx.errors import DnsError


@pytest.fixture
def machine() -> Iterator[Machine]:
    machine = Machine(Configuration())
    yield machine
    asyncio.run(machine.close())


def make(name: str, look: Look) -> Check:
    return Check((Topic(name, f"what {name}", f"why {name}"),), look)


def run(machine: Machine, *checks: Check, limit: float = 60.0, wanted: Sequence[str] = ()) -> list[Finding]:
    return asyncio.run(run_checks(checks, machine, limit, wanted))


def test_order_is_that_of_the_checks_whichever_is_ready_first(machine: Machine) -> None:
    second_is_done = asyncio.Event()

    async def slow(_: Machine) -> list[Finding]:
        await second_is_done.wait()
        return [ok("first", "seen")]

    async def fast(_: Machine) -> list[Finding]:
        second_is_done.set()
        return [problem("second", "seen", "line", "own reason")]

    findings = run(machine, make("first", slow), make("second", fast))
    assert [(finding.check, finding.why) for finding in findings] == [("first", "why first"), ("second", "own reason")]


def test_check_that_hangs_or_fails_takes_no_other_down(machine: Machine) -> None:
    async def hang(_: Machine) -> list[Finding]:
        await asyncio.Event().wait()
        return []

    async def crash(_: Machine) -> list[Finding]:
        raise ZeroDivisionError("bug")

    async def fail(_: Machine) -> list[Finding]:
        raise DnsError("no answer")

    async def work(_: Machine) -> list[Finding]:
        return [ok("works", "seen")]

    checks = [make("hangs", hang), make("crashes", crash), make("fails", fail), make("works", work)]
    findings = run(machine, *checks, limit=0.1)
    assert [finding.severity for finding in findings] == [*[Severity.NOT_CHECKED] * 3, Severity.OK]
    assert [finding.seen for finding in findings] == [
        "no answer within 0.1 s",
        "the check failed: ZeroDivisionError: bug",
        "no answer",
        "seen",
    ]


def test_only_what_is_wanted_is_looked_at_and_shown(machine: Machine) -> None:
    async def never(_: Machine) -> list[Finding]:
        raise AssertionError

    async def both(_: Machine) -> list[Finding]:
        return [ok("b", "seen"), ok("a", "seen")]

    two = Check((Topic("a", "", ""), Topic("b", "", "")), both)
    assert [finding.check for finding in run(machine, make("other", never), two, wanted=["b"])] == ["b"]
    assert [finding.check for finding in run(machine, two)] == ["a", "b"]


def test_thread_gives_back_what_it_found_or_raised() -> None:
    def crash() -> int:
        raise DnsError("no answer")

    async def ask() -> int:
        with pytest.raises(DnsError):
            await in_thread(crash)
        return await in_thread(lambda: 5)

    assert asyncio.run(ask()) == 5


def test_exit_codes() -> None:
    good, bad = ok("a", ""), problem("a", "", "")
    assert exit_code([good, warning("a", "", "")], {"a"}) == 0
    assert exit_code([good, bad, not_checked("a", "")], {"a"}) == 1
    assert exit_code([good, not_checked("a", "")], {"a"}) == 75
    assert exit_code([good, not_checked("a", "")], {"b"}) == 0


def test_every_topic_has_a_name_of_its_own_and_says_what_and_why() -> None:
    names = [topic.name for topic in TOPICS]
    assert len(set(names)) == len(names)
    assert all(topic.what and topic.why for topic in TOPICS)
    assert {"tor", "open-relay", "record"} <= ESSENTIAL
    assert sum(len(check.topics) for check in CHECKS) == len(names)


def test_what_waits_names_the_first_cause() -> None:
    silent = blocking(problem("socks", "silent", "line"), "tor")
    waits, chained = not_checked("clock", "seen", "line", "control"), not_checked("control", "seen", cause="tor")
    stopped = blocking(problem("tor", "stopped", "start"))
    found = by_cause([stopped, chained, waits, silent])
    assert [one.cause for one in found] == ["", "tor", "tor", "tor"]
    assert [one.severity for one in found] == [Severity.PROBLEM, *[Severity.NOT_CHECKED] * 3]
    assert [one.fix for one in found] == ["start", "", "", ""]
    # An old tor is a problem too, but not why another port is silent.
    old = problem("tor", "old", "upgrade")
    assert by_cause([old, silent]) == [old, replace(silent, cause="")]


NAMES = st.sampled_from("abcd")
FINDINGS = st.builds(Finding, NAMES, st.sampled_from(Severity), NAMES, cause=st.just("") | NAMES, blocks=st.booleans())


@given(st.lists(FINDINGS))
def test_every_cause_is_a_finding_that_blocks(findings: list[Finding]) -> None:
    found = by_cause(findings)
    assert [one.check for one in found] == [one.check for one in findings]
    for before, after in zip(findings, found, strict=True):
        if after.cause:
            assert after.severity is Severity.NOT_CHECKED
            assert any(one.check == after.cause and one.blocks for one in findings)
        else:
            assert replace(before, cause="") == after
