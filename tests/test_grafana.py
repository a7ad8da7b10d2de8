"""The dashboard in deploy/ shows what is counted, and asks for nothing else."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.registry import Collector

from onionmx.config import LocalSection
from onionmx.relay import metrics as relay_metrics
from onionmx.routing.files import RouteFiles
from onionmx.routing.router import Router
from onionmx.serve.metrics import LookupMetrics

DASHBOARD: dict[str, Any] = json.loads((Path(__file__).parents[1] / "deploy" / "onionmx-grafana.json").read_text())
PANELS = [panel for panel in DASHBOARD["panels"] if panel["type"] != "row"]
EXPRESSIONS = [target["expr"] for panel in PANELS for target in panel["targets"]]
SERIES = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def declared_by(*collectors: Collector) -> dict[str, tuple[str, ...]]:
    """The series of each metric, by its name."""
    families = (family for collector in collectors for family in collector.collect())
    return {family.name: tuple(family.name + end for end in SERIES[family.type]) for family in families}


@pytest.fixture
def of_daemon() -> dict[str, tuple[str, ...]]:
    router = Router(RouteFiles(LocalSection(), None, None), None)
    return declared_by(LookupMetrics(router, Path("no-such-map")))


@pytest.fixture
def of_relay() -> dict[str, tuple[str, ...]]:
    return declared_by(*(value for value in vars(relay_metrics).values() if isinstance(value, MetricWrapperBase)))


def shown() -> set[str]:
    return set(re.findall(r"\bonionmx_\w+", "\n".join(EXPRESSIONS)))


def test_no_panel_asks_for_what_nobody_counts(
    of_daemon: dict[str, tuple[str, ...]], of_relay: dict[str, tuple[str, ...]]
) -> None:
    all_series = {series for metric in (*of_daemon.values(), *of_relay.values()) for series in metric}
    assert shown() <= all_series


def test_everything_that_is_counted_is_on_it(
    of_daemon: dict[str, tuple[str, ...]], of_relay: dict[str, tuple[str, ...]]
) -> None:
    assert [name for name, series in (of_daemon | of_relay).items() if not shown() & set(series)] == []


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
