"""Units that were changed, beside those that are shipped; systemd judges both."""

import asyncio
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.doctor.finding import Severity
from onionmx.doctor.isolation.units import exposure, judge_unit, read_exposure, weaker
from tests.e2e.programs import find_program
from tests.serve.test_units import DEPLOY, analyze

UNIT = "onionmx-relay.service"


def measured(path: Path) -> dict[str, float]:
    return read_exposure(analyze("security", "--offline=true", "--json=short", path))


@pytest.mark.parametrize(
    ("change", "severity", "words"),
    [
        ({"DynamicUser=yes": "User=root"}, Severity.PROBLEM, "is root: weaker than shipped in UserOrDynamicUser"),
        (
            {"AmbientCapabilities=": "AmbientCapabilities=CAP_NET_BIND_SERVICE"},
            Severity.PROBLEM,
            "has a capability: weaker than shipped in AmbientCapabilities",
        ),
        (
            {"CapabilityBoundingSet=": "CapabilityBoundingSet=CAP_SYS_ADMIN", "NoNewPrivileges=yes": ""},
            Severity.WARNING,
            "is weaker than shipped in CapabilityBoundingSet",
        ),
        ({"ProtectHome=yes": "ProtectHome=no"}, Severity.WARNING, "is weaker than shipped in ProtectHome"),
        ({"PrivateUsers=yes": "PrivateUsers=no"}, Severity.OK, "but for PrivateUsers, as docs/units.md has it"),
        ({"IPAddressDeny=any": "", "IPAddressAllow=localhost": ""}, Severity.OK, "but for IPAddressDeny"),
        ({"WatchdogSec=30": "WatchdogSec=60"}, None, ""),
    ],
)
def test_changed(tmp_path: Path, change: dict[str, str], severity: Severity | None, words: str) -> None:
    text = (DEPLOY / UNIT).read_text()
    for before, after in change.items():
        assert re.search(f"^{before}$", text, re.MULTILINE)
        text = re.sub(f"^{before}$", after, text, flags=re.MULTILINE)
    (tmp_path / UNIT).write_text(text)
    found = judge_unit("isolation", UNIT, weaker(measured(DEPLOY / UNIT), measured(tmp_path / UNIT)))
    assert [one.severity for one in found] == ([severity] if severity else [])
    assert all(one.seen.startswith(f"units: {UNIT}") and words in one.seen for one in found)


def test_the_command_of_the_administrator_has_what_it_needs() -> None:
    [found] = judge_unit("isolation", "onionmx-map.service", ["RestrictNamespaces"])
    assert found.severity is Severity.OK
    assert "but for RestrictNamespaces, as docs/units.md has it" in found.seen


def test_drop_in_of_this_host_is_none_of_the_shipped_unit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    drop_in = tmp_path / f"{UNIT}.d/weak.conf"
    drop_in.parent.mkdir()
    drop_in.write_text("[Service]\nProtectHome=no\n")
    monkeypatch.setenv("SYSTEMD_UNIT_PATH", f"{tmp_path}:")
    theirs = measured(DEPLOY / UNIT)
    ours = asyncio.run(exposure(str(find_program("systemd-analyze")), DEPLOY / UNIT))
    assert weaker(ours, theirs) == ["ProtectHome"]


@given(st.text())
def test_any_text_is_read_or_refused(text: str) -> None:
    try:
        read_exposure(text)
    except ValueError as error:
        assert "systemd-analyze" in str(error)
