"""What the stores cost with a million known domains; each step in a process of its own."""

import json
import sqlite3
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from tempfile import TemporaryDirectory

from tests.bench.measure import Row
from tests.bench.state_step import KNOWN, SAVED, answer_all, answer_some, list_all, nothing_due
from tests.e2e.programs import PROJECT
from tests.e2e.valkey import ValkeyServer, program_version

MEGABYTE = 1e6
MOST_SECONDS_IDLE = 1.0
"""Of the 3 seconds that a whole run with nothing due may take."""
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
        path = Path(folder, "state.sqlite")
        yield from _measure(f"SQLite {sqlite3.sqlite_version}", str(path), "")
        yield Row(f"size of that file with {KNOWN} domains", f"{path.stat().st_size / MEGABYTE:.0f} MB")
    with ValkeyServer() as server:
        name = " ".join(program_version().split()[:3])
        yield from _measure(name, str(server.address), str(server.password_file))


def _measure(name: str, place: str, password_file: str) -> Iterator[Row]:
    for key, (step, what) in _FIGURES.items():
        command = [sys.executable, "-m", "tests.bench.state_step", step.__name__, place, password_file]
        output = subprocess.run(command, cwd=PROJECT, stdout=subprocess.PIPE, check=True).stdout
        result = json.loads(output)
        seconds, peak = result["seconds"], result["bytes"]
        is_promised = key == "idle" and not password_file
        target = f"at most {MOST_SECONDS_IDLE:g} s" if is_promised else ""
        yield Row(f"{name}: {what}", f"{seconds:.2f} s", target, seconds <= MOST_SECONDS_IDLE if is_promised else None)
        if key != "some":  # the bench itself holds a million names there
            yield Row(
                "  its memory", f"{peak / MEGABYTE:.0f} MB", f"at most {MOST_BYTES / MEGABYTE:g} MB", peak <= MOST_BYTES
            )
