"""Files that come with onionmx: in the checkout, and the same in the wheel."""

import sys
import zipfile
from pathlib import Path, PurePosixPath
from subprocess import run

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx import shipped as module
from onionmx.cli import main
from onionmx.errors import ConfigurationError
from onionmx.shipped import FOLDERS, NOT_SHIPPED, shipped, shipped_files

PROJECT = Path(__file__).parent.parent
ROOT = shipped("docs").parent  # PROJECT, or a folder of the installed package


@pytest.mark.parametrize("name", ["deploy/onionmx-relay.service", "exim/relay/conf.d", "docs"])
def test_a_shipped_name_has_a_path(name: str) -> None:
    assert shipped(name) == ROOT / name


@pytest.mark.parametrize(
    "name", ["", ".", "/etc/passwd", "pyproject.toml", "exim/../LICENSE", "deploy/debian/build.sh", "deploy/ci"]
)
def test_what_is_not_shipped_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="does not come with onionmx"):
        shipped(name)


def test_an_installation_that_lacks_a_file_says_which(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "PACKAGE", tmp_path)
    (tmp_path / "share").mkdir()
    with pytest.raises(ConfigurationError, match=r"share/exim/conf\.d is missing"):
        shipped("exim/conf.d")


@given(
    st.lists(st.sampled_from(["..", ".", "", "/", "exim", "deploy", "debian", "image", "ci", "docs", "x"])).map(
        "/".join
    )
)
def test_no_name_leads_out_of_what_is_shipped(name: str) -> None:
    try:
        path = shipped(name).resolve()
    except ConfigurationError:
        return
    assert any(path.is_relative_to(ROOT / folder) for folder in FOLDERS)
    assert not any(path.is_relative_to(ROOT / folder) for folder in NOT_SHIPPED)


def test_what_is_shipped_is_what_the_repository_has() -> None:
    for name in shipped_files():
        assert shipped(name).read_bytes() == (PROJECT / name).read_bytes()
    files = [path for folder in FOLDERS for path in (PROJECT / folder).rglob("*") if path.is_file()]
    names = {str(path.relative_to(PROJECT)) for path in files}
    kept = {name for name in names if not any(PurePosixPath(name).is_relative_to(folder) for folder in NOT_SHIPPED)}
    assert kept == set(shipped_files())


@pytest.mark.source
def test_the_wheel_carries_the_same_files(tmp_path: Path) -> None:
    run(
        [sys.executable, "-m", "hatchling", "build", "-t", "wheel", "-d", tmp_path],
        cwd=PROJECT,
        check=True,
        capture_output=True,
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        carried = {name.removeprefix("onionmx/share/"): archive.read(name) for name in archive.namelist()}
    names = list(shipped_files())
    assert {name for name in carried if name.startswith(FOLDERS)} == set(names)
    for name in names:
        assert carried[name] == shipped(name).read_bytes()


def test_the_command_lists_and_finds(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["files"]) == 0
    assert capsys.readouterr().out.splitlines() == list(shipped_files())
    assert main(["files", "exim/conf.d"]) == 0
    assert capsys.readouterr().out == f"{ROOT / 'exim/conf.d'}\n"
    assert main(["files", "nothing"]) == ConfigurationError.exit_code
    assert "onionmx: nothing does not come with onionmx" in capsys.readouterr().err
