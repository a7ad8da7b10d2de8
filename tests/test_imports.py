"""Imports go one way: the rooms of the design, from the top to the ground."""

import ast
import sys
from collections.abc import Iterator
from pathlib import Path
from subprocess import run

import pytest

PACKAGE = Path(__file__).parent.parent / "onionmx"
FLOORS = [
    {"__main__"},
    {"cli", "route"},  # programs: nothing imports them
    {"setup"},  # from installed to working; runs the others as programs
    {"doctor"},  # looks at everything
    {"relay"},
    {"lookup"},
    {"sync"},
    {"publish"},
    {"authenticate"},
    {"probe"},
    {"tor"},
    {"dns"},
    {"smtp"},
    {"mapfile"},
    {"net"},
    {"daemon"},  # how one runs
    {"config"},
    {"answer"},
    {"target"},
    {"onion", "domain", "reply"},
    {"files", "isolation", "shipped", "sockets", "systemd"},
    {"errors", "defaults", "text"},
]
MODULES = sorted(PACKAGE.rglob("*.py"))
LONGEST_FILE = 400  # lines


def floor(room: str) -> int:
    return next(number for number, rooms in enumerate(FLOORS) if room in rooms)


def room_of(module: str) -> str:
    return module.removeprefix("onionmx.").partition(".")[0]


def imported(path: Path) -> Iterator[str]:
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{path}: relative import"
            yield node.module or ""


@pytest.mark.parametrize("path", MODULES, ids=lambda path: str(path.relative_to(PACKAGE)))
def test_imports_go_downwards(path: Path) -> None:
    own = path.relative_to(PACKAGE).parts[0].removesuffix(".py")
    if own == "__init__":
        assert not [name for name in imported(path) if name.startswith("onionmx")]
        return
    for name in imported(path):
        if name.startswith("onionmx.") and room_of(name) != own:
            assert floor(room_of(name)) > floor(own), f"{own} imports {name}"


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
