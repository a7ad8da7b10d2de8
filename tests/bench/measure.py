"""Measuring things in turn, so that whatever else the machine does falls on all of them alike."""

import gc
import os
import subprocess
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from statistics import median


@dataclass(frozen=True, slots=True)
class Row:
    """One line of the table.

    Attributes:
        what: what was measured.
        figure: the result, with its unit.
        target: what is to be reached, empty where nothing was promised.
        reached: whether it was; `None` where nothing was promised.
    """

    what: str
    figure: str
    target: str = ""
    reached: bool | None = None


def at_most(what: str, ratio: float, limit: float) -> Row:
    """A ratio that must not be larger."""
    return Row(what, f"{ratio:.2f} x", f"at most {limit:g} x", ratio <= limit)


def medians(candidates: Mapping[str, Callable[[], object]], rounds: int, warm_up: int = 3) -> dict[str, float]:
    """Seconds that each candidate takes, the median of all rounds; in each round every candidate runs once."""
    times: dict[str, list[float]] = {name: [] for name in candidates}
    gc.disable()
    try:
        for turn in range(-warm_up, rounds):
            for name, candidate in candidates.items():
                start = time.perf_counter()
                candidate()
                if turn >= 0:
                    times[name].append(time.perf_counter() - start)
    finally:
        gc.enable()
    return {name: median(values) for name, values in times.items()}


def process(command: Sequence[str], expected: bytes | None = None) -> Callable[[], None]:
    """A candidate that runs a whole process, and checks what it prints where that is given."""

    def run() -> None:
        output = subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout
        if expected is not None and output.strip() != expected:
            raise AssertionError(f"{command} printed {output!r}, expected {expected!r}")

    return run


def version_of(command: Sequence[str]) -> str:
    """The first line that a program prints of itself."""
    result = subprocess.run(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, check=False)
    return result.stdout.decode().strip().partition("\n")[0]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Seconds that these processes have computed, kernel included (proc(5), stat: utime and stime)."""
    times = (Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[11:13] for pid in pids)
    return sum(int(user) + int(system) for user, system in times) / os.sysconf("SC_CLK_TCK")
