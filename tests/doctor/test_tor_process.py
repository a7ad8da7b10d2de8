"""What tor says of itself."""

import asyncio
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from onionmx.config import Configuration, TorSection
from onionmx.doctor.finding import Finding, Severity
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import run_checks
from onionmx.doctor.tor_process import CHECK, State, judge_clock, judge_long_lived_ports, judge_tor

AFTER = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
UNTIL = AFTER + timedelta(hours=3)
DONE = 'NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY="Done"'
SOUND = State("0.4.9.11", "recommended", DONE, True, AFTER, UNTIL, "21,25")  # noqa: FBT003


@pytest.mark.parametrize(
    ("praise", "severity"),
    [
        ("recommended", Severity.OK),
        ("new", Severity.OK),
        ("new in series", Severity.OK),
        ("unknown", Severity.OK),
        ("none recommended", Severity.OK),
        ("old", Severity.WARNING),
        ("unrecommended", Severity.PROBLEM),
        ("obsolete", Severity.PROBLEM),
    ],
)
def test_version(praise: str, severity: Severity) -> None:
    finding = judge_tor(replace(SOUND, praise=praise))
    assert finding.severity is severity
    assert "0.4.9.11" in finding.seen
    assert bool(finding.mend) is (severity is not Severity.OK)


def test_tor_that_has_not_reached_the_network() -> None:
    stuck = 'WARN BOOTSTRAP PROGRESS=14 TAG=handshake SUMMARY="Handshaking" WARNING="No route to host" REASON=NOROUTE'
    finding = judge_tor(replace(SOUND, bootstrap=stuck))
    assert finding.severity is Severity.PROBLEM
    assert "14 %" in finding.seen
    assert "No route to host" in finding.seen
    assert judge_tor(replace(SOUND, has_circuits=False)).severity is Severity.PROBLEM


@pytest.mark.parametrize(
    ("now", "severity", "words"),
    [
        (AFTER, Severity.OK, ""),
        (AFTER - timedelta(minutes=4), Severity.OK, ""),
        (AFTER - timedelta(minutes=6), Severity.PROBLEM, "slow"),
        (UNTIL, Severity.OK, ""),
        (UNTIL + timedelta(minutes=1), Severity.WARNING, "fast"),
        (UNTIL + timedelta(hours=24, minutes=1), Severity.PROBLEM, "fast"),
    ],
)
def test_clock(now: datetime, severity: Severity, words: str) -> None:
    finding = judge_clock(now, AFTER, UNTIL)
    assert finding.severity is severity
    assert words in finding.seen


def test_clock_without_a_consensus() -> None:
    assert judge_clock(AFTER, None, None).severity is Severity.NOT_CHECKED


def test_long_lived_ports() -> None:
    assert judge_long_lived_ports("21, 25 ,6667").severity is Severity.OK
    finding = judge_long_lived_ports("21,22")
    assert finding.severity is Severity.WARNING
    assert finding.mend == "torrc: LongLivedPorts 21,22,25"
    assert judge_long_lived_ports("").mend == "torrc: LongLivedPorts 25"


def look(settings: TorSection, limit: float = 10.0) -> dict[str, Finding]:
    async def run() -> list[Finding]:
        machine = Machine(msgspec.structs.replace(Configuration(), tor=settings))
        try:
            return await run_checks([CHECK], machine, limit)
        finally:
            await machine.close()

    return {finding.check: finding for finding in asyncio.run(run())}


def nothing_there() -> str:
    server, address = listening()
    server.close()
    return address


def listening() -> tuple[socket.socket, str]:
    server = socket.create_server(("127.0.0.1", 0))
    return server, "{}:{}".format(*server.getsockname())


def test_nothing_runs() -> None:
    found = look(TorSection(control=nothing_there(), socks=nothing_there()))
    assert found["tor"].severity is Severity.PROBLEM
    assert "start tor" in found["tor"].mend
    assert {found[name].severity for name in ("control", "clock", "long-lived-ports")} == {Severity.NOT_CHECKED}


def test_control_port_is_off() -> None:
    server, socks = listening()
    with server:
        found = look(TorSection(control=nothing_there(), socks=socks))
    assert found["tor"].severity is Severity.NOT_CHECKED
    assert found["control"].severity is Severity.WARNING
    assert "ControlPort" in found["control"].mend


def test_control_port_that_says_nothing() -> None:
    """The thread that waits for it does not hold up the end of the run."""
    server, control = listening()
    with server:
        found = look(TorSection(control=control), limit=0.5)
        assert {finding.severity for finding in found.values()} == {Severity.NOT_CHECKED}
        assert "no answer within 0.5 s" in found["tor"].seen
