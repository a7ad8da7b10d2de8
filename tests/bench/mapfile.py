"""One lookup in a map of a million domains."""

import platform
import resource
from collections.abc import Callable, Iterator
from importlib.metadata import version
from pathlib import Path
from tempfile import TemporaryDirectory

from onionmx.mapfile.cdb import MapReader
from tests.bench.measure import Row, at_most, medians, process
from tests.mapfile.maps import A, make_map

LARGE = 1_000_000
SMALL = 1_000
ROUNDS = 300
MOST_OF_THE_FILE = 0.001  # pages touched by one lookup, as a part of the whole file


def measure() -> Iterator[Row]:
    """Open, look up and close, in a large and in a small map; tinycdb's `cdb -q` beside it."""
    with TemporaryDirectory(prefix="onionmx-bench-") as name:
        large = make_map(Path(name, "large.cdb"), {f"{number}.example.org": ((A, 25),) for number in range(LARGE)})
        small = make_map(Path(name, "small.cdb"), {f"{number}.example.org": ((A, 25),) for number in range(SMALL)})
        pages = _pages_touched(_lookup(large))
        part = pages * resource.getpagesize() / large.stat().st_size
        times = medians({"large": _lookup(large), "small": _lookup(small)}, ROUNDS)
        peer = process(["cdb", "-q", str(large), "777.example.org"], A.encode())
        peer()
    what = f"map get in {LARGE} entries (pure-cdb {version('pure-cdb')}, Python {platform.python_version()})"
    yield Row(what, f"{times['large'] * 1e6:.0f} us")
    yield at_most(f"map get, {LARGE} / {SMALL} entries", times["large"] / times["small"], 2)
    yield Row(
        "memory pages that it touches", f"{pages} ({part:.4%} of the file)", "not the whole", part < MOST_OF_THE_FILE
    )


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
