"""The alerts in deploy/: Prometheus takes them, each comes when it should, and they ask for what is counted."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.counted import of_daemons, of_sync, of_watch
from tests.e2e.programs import find_program

RULES = Path(__file__).parents[1] / "deploy" / "onionmx-alerts.yml"
CASES = Path(__file__).with_name("alerts_test.yml")
ALERTS: list[dict[str, Any]] = [
    rule for group in yaml.safe_load(RULES.read_text())["groups"] for rule in group["rules"]
]


def promtool(*words: str | Path) -> str:
    done = subprocess.run(
        [find_program("promtool"), *words], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    return done.stdout


def test_prometheus_takes_them() -> None:
    assert f"SUCCESS: {len(ALERTS)} rules found" in promtool("check", "rules", RULES)


def test_each_comes_when_it_should_and_only_then(tmp_path: Path) -> None:
    cases = tmp_path / "cases.yml"
    cases.write_text(CASES.read_text().replace("RULES", str(RULES), 1))
    assert "SUCCESS" in promtool("test", "rules", cases)
    tried = set(re.findall(r'alertname="(\w+)"', CASES.read_text()))
    assert tried == {alert["alert"] for alert in ALERTS}


@pytest.mark.parametrize("alert", ALERTS, ids=[alert["alert"] for alert in ALERTS])
def test_it_asks_for_what_is_counted(alert: dict[str, Any], tmp_path: Path) -> None:
    counted = of_daemons() | of_sync(tmp_path) | of_watch()
    named = set(re.findall(r"\bonionmx_\w+", alert["expr"]))
    assert named <= {series for metric in counted.values() for series in metric}


def test_each_says_what_to_do() -> None:
    for alert in ALERTS:
        assert alert["labels"]["severity"] in {"critical", "warning", "info"}
        assert set(alert["annotations"]) == {"summary", "action"}
