"""Whether Postfix counts each circuit for itself."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import Configuration
from onionmx.doctor.checks.circuits import (
    PREFIX,
    CircuitService,
    Postfix,
    ask_postfix,
    judge_circuits,
    listening_at,
    look_at_circuits,
    read_overrides,
    read_services,
)
from onionmx.doctor.finding import Severity
from onionmx.doctor.machine import Machine
from onionmx.errors import TemporaryError
from onionmx.tor.service.running import OnionService
from onionmx.tor.service.torrc import Forward
from tests.e2e.programs import UNPACKED
from tests.onions import make_onion

FORWARD = Forward(25, "127.0.0.2", 25)
ONION_MX = CircuitService("127.0.0.2:25", "inet", "smtpd")
EVERYBODY = CircuitService("smtp", "inet", "smtpd")
KEY = (ONION_MX.name, ONION_MX.kind)
MASTER = f"""\
smtp      inet  n       -       y       -       -       smtpd
127.0.0.2:25 inet n     -       y       -       50      smtpd
  -o smtpd_upstream_proxy_protocol=haproxy
  -o {{ mynetworks = 10.0.0.1 10.0.0.2 }}
  -o {PREFIX}=$length
smtpd     pass  -       -       y       -       -       smtpd
"""


@pytest.mark.parametrize(
    ("version", "main", "overrides", "severity"),
    [
        ("3.7.11", "", {}, Severity.OK),
        ("3.9.14", "", {}, Severity.OK),
        ("3.10.13", "84", {}, Severity.PROBLEM),
        ("3.10.13", "84", {KEY: "128"}, Severity.OK),
        ("3.10.13", "128", {KEY: "84"}, Severity.PROBLEM),
        ("3.10.13", "128", {}, Severity.OK),
        ("3.12-20260821", "84", {}, Severity.PROBLEM),
        ("4.0.0", "84", {("smtp", "inet"): "128"}, Severity.PROBLEM),
        ("3.10.13", "", {}, Severity.NOT_CHECKED),
        ("", "84", {}, Severity.NOT_CHECKED),
        ("three", "84", {}, Severity.NOT_CHECKED),
    ],
)
def test_judgement(version: str, main: str, overrides: dict[tuple[str, str], str], severity: Severity) -> None:
    finding = judge_circuits(FORWARD, Postfix(version, (EVERYBODY, ONION_MX), main, overrides))
    assert finding.severity is severity, finding
    assert (f"-o {PREFIX}=128\npostfix reload" in finding.fix) is (severity is Severity.PROBLEM)


@pytest.mark.parametrize(
    ("services", "forward", "found"),
    [
        ((EVERYBODY, ONION_MX), FORWARD, ONION_MX),
        ((ONION_MX, EVERYBODY), FORWARD, ONION_MX),
        ((EVERYBODY,), FORWARD, EVERYBODY),
        (
            (CircuitService("127.0.0.2:smtp", "inet", "smtpd"),),
            FORWARD,
            CircuitService("127.0.0.2:smtp", "inet", "smtpd"),
        ),
        (
            (CircuitService("[::2]:25", "inet", "smtpd"),),
            Forward(25, "::2", 25),
            CircuitService("[::2]:25", "inet", "smtpd"),
        ),
        ((CircuitService("127.0.0.1:25", "inet", "smtpd"),), FORWARD, None),
        ((ONION_MX, EVERYBODY), Forward(25, "127.0.0.2", 2525), None),
        ((CircuitService("no-such-port", "inet", "smtpd"), CircuitService("25", "unix", "smtpd")), FORWARD, None),
        ((EVERYBODY,), Forward(25, "unix:/run/mta", None), None),
    ],
)
def test_service_behind_the_onion_service(
    services: Sequence[CircuitService], forward: Forward, found: CircuitService | None
) -> None:
    assert listening_at(forward, services) == found


@pytest.mark.parametrize("services", [(), (CircuitService("127.0.0.2:25", "inet", "postscreen"),)])
def test_what_is_not_known_to_be_an_smtpd(services: Sequence[CircuitService]) -> None:
    assert judge_circuits(FORWARD, Postfix("3.10.13", services, "84")).severity is Severity.NOT_CHECKED


@given(st.text(), st.text(), st.text())
def test_whatever_postconf_says(version: str, services: str, overrides: str) -> None:
    postfix = Postfix(version, read_services(services), "84", read_overrides(overrides, PREFIX))
    for forward in (FORWARD, Forward(25, "unix:/run/mta", None)):
        finding = judge_circuits(forward, postfix)
        assert "\n" not in finding.seen


WORDS = st.text(st.characters(categories=("L", "N", "P"), exclude_characters="/="), min_size=1)


@given(st.lists(st.tuples(WORDS, WORDS, WORDS), unique_by=lambda row: row[:2]))
def test_what_was_written_is_read(rows: list[tuple[str, str, str]]) -> None:
    services = "".join(f"{name} {kind} n - y - 50 {value} -o a=b\n" for name, kind, value in rows)
    assert read_services(services) == [CircuitService(*row) for row in rows]
    overrides = "".join(
        f"{name}/{kind}/x{PREFIX} = 1\n{name}/{kind}/{PREFIX} = {value}\n" for name, kind, value in rows
    )
    assert read_overrides(overrides, PREFIX) == {(name, kind): value for name, kind, value in rows}


@pytest.fixture
def configuration(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder with the configuration of the real Postfix."""
    monkeypatch.setenv("PATH", str(UNPACKED / "usr/sbin"))
    monkeypatch.setenv("LD_LIBRARY_PATH", str(UNPACKED / "usr/lib/postfix"))
    monkeypatch.setenv("MAIL_CONFIG", str(tmp_path))
    (tmp_path / "main.cf").write_text("length = 128\n")
    (tmp_path / "master.cf").write_text(MASTER)
    return tmp_path


@pytest.mark.usefixtures("configuration")
def test_what_the_real_one_says() -> None:
    postfix = asyncio.run(ask_postfix())
    assert postfix.counts_networks is not None
    assert judge_circuits(FORWARD, postfix).severity is Severity.OK
    if postfix.counts_networks:
        assert postfix.services == [EVERYBODY, ONION_MX, CircuitService("smtpd", "pass", "smtpd")]
        assert (postfix.prefix, postfix.overrides) == ("84", {KEY: "128"})


def test_configuration_that_cannot_be_read(configuration: Path) -> None:
    (configuration / "main.cf").unlink()
    with pytest.raises(TemporaryError, match=r"^postconf -h mail_version failed: .*main\.cf: No such file"):
        asyncio.run(ask_postfix())


def test_machine_without_postfix(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("onionmx.doctor.command._PATHS", ())
    with pytest.raises(TemporaryError, match="no Postfix on this machine"):
        asyncio.run(ask_postfix())
    (tmp_path / "postconf").write_text("#!/no/such/interpreter\n")
    (tmp_path / "postconf").chmod(0o755)
    with pytest.raises(TemporaryError, match="postconf -h mail_version cannot be run: No such file"):
        asyncio.run(ask_postfix())


class MachineWith(Machine):
    """A machine whose tor has this service."""

    def __init__(self, service: OnionService) -> None:
        super().__init__(Configuration())
        self._service = service

    async def services(self) -> list[OnionService]:
        return [self._service]


def test_service_whose_ports_are_not_known() -> None:
    unknown = OnionService(make_onion(1), (), None, problem="its ports are not known", ports_known=False)
    [finding] = asyncio.run(look_at_circuits(MachineWith(unknown)))
    assert finding.severity is Severity.NOT_CHECKED
    assert "its ports are not known" in finding.seen


@pytest.mark.usefixtures("configuration")
@pytest.mark.parametrize("options", [{}, {"HiddenServiceExportCircuitID": "haproxy"}])
def test_only_where_tor_tells_circuits(options: dict[str, str]) -> None:
    service = OnionService(make_onion("a"), (FORWARD, Forward(80, "127.0.0.2", 80)), "/var/lib/tor/mx", options)
    [finding] = asyncio.run(look_at_circuits(MachineWith(service)))
    assert finding.severity is Severity.OK
    assert ("Postfix" in finding.seen) is bool(options)
