"""What the stores cost with a million known domains, and a whole run that finds nothing due; each in a process."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from statistics import median
from tempfile import TemporaryDirectory

from tests.bench.bulk_sync import SyncHost
from tests.bench.measure import Row
from tests.bench.state_step import KNOWN, ROUTED_ONE_IN, SAVED, answer_all, answer_some, list_all, names, nothing_due
from tests.e2e.programs import PROJECT
from tests.e2e.valkey import ValkeyServer, program_version

MEGABYTE = 1e6
MOST_SECONDS_IDLE = 1.0
"""Of the 3 seconds that a whole run with nothing due may take."""
MOST_SECONDS_RUN = 3.0
RUNS = 3
NOBODY = 9
"""A port on which no name server listens: nothing is asked."""
MOST_BYTES = 400e6
_FIGURES = {
    "list": (list_all, f"take in a list of {KNOWN} new domains"),
    "save": (answer_all, f"save {KNOWN} records, 1 % with a route"),
    "again": (list_all, "take in the same list again"),
    "idle": (nothing_due, f"a run with {KNOWN} known domains and nothing due"),
    "some": (answer_some, f"save {SAVED} records of these {KNOWN}"),
}


def measure() -> Iterator[Row]:
    """The file first, then a server that makes every write durable before it answers."""
    with TemporaryDirectory(prefix="onionmx-bench-") as folder:
        host = SyncHost(Path(folder), NOBODY, names())
        path = host.state
        yield from _measure(f"SQLite {sqlite3.sqlite_version}", str(path), "", _whole_runs(host))
        yield Row(f"size of that file with {KNOWN} domains", f"{path.stat().st_size / MEGABYTE:.0f} MB")
    with ValkeyServer() as server:
        name = " ".join(program_version().split()[:3])
        yield from _measure(name, str(server.address), str(server.password_file))


def _measure(name: str, place: str, password_file: str, before_some: Iterable[Row] = ()) -> Iterator[Row]:
    for key, (step, what) in _FIGURES.items():
        if key == "some":
            yield from before_some
        command = [sys.executable, "-m", "tests.bench.state_step", step.__name__, place, password_file]
        output = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, check=True).stdout
        result = json.loads(output)
        seconds, peak = result["seconds"], result["bytes"]
        is_promised = key == "idle" and not password_file
        target = f"at most {MOST_SECONDS_IDLE:g} s" if is_promised else ""
        yield Row(f"{name}: {what}", f"{seconds:.2f} s", target, seconds <= MOST_SECONDS_IDLE if is_promised else None)
        if key != "some":  # the bench itself holds a million names there
            yield _memory(peak)


def _whole_runs(host: SyncHost) -> Iterator[Row]:
    """The first run notes that the list is the one that is known, and writes the map; those after it find nothing."""
    first = host.run()
    runs = [host.run() for _ in range(RUNS)]
    if {run.asked for run in (first, *runs)} != {0} or {run.entries for run in runs} != {KNOWN // ROUTED_ONE_IN}:
        raise AssertionError(f"not what was known: {first}, {runs}")
    yield Row(f"onionmx sync with the same list, and the map of {first.entries} routes", f"{first.seconds:.2f} s")
    yield _memory(first.memory)
    seconds = median(run.seconds for run in runs)
    yield Row(
        "onionmx sync after that, the whole run",
        f"{seconds:.2f} s",
        f"at most {MOST_SECONDS_RUN:g} s",
        seconds <= MOST_SECONDS_RUN,
    )
    yield _memory(max(run.memory for run in runs))


def _memory(peak: float) -> Row:
    return Row("  its memory", f"{peak / MEGABYTE:.0f} MB", f"at most {MOST_BYTES / MEGABYTE:g} MB", peak <= MOST_BYTES)
