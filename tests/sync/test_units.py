"""The units for sync: systemd takes them, root has no rights in them, and they write where the defaults write."""

import re
from pathlib import Path

from onionmx.defaults import STATE_DIRECTORY
from tests.lookup.test_units import DEPLOY, analyze

SERVICE, TIMER = "onionmx-sync.service", "onionmx-sync.timer"


def settings(name: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / name).read_text(), re.MULTILINE))


def test_systemd_finds_no_mistake(tmp_path: Path) -> None:
    for name in (SERVICE, TIMER):
        # The program is not on every machine that runs tests.
        (tmp_path / name).write_text((DEPLOY / name).read_text().replace("/usr/bin/onionmx", "/bin/true"))
    assert analyze("verify", tmp_path / SERVICE, tmp_path / TIMER) == ""


def test_the_sandbox_is_tight() -> None:
    exposure = re.search(
        r"Overall exposure level for \S+: ([\d.]+)", analyze("security", "--offline=true", DEPLOY / SERVICE)
    )
    assert exposure
    assert float(exposure[1]) <= 1.8


def test_it_writes_where_the_defaults_write() -> None:
    assert f"/var/lib/{settings(SERVICE)['StateDirectory']}" == STATE_DIRECTORY


def test_hosts_do_not_ask_at_the_same_time() -> None:
    timer = settings(TIMER)
    assert timer["RandomizedDelaySec"] == "1h"
    assert timer["FixedRandomDelay"] == "yes"
    assert "next elapse" in analyze("calendar", timer["OnCalendar"]).lower()
