"""A map of a million domains: writing it, and one lookup in it."""

import platform
import resource
import time
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from cdblib import Writer

from onionmx.mapfile.cdb import MapReader
from tests.bench.measure import Row, at_most, medians, process
from tests.mapfile.maps import A, make_map

LARGE = 1_000_000
SMALL = 1_000
ROUNDS = 300
MOST_SECONDS = 12.0
"""For writing the large map and putting it in its place."""
MOST_OF_THE_FILE = 0.001  # pages touched by one lookup, as a part of the whole file


def measure() -> Iterator[Row]:
    """Write; open, look up and close, in a large and in a small map; tinycdb's `cdb -q` beside it."""
    with TemporaryDirectory(prefix="onionmx-bench-") as name:
        entries = {f"{number}.example.org": ((A, 25),) for number in range(LARGE)}
        begin = time.perf_counter()
        large = make_map(Path(name, "large.cdb"), entries)
        seconds = time.perf_counter() - begin
        alone = _by_the_library_alone(Path(name, "alone.cdb"))
        small = make_map(Path(name, "small.cdb"), {f"{number}.example.org": ((A, 25),) for number in range(SMALL)})
        pages = _pages_touched(_lookup(large))
        part = pages * resource.getpagesize() / large.stat().st_size
        times = medians({"large": _lookup(large), "small": _lookup(small)}, ROUNDS)
        peer = process(["cdb", "-q", str(large), "777.example.org"], A.encode())
        peer()
    yield Row(
        f"map of {LARGE} entries, written, read back and put in place",
        f"{seconds:.1f} s",
        f"at most {MOST_SECONDS:g} s",
        seconds <= MOST_SECONDS,
    )
    yield Row("  of it in cdblib, with records that are ready", f"{alone:.1f} s")
    what = f"map get in {LARGE} entries (pure-cdb {version('pure-cdb')}, Python {platform.python_version()})"
    yield Row(what, f"{times['large'] * 1e6:.0f} us")
    yield at_most(f"map get, {LARGE} / {SMALL} entries", times["large"] / times["small"], 2)
    yield Row(
        "memory pages that it touches", f"{pages} ({part:.4%} of the file)", "not the whole", part < MOST_OF_THE_FILE
    )


def _by_the_library_alone(path: Path) -> float:
    records = [(b"%d.example.org" % number, A.encode()) for number in range(LARGE)]
    with path.open("wb") as file:
        begin = time.perf_counter()
        writer = Writer(file)
        for key, value in records:
            writer.put(key, value)
        writer.finalize()
        return time.perf_counter() - begin


def _lookup(path: Path) -> Callable[[], object]:
    def run() -> object:
        with MapReader(path) as reader:
            if reader.get("777.example.org") != ((A, 25),):
                raise AssertionError("wrong answer")
            return reader

    return run


def _pages_touched(candidate: Callable[[], object]) -> int:
    candidate()
    before = resource.getrusage(resource.RUSAGE_SELF)
    candidate()
    after = resource.getrusage(resource.RUSAGE_SELF)
    return after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt
