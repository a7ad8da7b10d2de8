"""The two programs as pip puts them in place, and what they say while the package is not whole, as in an upgrade."""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from zipfile import ZipFile

import pytest

import onionmx
from tests.mapfile.maps import A, make_map
from tests.net.stranger import folder_for_others

ROOT = Path(__file__).parents[1]
PACKAGE = Path(onionmx.__file__).parent
NAMES = ("onionmx", "onionmx-route")
LOADED_BY_HELPER = (
    "__init__.py",
    "route.py",
    "defaults.py",
    "domain.py",
    "errors.py",
    "onion.py",
    "privileges.py",
    "mapfile/__init__.py",
    "mapfile/cdb.py",
    "net/__init__.py",
    "net/owner.py",
    "tor/__init__.py",
    "tor/automap.py",
)


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """A folder for maps: the helper that root runs is another user when it reads one."""
    with folder_for_others() as folder:
        yield folder


def installed(name: str) -> Path:
    return Path(sys.executable).with_name(name)


def lookup(path: Path, package: Path | None = None) -> "subprocess.CompletedProcess[str]":
    """Ask for a domain of the map, with a DNSPort where nothing listens: the answer is 75 at best."""
    words = [str(installed("onionmx-route")), "--map", str(path), "--dnsport", "127.0.0.1:1", "example.org"]
    environment = os.environ | ({} if package is None else {"PYTHONPATH": str(package.parent)})
    return subprocess.run(words, env=environment, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("name", NAMES)
def test_pip_puts_our_own_file_in_place(name: str) -> None:
    ours, theirs = (
        folder.joinpath(name).read_text().partition("\n") for folder in (ROOT / "programs", installed("x").parent)
    )
    assert ours[0] == "#!python"
    assert Path(theirs[0].removeprefix("#!")).samefile(sys.executable)
    assert ours[2] == theirs[2]


@pytest.mark.source
def test_wheel_has_the_programs_and_no_entry_points(tmp_path: Path) -> None:
    command = [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", str(tmp_path)]
    subprocess.run(command, cwd=ROOT, capture_output=True, check=True)
    (wheel,) = tmp_path.iterdir()
    with ZipFile(wheel) as archive:
        scripts = {name for name in archive.namelist() if ".data/scripts/" in name}
        assert {Path(name).name for name in scripts} == set(NAMES)
        assert all(archive.read(name).startswith(b"#!python\n") for name in scripts)
        assert not [name for name in archive.namelist() if name.endswith("entry_points.txt")]


def test_helper_loads_no_more_than_its_own_modules() -> None:
    """`re` alone, which pip's generated script loads in some versions, costs as much as the lookup."""
    code = (
        "import os, sys; os._exit = sys.exit; before = set(sys.modules)\n"
        f"source = open({str(installed('onionmx-route'))!r}).read(); sys.argv[1:] = ['--help']\n"
        "try:\n    exec(compile(source, 'x', 'exec'))\nexcept SystemExit: pass\n"
        "print('loaded', *(set(sys.modules) - before))"
    )
    done = subprocess.run([sys.executable, "-I", "-c", code], capture_output=True, text=True, check=True)
    loaded = set(done.stdout.rpartition("loaded ")[2].split())
    assert "onionmx.route" in loaded
    assert not {"re", "enum", "typing", "pathlib", "socket", "importlib.metadata"} & loaded


@pytest.mark.parametrize("module", LOADED_BY_HELPER)
def test_helper_never_says_no_route_while_a_module_is_not_whole(module: str, tmp_path: Path) -> None:
    """1 is an answer for which Exim takes the clearnet, and what Python ends with by itself."""
    path = make_map(tmp_path / "map.cdb", {"example.org": ((A, 25),)})
    package = tmp_path / "onionmx"
    shutil.copytree(PACKAGE, package, ignore=shutil.ignore_patterns("__pycache__"))
    assert lookup(path, package).stderr.startswith("onionmx-route: example.org: ")
    broken = package / module
    text = broken.read_bytes()
    for content in (None, b"", text[: len(text) // 2], text[: len(text) // 4], text[:-10] + b"\0" * 10, b"\xff" * 100):
        broken.unlink(missing_ok=True)
        if content is not None:
            broken.write_bytes(content)
        done = lookup(path, package)
        assert (done.returncode, done.stdout) == (75, ""), (content, done.stderr)
        assert done.stderr.count("\n") == 1
        assert done.stderr.startswith("onionmx-route: ")


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("close", ["", "2>&-", ">&- 2>&-"])
def test_package_that_is_gone(name: str, close: str) -> None:
    """A Python that was upgraded under the virtual environment finds nothing in it."""
    command = ["sh", "-c", f'"$@" {close}', "sh", sys.executable, "-I", "-S", str(installed(name)), "example.org"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 75
    if not close:
        assert done.stderr.startswith(f"{name}: cannot run: ModuleNotFoundError: No module named 'onionmx'")
        assert done.stderr.count("\n") == 1
