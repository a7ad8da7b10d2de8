"""What tor says of itself."""

import asyncio
import json
import socket
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from pathlib import Path

import msgspec
import pytest

from onionmx.cli import main
from onionmx.config import Configuration, TorSection
from onionmx.doctor.checks import TOPICS
from onionmx.doctor.checks.tor_process import (
    CHECK,
    TorState,
    judge_clock,
    judge_control,
    judge_long_lived_ports,
    judge_tor,
)
from onionmx.doctor.finding import Finding, Severity
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import run_checks

OF_TOR = {
    *("control", "clock", "long-lived-ports", "socks", "extended-errors", "onion-traffic-only", "dnsport", "automap"),
    *("listeners", "onion-service", "forward", "descriptor", "accepts-mail", "open-relay", "rights"),
}
"""The checks that say nothing of a machine where tor does not run."""
AFTER = datetime(2026, 11, 22, 6, 0, tzinfo=UTC)
UNTIL = AFTER + timedelta(hours=3)
DONE = 'NOTICE BOOTSTRAP PROGRESS=100 TAG=done SUMMARY="Done"'
SOUND = TorState("0.4.9.11", "recommended", DONE, True, AFTER, UNTIL, "21,25")  # noqa: FBT003


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
    assert bool(finding.fix) is (severity is not Severity.OK)


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
    assert finding.fix == "torrc: LongLivedPorts 21,22,25"
    assert judge_long_lived_ports("").fix == "torrc: LongLivedPorts 25"


def look(settings: TorSection, limit: float = 60.0) -> dict[str, Finding]:
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
    assert "start tor" in found["tor"].fix
    assert {found[name].severity for name in ("control", "clock", "long-lived-ports")} == {Severity.NOT_CHECKED}


def test_control_port_is_off() -> None:
    server, socks = listening()
    with server:
        found = look(TorSection(control=nothing_there(), socks=socks))
    assert found["tor"].severity is Severity.NOT_CHECKED
    assert found["control"].severity is Severity.WARNING
    assert found["control"].fix.startswith("torrc: ControlSocket /run/tor/control ")
    assert found["clock"].cause == found["tor"].cause == "control"


def test_control_port_that_says_nothing() -> None:
    """The thread that waits for it does not hold up the end of the run."""
    server, control = listening()
    with server:
        found = look(TorSection(control=control), limit=0.5)
        assert {finding.severity for finding in found.values()} == {Severity.NOT_CHECKED}
        assert "no answer within 0.5 s" in found["tor"].seen


@pytest.mark.parametrize("is_debian", [True, False])
@pytest.mark.parametrize("control", ["127.0.0.1:9051", "[::1]:9051", "unix:/run/tor/control", "unix:/run/other"])
def test_no_tcp_port_is_advised_for_this_machine(control: str, is_debian: bool) -> None:  # noqa: FBT001
    fix = judge_control(control, is_debian=is_debian)
    assert "ControlPort" not in fix
    assert "9051" not in fix
    assert fix.count("\n") < 3


def test_control_socket_that_is_there_is_advised() -> None:
    use = 'onionmx.toml: [tor] control = "unix:/run/tor/control"'
    assert judge_control("127.0.0.1:9051", is_debian=True) == use
    assert judge_control("127.0.0.1:9051", is_debian=False).endswith(use)
    assert judge_control("192.0.2.7:9051", is_debian=True).startswith("torrc: ControlPort 192.0.2.7:9051\n")


def test_tor_that_does_not_run_is_said_once(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    control, socks, dnsport = nothing_there(), nothing_there(), nothing_there()
    configuration = tmp_path / "onionmx.toml"
    configuration.write_text(
        f'[tor]\ncontrol = "{control}"\nsocks = "{socks}"\ndnsport = "{dnsport}"\n[local]\ndomains = ["mx.invalid"]\n'
        '[dns]\nnameservers = ["127.0.0.1:9"]\n'
    )
    waiting = [topic.name for topic in TOPICS if topic.name in OF_TOR]
    words = [word for name in ["tor", *waiting] for word in ("--check", name)]
    assert main(["doctor", "--config", str(configuration), *words]) == 1
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[0] for line in lines[:4]] == ["problem", "why:", "fix:", "not"]
    assert lines[3].strip() == f"not checked until then: {', '.join(waiting)}"
    assert lines[4:] == [f"0 ok, 0 warning, 1 problem, {len(waiting)} not checked"]

    assert main(["doctor", "--config", str(configuration), *words, "--json"]) == 1
    report = json.loads(capsys.readouterr().out)
    causes = {one["check"]: (one["severity"], one["cause"]) for one in report["findings"]}
    assert causes == {"tor": ("problem", ""), **dict.fromkeys(waiting, ("not checked", "tor"))}
    assert all(one["seen"] for one in report["findings"])


@pytest.mark.parametrize("version", ["0.4.9.10", "0.4.8.99", "0.3.5.8", "0.4.9.10-dev"])
def test_tor_of_which_a_rendezvous_point_can_take_the_place_of_a_service(version: str) -> None:
    finding = judge_tor(replace(SOUND, version=version))
    assert finding.severity is Severity.PROBLEM
    assert "41297" in finding.why
    assert "deb.torproject.org" in finding.fix


@pytest.mark.parametrize(
    "version", ["0.4.9.11", "0.4.9.11-dev", "0.4.9.100", "0.4.10.1-alpha", "0.5.0.1", "1.0.0.0", "?"]
)
def test_newer_tor_and_one_whose_version_cannot_be_read(version: str) -> None:
    assert judge_tor(replace(SOUND, version=version)).severity is Severity.OK
