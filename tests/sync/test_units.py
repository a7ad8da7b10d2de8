"""The units for sync: systemd takes them, root has no rights in them, and they write where the defaults write."""

import re
import subprocess
from pathlib import Path

from onionmx.defaults import STATE_DIRECTORY
from tests.serve.test_units import DEPLOY, analyze

SERVICE, TIMER = "onionmx-sync.service", "onionmx-sync.timer"


def settings(name: str) -> dict[str, str]:
    return dict(re.findall(r"^(\w+)=(.*)$", (DEPLOY / name).read_text(), re.MULTILINE))


def test_systemd_finds_no_mistake(tmp_path: Path) -> None:
    for name in (SERVICE, TIMER):
        # The program is not on every machine that runs tests.
        (tmp_path / name).write_text((DEPLOY / name).read_text().replace("/usr/bin/onionmx", "/bin/true"))
    assert analyze("verify", "--man=no", tmp_path / SERVICE, tmp_path / TIMER) == ""


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


def test_the_line_for_cron() -> None:
    """It is in docs/sync.md; cron takes a `%` for the end of the line (crontab(5))."""
    text = (DEPLOY.parent / "docs/sync.md").read_text()
    path, line = re.findall(r"^    (PATH=\S+)\n    (\S+ \* \* \* \* onionmx .*)$", text, re.MULTILINE)[0]
    minute, *_, command = line.split(None, 6)
    assert 0 < int(minute) < 60
    assert "%" not in line
    wait, sync = command.split("; ")
    assert sync == settings(SERVICE)["ExecStart"].removeprefix("/usr/bin/")
    seconds = subprocess.run(
        ["/bin/sh", "-c", wait.replace("sleep", "echo")],
        env={"PATH": path.removeprefix("PATH=")},
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    assert 0 <= int(seconds) <= 1800
