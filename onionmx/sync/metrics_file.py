"""What the last run of sync did, for the textfile collector of Prometheus' node_exporter.

| metric | meaning |
|---|---|
| `onionmx_sync_last_run_timestamp_seconds` | when the last run ended, Unix time |
| `onionmx_sync_last_success_timestamp_seconds` | when the last run that did its work ended; kept by runs that did not |
| `onionmx_sync_exit_code` | of the last run: 0, or see `onionmx sync --help` |
| `onionmx_sync_duration_seconds` | how long it took |
| `onionmx_sync_map_entries` | entries in the map |
| `onionmx_sync_listed_domains` | domains in the lists |
| `onionmx_sync_asked_domains` | domains that DNS was asked for |
| `onionmx_sync_domains{outcome}` | `added`, `changed`, `removed`, `kept`, `undecided`, `without` |
| `onionmx_sync_waiting_changes` | changes of onions that wait |
| `onionmx_sync_held_removals` | entries that stay in the map because too many would go at once |
| `onionmx_sync_outgoing_recipients` | remote recipients in the logs |
| `onionmx_sync_outgoing_recipients_with_route` | those of them whose domain is in the map |

A run that failed writes the first four only; so a failure is never hidden behind old figures.
"""

import math
import re
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from prometheus_client import CollectorRegistry, Gauge, generate_latest

from onionmx.errors import EXIT_TEMPORARY, OnionmxError, StateError, UsageError
from onionmx.files import read_regular, replacing
from onionmx.sync.report import RunResult, Summary

_MAX_SIZE = 65536  # bytes
_MODE = 0o644  # the collector runs as another user, and there is no domain in it
_SUCCESS = "onionmx_sync_last_success_timestamp_seconds"
_OLD_SUCCESS = re.compile(rf"^{_SUCCESS} (\S+)$", re.MULTILINE)
_METRIC = re.compile(r"^(onionmx_sync_\w+) (\S+)$", re.MULTILINE)
_OUTCOMES = tuple(outcome for outcome in RunResult if outcome is not RunResult.WAITING)


@contextmanager
def measured(name: str) -> Iterator[Callable[[Summary], None]]:
    """Write the file when a run has ended, however it ended; wrong usage is no run.

    Args:
        name: of the file; empty for none.

    Yields:
        Takes what the run did.

    Raises:
        StateError: it cannot be written, after a run that did its work.
    """
    started = time.time()
    summaries: list[Summary] = []

    def write(exit_code: int) -> None:
        if name:
            now = time.time()
            summary = summaries[-1] if summaries else None
            write_metrics(Path(name), now=now, seconds=max(0.0, now - started), exit_code=exit_code, summary=summary)

    try:
        yield summaries.append
    except UsageError:
        raise  # nothing was run
    except BaseException as error:
        with suppress(StateError):  # what ended the run matters more
            write(error.exit_code if isinstance(error, OnionmxError) else EXIT_TEMPORARY)
        raise
    write(0)


def write_metrics(path: Path, *, now: float, seconds: float, exit_code: int, summary: Summary | None = None) -> None:
    """Write the file, in one step.

    Args:
        path: in the folder of the collector, its name ending in `.prom`.
        now: when the run ended, in seconds since 1970.
        seconds: that it took.
        exit_code: with which it ends.
        summary: what it did; `None` for one that failed.

    Raises:
        StateError: it cannot be written.
    """
    registry = CollectorRegistry()

    def gauge(name: str, meaning: str, value: float) -> None:
        Gauge(name, meaning, registry=registry).set(value)

    gauge("onionmx_sync_last_run_timestamp_seconds", "When the last run ended, Unix time.", now)
    success = now if exit_code == 0 else _last_success(path)
    if success is not None:
        gauge(_SUCCESS, "When the last run that did its work ended, Unix time.", success)
    gauge("onionmx_sync_exit_code", "Exit code of the last run.", exit_code)
    gauge("onionmx_sync_duration_seconds", "Seconds that the last run took.", seconds)
    if summary is not None:
        gauge("onionmx_sync_map_entries", "Entries in the map.", summary.entries)
        gauge("onionmx_sync_listed_domains", "Domains in the lists.", summary.listed)
        gauge("onionmx_sync_asked_domains", "Domains that DNS was asked for.", summary.asked)
        outcomes = Gauge("onionmx_sync_domains", "Domains by what became of them.", ["outcome"], registry=registry)
        for outcome in _OUTCOMES:
            outcomes.labels(outcome.value).set(summary.count(outcome))
        gauge("onionmx_sync_waiting_changes", "Changes of onions that wait.", summary.waiting)
        gauge("onionmx_sync_held_removals", "Entries that stay because too many would go at once.", summary.held)
        if summary.outgoing is not None:
            gauge("onionmx_sync_outgoing_recipients", "Remote recipients in the logs.", summary.outgoing.recipients)
            gauge(
                "onionmx_sync_outgoing_recipients_with_route",
                "Remote recipients in the logs whose domain is in the map.",
                summary.outgoing.with_route,
            )
    try:
        with replacing(path, _MODE) as file:
            file.write(generate_latest(registry))
    except OSError as error:
        raise StateError(f"sync.metrics_file {path} cannot be written: {error.strerror or error}") from error


def _last_success(path: Path) -> float | None:
    try:
        found = _OLD_SUCCESS.search(read_regular(path, _MAX_SIZE).decode())
        return float(found[1]) if found else None
    except (OSError, ValueError):
        return None


def read_metrics(path: Path) -> dict[str, float]:
    """What `write_metrics` wrote, by name; those with labels are left out.

    Raises:
        StateError: it cannot be read.
    """
    try:
        text = read_regular(path, _MAX_SIZE).decode()
        return {name: _finite(value) for name, value in _METRIC.findall(text)}
    except OSError as error:
        raise StateError(f"sync.metrics_file {path} cannot be read: {error.strerror or error}") from error
    except ValueError as error:
        raise StateError(f"sync.metrics_file {path} is damaged: {error}") from error


def _finite(text: str) -> float:
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{text} is no number that sync writes")
    return value
