"""What the watch has seen and done, for the textfile collector of Prometheus' node_exporter.

| metric | meaning |
|---|---|
| `onionmx_watch_services{state}` | services by the last answer: `reachable`, `failed`, `could_not_tell` |
| `onionmx_watch_last_round_timestamp_seconds` | when the last round of probes ended, Unix time |
| `onionmx_watch_failing_since_timestamp_seconds` | since when the one that has failed longest does; 0 if none does |
| `onionmx_watch_last_renewal_timestamp_seconds` | when a service was last renewed; 0 for never |
| `onionmx_watch_probes_total{result}` | probes by their answer |
| `onionmx_watch_renewals_total{result}` | renewals, `done` and `failed` |
| `onionmx_watch_guards_dropped_total` | how often tor was told to choose other guards |

What is counted begins anew with each start of the watch.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest
from prometheus_client import Counter as CounterMetric

from onionmx.clock import Timestamp
from onionmx.files import replacing
from onionmx.saved import SavedError
from onionmx.watch.judge import Reach, Watched

RENEWED, NOT_RENEWED = "done", "failed"
_MODE = 0o644  # the collector runs as another user, and there is no onion in it


@dataclass
class Counts:
    """What was done since the start.

    Attributes:
        probes: by their answer.
        renewals: by how they ended.
        guards_dropped: how often.
    """

    probes: Counter[Reach] = field(default_factory=Counter)
    renewals: Counter[str] = field(default_factory=Counter)
    guards_dropped: int = 0


def metrics_text(services: Sequence[Watched], counts: Counts, now: Timestamp) -> bytes:
    """The metrics in Prometheus' text format."""
    registry = CollectorRegistry()

    def gauge(name: str, meaning: str, value: float) -> None:
        Gauge(f"onionmx_watch_{name}", meaning, registry=registry).set(value)

    states = Gauge("onionmx_watch_services", "Onion services for mail by state.", ["state"], registry=registry)
    probes = CounterMetric("onionmx_watch_probes", "Probes by their answer.", ["result"], registry=registry)
    for reach in Reach:
        states.labels(_label(reach)).set(sum(service.reach is reach for service in services))
        probes.labels(_label(reach)).inc(counts.probes[reach])
    gauge("last_round_timestamp_seconds", "When the last round of probes ended, Unix time.", now)
    failing = [service.since for service in services if service.reach is Reach.FAILED]
    gauge("failing_since_timestamp_seconds", "Since when a service fails; 0 if none does.", min(failing, default=0))
    renewed = [service.renewed for service in services if service.renewed is not None]
    gauge("last_renewal_timestamp_seconds", "When a service was last renewed; 0 for never.", max(renewed, default=0))
    renewals = CounterMetric("onionmx_watch_renewals", "Renewals by how they ended.", ["result"], registry=registry)
    for result in (RENEWED, NOT_RENEWED):
        renewals.labels(result).inc(counts.renewals[result])
    dropped = CounterMetric(
        "onionmx_watch_guards_dropped", "How often tor was told to choose other guards.", registry=registry
    )
    dropped.inc(counts.guards_dropped)
    return generate_latest(registry)


def write_metrics(path: Path, text: bytes) -> None:
    """Write the file, in one step.

    Raises:
        SavedError: it cannot be written.
    """
    try:
        with replacing(path, _MODE) as file:
            file.write(text)
    except OSError as error:
        raise SavedError(f"watch.metrics_file {path} cannot be written: {error.strerror or error}") from error


def _label(reach: Reach) -> str:
    return reach.value.replace(" ", "_")
