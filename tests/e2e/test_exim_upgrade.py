"""The real helper in a real Exim when it cannot start: broken, short of something, being replaced. Nothing leaks."""

import shlex
import shutil
import sys
import threading
from collections import Counter
from collections.abc import Callable, Iterator
from pathlib import Path

import cdblib
import idna
import pytest

import onionmx
from tests.mapfile.maps import A, make_map

from .conftest import skip_without
from .exim import Exim
from .programs import PROJECT
from .serve_site import dnsport

PROGRAM = str(PROJECT / "programs/onionmx-route")
MAPPED = "alice@mapped.example"
UNMAPPED = "alice@unmapped.example"
REPLACEMENTS = 200
LOAD = 2
"""Exims that ask at the same time."""
TO_TOR, TO_THE_NEXT, WAITS = "transport = onionmx_smtp", "router = clearnet", "cannot be resolved at this time"


class Installation:
    """A copy of the package beside nothing but Python's own library, and a program that runs ours with it.

    Attributes:
        library: where its modules are.
        helper: the program.
    """

    def __init__(self, folder: Path) -> None:
        self.library = folder / "lib"
        self.helper = folder / "onionmx-route"
        self.prepare(self.library)
        self.run_as("exec")
        folder.chmod(0o755)

    def prepare(self, library: Path) -> None:
        """Copy the modules."""
        for module in (onionmx, idna, cdblib):
            source = Path(module.__file__ or "").parent
            shutil.copytree(source, library / module.__name__, ignore=shutil.ignore_patterns("__pycache__"))

    def run_as(self, before: str) -> None:
        """Write the program, which a shell starts with these words in front."""
        python = sys._base_executable  # type: ignore[attr-defined]  # noqa: SLF001 -- without site-packages
        program = f"import runpy, sys; sys.path.insert(0, {str(self.library)!r}); runpy.run_path({PROGRAM!r})"
        self.helper.write_text(f'#!/bin/sh\n{before} {python} -sSBc {shlex.quote(program)} "$@"\n')
        self.helper.chmod(0o755)


@pytest.fixture
def installation(tmp_path: Path) -> Installation:
    (tmp_path / "install").mkdir()
    return Installation(tmp_path / "install")


@pytest.fixture
def exim(tmp_path: Path, installation: Installation) -> Iterator[Exim]:
    skip_without("exim4", "setpriv", "tor")
    make_map(tmp_path / "map.cdb", {"mapped.example": ((A, 25),)})
    with dnsport(tmp_path / "tor") as (host, port):
        macros = {"ONIONMX_HELPER": str(installation.helper), "ONIONMX_MAP": str(tmp_path / "map.cdb")}
        yield Exim(tmp_path / "exim", "sender.example", macros | {"ONIONMX_DNSPORT": f"{host}:{port}"})


def truncate(path: Path, size: int = 300) -> None:
    path.write_bytes(path.read_bytes()[:size])


TROUBLE: dict[str, Callable[[Installation], None]] = {
    "no helper": lambda it: it.helper.unlink(),
    "a module missing": lambda it: (it.library / "onionmx/tor/automap.py").unlink(),
    "a module half written": lambda it: truncate(it.library / "onionmx/mapfile/cdb.py"),
    "the helper half written": lambda it: truncate(it.library / "onionmx/route.py"),
    "a module empty": lambda it: truncate(it.library / "onionmx/errors.py", 0),
    "no package": lambda it: shutil.rmtree(it.library),
    "no standard library": lambda it: it.run_as("PYTHONHOME=/nonexistent exec"),
    "no file descriptors": lambda it: it.run_as("ulimit -n 3; exec"),
    "hardly any memory": lambda it: it.run_as("ulimit -v 10000; exec"),
    "no time": lambda it: it.run_as("ulimit -t 0; exec"),
    "killed": lambda it: it.run_as("kill -9 $$;"),
    "a way to print only": lambda it: it.run_as("exec 2>&-; exec"),
}


@pytest.mark.parametrize("happen", TROUBLE.values(), ids=list(TROUBLE))
def test_helper_that_cannot_answer_defers(
    exim: Exim, installation: Installation, happen: Callable[[Installation], None]
) -> None:
    assert TO_TOR in exim.route_test(MAPPED)
    assert TO_THE_NEXT in exim.route_test(UNMAPPED)
    happen(installation)
    for address in (MAPPED, UNMAPPED):
        said = exim.route_test(address)
        assert TO_THE_NEXT not in said, said
    assert WAITS in exim.route_test(UNMAPPED)


@pytest.mark.parametrize("trouble", ["a module missing", "a module half written", "a module empty", "no package"])
def test_package_that_is_not_whole_is_said_in_one_line(exim: Exim, installation: Installation, trouble: str) -> None:
    TROUBLE[trouble](installation)
    assert "exit code 75: onionmx-route: cannot run: " in exim.route_test(MAPPED)


@pytest.mark.parametrize("limit", ["-n 4", "-n 5", *(f"-v {size}" for size in range(12_000, 28_000, 2_000))])
def test_mail_for_a_mapped_domain_never_leaks_for_want_of_something(
    exim: Exim, installation: Installation, limit: str
) -> None:
    """Somewhere between too little to start and enough for everything it fails in the middle."""
    installation.run_as(f"ulimit {limit}; exec")
    assert TO_THE_NEXT not in exim.route_test(MAPPED)


def test_replacement_under_load_leaks_nothing(exim: Exim, installation: Installation, tmp_path: Path) -> None:
    others = [tmp_path / "install" / name for name in ("next", "former")]
    installation.prepare(others[0])
    answered = threading.Condition()
    outcomes: Counter[str] = Counter()
    leaks: list[str] = []
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            said = exim.route_test(MAPPED)
            with answered:
                if TO_TOR not in said and WAITS not in said:
                    leaks.append(said)
                outcomes[TO_TOR if TO_TOR in said else WAITS] += 1
                answered.notify_all()

    def wait_for_an_answer() -> None:
        with answered:
            count = outcomes.total()
            assert answered.wait_for(lambda: outcomes.total() > count, timeout=60)

    askers = [threading.Thread(target=ask) for _ in range(LOAD)]
    for asker in askers:
        asker.start()
    try:
        for number in range(REPLACEMENTS):
            installation.library.rename(others[1])
            if number % 20 == 0:
                wait_for_an_answer()  # as slow as a package manager
            others[0].rename(installation.library)
            others.reverse()
            wait_for_an_answer()
    finally:
        ended.set()
        for asker in askers:
            asker.join()
    assert leaks == []
    assert outcomes[TO_TOR] > REPLACEMENTS // 2
    assert outcomes[WAITS] > 0
