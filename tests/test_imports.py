"""Imports go one way: the rooms of the design, from the top to the ground."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest

pytestmark = pytest.mark.source
PACKAGE = Path(__file__).parent.parent / "onionmx"
FLOORS = [
    {"__main__"},
    {"cli", "route"},  # programs: nothing imports them
    {"setup"},  # from installed to working; runs the others as programs
    {"setup.programs"},
    {"machine"},  # runs programs, and asks tor
    {"selftest"},  # sends to an echo
    {"echo"},
    {"doctor.checks"},  # look at everything
    {"status.look"},  # for the command
    {"doctor.isolation"},  # reads processes and units
    {"doctor"},
    {"relay"},
    {"relay.sessions"},
    {"relay.pages"},
    {"relay.metrics"},
    {"guard"},  # serves as lookups do
    {"serve.run"},
    {"serve.service"},
    {"serve.page"},
    {"serve.http"},
    {"serve"},
    {"serve.protocols"},
    {"status"},  # relay, serve and the command tell it
    {"parts"},  # one configuration, built
    {"routing"},
    {"sync"},
    {"sync.judge"},
    {"sync.lists"},
    {"sync.stores"},
    {"sync.state.valkey"},
    {"sync.state"},
    {"watch"},
    {"publish"},
    {"authenticate.proof"},
    {"authenticate.demand"},
    {"authenticate"},
    {"probe"},
    {"tor.keys"},
    {"tor"},
    {"tor.service"},
    {"dns.bulk"},
    {"dns"},
    {"smtp.client", "smtp.server"},
    {"fallback"},
    {"mapfile"},
    {"net"},
    {"smtp"},
    {"daemon", "saved"},  # how one runs
    {"log"},  # what one says
    {"config"},
    {"answer"},
    {"target"},
    {"onion", "domain"},
    {"credential"},
    {"files", "isolation", "privileges", "shipped", "systemd"},
    {"errors", "defaults", "text", "batches", "clock"},
]
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE = 400  # lines


def floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def room_of(module: str) -> str:
    """The room of a module: the longest of the names on the floors that it begins with."""
    name = module.removeprefix("onionmx.")
    while name and not any(name in rooms for rooms in FLOORS):
        name = name.rpartition(".")[0]
    assert name, f"{module} is on no floor"
    return name


def module_of(path: Path) -> str:
    return ".".join(("onionmx", *path.relative_to(PACKAGE).with_suffix("").parts)).removesuffix(".__init__")


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            # `from onionmx.smtp import client` names a room, too.
            yield from (f"{node.module}.{alias.name}" for alias in node.names if alias.name != "__version__")


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    if module_of(path) == "onionmx":
        assert not [name for name in imported(path) if name.startswith("onionmx")]
        return
    own = room_of(module_of(path))
    for name in imported(path):
        if name.startswith("onionmx.") and room_of(name) != own:
            assert floor(room_of(name)) > floor(own), f"{own} imports {name}"


def test_every_folder_is_a_room() -> None:
    folders = {module_of(path).removeprefix("onionmx.") for path in PACKAGE.rglob("*/__init__.py")}
    assert folders <= set().union(*FLOORS)


def test_route_helper_loads_next_to_nothing() -> None:
    """Each of these would cost more than the whole lookup; Exim runs the helper for each message."""
    heavy = {
        "argparse",
        "dataclasses",
        "enum",
        "hashlib",
        "pathlib",
        "re",
        "socket",
        "typing",
        "dns",
        "click",
        "msgspec",
    }
    code = "import sys; before = set(sys.modules); import onionmx.route; print(*(set(sys.modules) - before))"
    loaded = run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True).stdout.split()
    assert "onionmx.route" in loaded
    assert not heavy & set(loaded)


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_rooms_stay_small(path: Path) -> None:
    assert len(path.read_text().splitlines()) < LONGEST_FILE
