"""What is counted, by relay, lookups, sync and watch: the names that a dashboard or an alert may ask for."""

from pathlib import Path
from typing import TypeAlias

from prometheus_client.metrics import MetricWrapperBase
from prometheus_client.parser import text_string_to_metric_families
from prometheus_client.registry import Collector

from onionmx.config import LocalSection
from onionmx.relay import metrics as relay_metrics
from onionmx.routing.files import RouteFiles
from onionmx.routing.router import Router
from onionmx.serve.metrics import LookupMetrics
from onionmx.sync.lists.outgoing import Outgoing
from onionmx.sync.metrics_file import write_metrics
from onionmx.sync.report import Summary
from onionmx.watch.metrics_file import Counts, metrics_text

Series: TypeAlias = dict[str, tuple[str, ...]]
"""The series of each metric, by its name."""

_ENDS = {"counter": ("_total",), "gauge": ("",), "histogram": ("_bucket", "_sum", "_count")}


def of_daemons() -> Series:
    """What relay and lookups count."""
    router = Router(RouteFiles(LocalSection(), None, None), None)
    relay = (value for value in vars(relay_metrics).values() if isinstance(value, MetricWrapperBase))
    return _declared_by(LookupMetrics(router, Path("no-such-map")), *relay)


def of_sync(folder: Path) -> Series:
    """What the textfile collector finds after a run that has counted everything."""
    path = folder / "onionmx.prom"
    summary = Summary("map.cdb", outgoing=Outgoing(recipients=2, with_route=1))
    write_metrics(path, now=1.0, seconds=1.0, exit_code=0, summary=summary)
    return {family.name: (family.name,) for family in text_string_to_metric_families(path.read_text())}


def of_watch() -> Series:
    """What the textfile collector finds while the watch runs."""
    families = text_string_to_metric_families(metrics_text([], Counts(), 1.0).decode())
    return {family.name: tuple({sample.name for sample in family.samples}) for family in families}


def _declared_by(*collectors: Collector) -> Series:
    families = (family for collector in collectors for family in collector.collect())
    return {family.name: tuple(family.name + end for end in _ENDS[family.type]) for family in families}
