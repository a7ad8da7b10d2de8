"""Where an onion service may lead."""

import asyncio
import socket
from pathlib import Path

import pytest

from onionmx.doctor.checks.service import judge_forward, judge_target
from onionmx.doctor.finding import Finding, Severity
from onionmx.tor.service.torrc import Forward
from tests.net.stranger import as_stranger


@pytest.mark.parametrize(
    ("host", "severity"),
    [
        ("127.0.0.1", Severity.PROBLEM),
        ("::1", Severity.PROBLEM),
        ("localhost", Severity.PROBLEM),
        ("127.0.0.2", Severity.OK),
        ("127.13.4.5", Severity.OK),
        ("10.0.0.1", Severity.OK),
        ("192.168.1.9", Severity.OK),
        ("fd00::1", Severity.OK),
        ("8.8.8.8", Severity.PROBLEM),
        ("2001:4860:4860::8888", Severity.PROBLEM),
        ("mail.example.org", Severity.PROBLEM),
    ],
)
def test_target(host: str, severity: Severity) -> None:
    finding = judge_target(Forward(25, host, 2525))
    assert finding.severity is severity
    if severity is Severity.PROBLEM:
        assert finding.fix.splitlines()[0] == "torrc: HiddenServicePort 25 127.0.0.2:2525"


def test_unix_socket_is_no_address_that_anybody_trusts() -> None:
    assert judge_target(Forward(25, "unix:/run/mta", None)).severity is Severity.OK


def test_whether_something_listens() -> None:
    with socket.create_server(("127.0.0.2", 0)) as server:
        forward = Forward(25, "127.0.0.2", server.getsockname()[1])
        (finding,) = asyncio.run(judge_forward(forward))
        assert finding.severity is Severity.OK
    (finding,) = asyncio.run(judge_forward(forward))
    assert finding.severity is Severity.PROBLEM
    assert "Connection refused" in finding.seen
    assert f"master.cf: {forward.target} inet" in finding.fix
    assert f"127.0.0.2.{forward.target_port}'" in finding.fix
    (finding,) = asyncio.run(judge_forward(Forward(25, "unix:/none", None)))
    assert "No such file" in finding.seen


def test_two_faults_of_one_target() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        forward = Forward(25, "127.0.0.1", server.getsockname()[1])
    findings = asyncio.run(judge_forward(forward))
    assert [finding.severity for finding in findings] == [Severity.PROBLEM, Severity.PROBLEM]


def test_socket_that_the_user_may_not_connect_to(tmp_path: Path) -> None:
    async def run() -> list[Finding]:
        path = tmp_path / "mta"
        async with await asyncio.start_unix_server(lambda _, writer: writer.close(), path):
            path.chmod(0)
            with as_stranger():
                return await judge_forward(Forward(25, f"unix:{path}", None))

    severities = [finding.severity for finding in asyncio.run(run())]
    assert severities == [Severity.OK, Severity.NOT_CHECKED]
