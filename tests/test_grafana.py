"""The dashboard in deploy/ shows what is counted, and asks for nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest

from tests.counted import of_daemons, of_sync

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).parents[1] / "deploy" / "onionmx-grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]


def shown() -> set[str]:
    return set(re.findall(r"\bonionmx_\w+", "\n".join(EXPRESSIONS)))


def test_no_panel_asks_for_what_nobody_counts(tmp_path: Path) -> None:
    counted = of_daemons() | of_sync(tmp_path)
    assert shown() <= {series for metric in counted.values() for series in metric}


def test_everything_that_daemons_count_is_on_it() -> None:
    assert [name for name, series in of_daemons().items() if not shown() & set(series)] == []


def test_it_is_what_grafana_takes() -> None:
    assert DASHBOARD["title"]
    assert DASHBOARD["schemaVersion"] >= 36  # data sources by uid
    identifiers = [panel["id"] for panel in DASHBOARD["panels"]]
    assert len(set(identifiers)) == len(identifiers)
    variables = {variable["name"] for variable in DASHBOARD["templating"]["list"]}
    assert set(re.findall(r"\$\{?(\w+)", json.dumps(PANELS))) - {"__rate_interval"} <= variables
    for panel in PANELS:
        assert panel["title"]
        assert panel["description"]


def test_panels_do_not_overlap() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in DASHBOARD["panels"]:
        place = panel["gridPos"]
        cells = {
            (column, line)
            for column in range(place["x"], place["x"] + place["w"])
            for line in range(place["y"], place["y"] + place["h"])
        }
        assert not taken & cells
        assert place["x"] + place["w"] <= 24
        taken |= cells


@pytest.mark.parametrize("expression", EXPRESSIONS)
def test_brackets_match(expression: str) -> None:
    closing = {")": "(", "}": "{", "]": "["}
    is_open: list[str] = []
    for character in re.sub(r'"[^"]*"', "", expression):
        if character in closing.values():
            is_open.append(character)
        elif character in closing:
            assert is_open.pop() == closing[character]
    assert is_open == []
