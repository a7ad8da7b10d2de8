"""The whole probe: subjects, routes, all targets, and what they come to together."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.errors import DomainError, InputError, OnionError
from onionmx.net.stream import SocketStream
from onionmx.onion import Endpoint
from onionmx.probe.report import Report
from onionmx.probe.run import parse_subject, probe
from onionmx.target import Route, Source, Target, Trust
from onionmx.tor.socks import Cause, SocksError, over_tor
from tests.mapfile.maps import A, B
from tests.onions import V2_ONION, make_onion
from tests.probe.mx import Mx, ask_for, connector_of, run
from tests.relay.peer import running

ROUTE = Route("example.org", (Target(A, 25, 1, 2), Target(B, 2525, 3)), Source.SRV, Trust.UNSIGNED, 60)


def probe_domain(answer: Answer, mx: Mx, dead: Cause | Exception | None = None) -> Report:
    """Probe a domain with this answer; with `dead`, the second target cannot be reached."""
    reports: list[Report] = []

    async def ask(domain: str) -> Answer:
        assert domain == "example.org"
        return answer

    async def session() -> None:
        async with running(mx):
            connector = connector_of(mx)

            async def connect(endpoint: Endpoint) -> SocketStream:
                if dead and endpoint == (B, 2525):
                    raise dead if isinstance(dead, Exception) else SocksError(endpoint, dead)
                return await over_tor(connector)(endpoint)

            try:
                reports.append(await probe("example.org", ask_for("user@example.org"), ask, connect))
            finally:
                connector.close()
                await mx.finish()

    run(session())
    return reports[0]


def test_all_targets_in_the_order_of_the_route() -> None:
    mx = Mx()
    report = probe_domain(Found(ROUTE), mx)
    assert tuple(one.target for one in report.targets) == ROUTE.targets
    assert sorted(mx.targets) == sorted(ROUTE.endpoints)
    assert (report.exit_code, report.causes) == (0, ())
    assert report.seconds >= report.route_seconds >= 0


def test_one_dead_backup() -> None:
    report = probe_domain(Found(ROUTE), Mx(), Cause.DESCRIPTOR_NOT_FOUND)
    assert [one.exit_code for one in report.targets] == [0, 75]
    assert report.exit_code == 75
    assert report.causes == (f"{B}:2525: connect: {Cause.DESCRIPTOR_NOT_FOUND.words}",)


def test_a_fault_of_ours_at_one_target(caplog: pytest.LogCaptureFixture) -> None:
    report = probe_domain(Found(ROUTE), Mx(), RecursionError("deep"))
    assert [one.exit_code for one in report.targets] == [0, 75]
    (cause,) = report.causes
    assert "internal error, which the log describes: RecursionError: deep" in cause
    assert "Traceback" in caplog.text


def test_one_refused_and_one_dead() -> None:
    report = probe_domain(Found(ROUTE), Mx(replies={"RCPT": "550 5.1.1 no\r\n"}), Cause.TIMEOUT)
    assert [one.exit_code for one in report.targets] == [1, 75]
    assert report.exit_code == 75
    assert report.causes[0] == f"{A}: RCPT: 550 5.1.1 no"


@pytest.mark.parametrize(
    ("answer", "exit_code"),
    [(NoRoute("example.org", "no SRV record"), 1), (CouldNotTell("example.org", "no answer"), 75)],
)
def test_without_a_route(answer: NoRoute | CouldNotTell, exit_code: int) -> None:
    mx = Mx()
    report = probe_domain(answer, mx)
    assert (report.exit_code, report.targets, report.causes) == (exit_code, (), (f"route: {answer.reason}",))
    assert mx.targets == []


def test_subjects() -> None:
    assert parse_subject("EXAMPLE.org.") == "example.org"
    assert parse_subject(A.upper()) == (A, 25)
    assert parse_subject(f"{A}.") == (A, 25)
    assert parse_subject(f"{A}:2525") == (A, 2525)


@pytest.mark.parametrize(
    ("text", "error", "words"),
    [
        ("user@example.org", DomainError, "e-mail address"),
        ("", DomainError, "empty"),
        (V2_ONION, OnionError, "version 2"),
        (f"{A}:0", OnionError, "not a port"),
        (make_onion("mistyped", spoil_checksum=True), OnionError, "wrong checksum"),
        ("example.org:25", DomainError, "contains ':'"),
    ],
)
def test_subjects_that_are_none(text: str, error: type[Exception], words: str) -> None:
    with pytest.raises(error, match=words):
        parse_subject(text)


@given(st.text(max_size=80))
def test_any_subject(text: str) -> None:
    try:
        subject = parse_subject(text)
    except InputError as error:
        assert str(error)
    else:
        assert subject
