"""One run of the acceptance: the parts in their order, two at a time, and what came of them."""

import re
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from . import roots
from .attacker import SECONDS
from .part import Part
from .roots import RELEASES, Root, RootError
from .sandbox import kill_all, run_module

SIDE_BY_SIDE = 2
LIMITS = {
    "package": 900.0,
    "machine": 300.0,
    "documents": 900.0,
    "setup": 900.0,
    "other-mta": 900.0,
    "units": 900.0,
    "attacker": 600.0 + SECONDS,
    "tor-machine": 600.0,
    "upgrade": 900.0,
    "pipeline": 900.0,
    "pod": 900.0,
    "fresh": 5400.0,
}
"""Seconds that a part may take."""

PASSED = "passed"
FAILED = "FAILED"


@dataclass
class Result:
    """What came of a part.

    Args:
        name: of the part.
        outcome: PASSED or FAILED.
        seconds: how long it took.
        versions: of the programs in it.
    """

    name: str
    outcome: str = PASSED
    seconds: float = 0.0
    versions: list[str] = field(default_factory=list)


class Run:
    """One run.

    Args:
        folder: where its files are, logs included.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.results: list[Result] = []
        self._roots: dict[str, Root] = {}
        self._is_over = False

    def do(self, releases: Sequence[str], stages: Sequence[Sequence[Part]]) -> None:
        """Obtain the roots, then do the parts, stage after stage; a part is left out when what it needs has failed."""
        pool = ThreadPoolExecutor(SIDE_BY_SIDE)
        try:
            list(pool.map(self._obtain_root, releases))
            for stage in stages:
                blocked = self._failed_releases()
                list(pool.map(self._do_part, [part for part in stage if part.release not in blocked]))
        finally:
            self._is_over = True
            kill_all()
            pool.shutdown(cancel_futures=True)

    def has_passed(self) -> bool:
        """Whether nothing failed."""
        return all(result.outcome != FAILED for result in self.results)

    def table(self) -> str:
        """What ran, how it ended, how long it took, with which versions."""
        width = max((len(result.name) for result in self.results), default=0)
        return "\n".join(
            f"{result.name:{width}}  {result.seconds:5.0f} s  {result.outcome:7}  {', '.join(result.versions)}".rstrip()
            for result in self.results
        )

    def _failed_releases(self) -> set[str]:
        failed = {result.name.split()[1] for result in self.results if result.outcome != PASSED}
        return failed | (RELEASES.keys() - self._roots.keys())

    def _obtain_root(self, name: str) -> None:
        with self._timed(f"root {name}") as (result, log_path), log_path.open("w") as log:
            try:
                self._roots[name] = roots.obtain(RELEASES[name], log)
            except RootError as error:
                log.write(f"{error}\n")
                result.outcome = FAILED

    def _do_part(self, part: Part) -> None:
        with self._timed(part.name) as (result, log_path):
            with log_path.open("w") as log:
                arguments = [part.to_json()]
                limit = LIMITS[part.kind]
                code = run_module("tests.acceptance.part", arguments, log, network=part.is_online, timeout=limit)
            result.versions = re.findall(r"^version: (.+)$", log_path.read_text(errors="replace"), re.MULTILINE)
            if code:
                result.outcome = FAILED

    @contextmanager
    def _timed(self, name: str) -> Iterator[tuple[Result, Path]]:
        result = Result(name)
        log = self.folder / f"{name.replace(' ', '-')}.log"
        begin = time.monotonic()
        say(f"{name}: begins")
        try:
            yield result, log
        except BaseException:
            result.outcome = FAILED
            raise
        finally:
            result.seconds = time.monotonic() - begin
            self.results.append(result)
            if result.outcome == FAILED and not self._is_over and log.exists():
                say(f"===== {name}: all its output\n{log.read_text(errors='replace')}=====")
            say(f"{name}: {result.outcome}, {result.seconds:.0f} s")


def say(text: str) -> None:
    """Tell the user."""
    print(text, flush=True)
