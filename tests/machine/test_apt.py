from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import ConfigurationError
from onionmx.machine.apt import release_of, sources


@pytest.mark.parametrize("value", ["bookworm", '"bookworm"', "'bookworm'"])
def test_the_release(value: str) -> None:
    assert release_of(f'ID=debian\nVERSION_CODENAME={value}\nVERSION="12 (bookworm)"\n') == "bookworm"


@pytest.mark.parametrize(
    "text", ["", "ID=debian\n", "VERSION_CODENAME=\n", "VERSION_CODENAME=../etc\n", "#VERSION_CODENAME=x\n"]
)
def test_a_host_without_a_release(text: str) -> None:
    with pytest.raises(ConfigurationError, match="VERSION_CODENAME"):
        release_of(text)


@given(st.text())
def test_whatever_is_there_is_no_option_and_no_path(text: str) -> None:
    try:
        name = release_of(text)
    except ConfigurationError:
        return
    assert name
    assert set(name) <= set("abcdefghijklmnopqrstuvwxyz0123456789-")


def test_all_files_of_sources_are_taken(tmp_path: Path) -> None:
    parts = tmp_path / "sources.list.d"
    parts.mkdir()
    for name in ("b.list", "a.sources", "c.sources.disabled", "old.list.bak"):
        (parts / name).write_text("x\n")
    (tmp_path / "sources.list").write_text("")
    assert sources(tmp_path) == [parts / "a.sources", parts / "b.list"]
    (tmp_path / "sources.list").write_text("deb x y z\n")
    assert sources(tmp_path)[0] == tmp_path / "sources.list"


def test_no_sources(tmp_path: Path) -> None:
    with pytest.raises(ConfigurationError, match="has no sources"):
        sources(tmp_path)
