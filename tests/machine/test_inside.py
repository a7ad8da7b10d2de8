import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.machine.inside import resolved


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("inside") / "root"
    (root / "usr/lib").mkdir(parents=True)
    (root / "usr/lib/file").write_text("inside")
    (root.parent / "file").write_text("outside")
    for link, target in {
        "lib": "usr/lib",
        "absolute": "/usr/lib/file",
        "usr/up": "../lib/file",
        "escape": "../../../file",
        "usr/lib/round": "round",
    }.items():
        (root / link).symlink_to(target)
    return root


@pytest.mark.parametrize(
    "name", ["/usr/lib/file", "lib/file", "/absolute", "/usr/up", "/lib/../lib/./file", "//lib//file"]
)
def test_links_are_followed_as_inside(root: Path, name: str) -> None:
    assert resolved(root, name) == root / "usr/lib/file"


def test_no_link_leads_out(root: Path) -> None:
    with pytest.raises(FileNotFoundError):
        resolved(root, "/escape")
    with pytest.raises(FileNotFoundError):
        resolved(root, "/../file")


def test_links_that_go_round(root: Path) -> None:
    with pytest.raises(OSError, match=os.strerror(40)):
        resolved(root, "/lib/round")


@given(st.lists(st.sampled_from(["..", ".", "lib", "usr", "up", "file", "escape", "absolute", "round"])))
def test_any_path_is_inside_or_not_there(root: Path, parts: list[str]) -> None:
    try:
        found = resolved(root, "/".join(parts))
    except OSError:
        return
    assert found.resolve().is_relative_to(root.resolve())
