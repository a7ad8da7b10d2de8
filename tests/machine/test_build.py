import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import TemporaryError
from onionmx.machine.build import PACKAGES_FILE, is_same, lay_out, libraries, loader_of, versions
from onionmx.machine.places import SETTINGS, STATE
from tests.e2e.programs import find_program

SAID = """\
\tlinux-vdso.so.1 (0x00007f6b8140b000)
\tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f6b813e4000)
\tlibevent-2.1.so.7 => /usr/lib/x86_64-linux-gnu/libevent-2.1.so.7 (0x00007f6b8138f000)
\t/lib64/ld-linux-x86-64.so.2 (0x00007f6b8140d000)
"""


def test_the_loader_is_that_which_the_program_names() -> None:
    loader = Path(loader_of(Path(find_program("tor")).resolve().read_bytes()))
    assert loader.is_file()
    assert os.access(loader, os.X_OK)


@given(st.binary())
def test_any_file_has_a_loader_or_none(content: bytes) -> None:
    try:
        assert loader_of(content).startswith("/lib")
    except TemporaryError as error:
        assert "names no loader" in str(error)


def test_libraries_are_those_with_a_path() -> None:
    assert libraries(SAID) == {
        "/lib/x86_64-linux-gnu/libz.so.1",
        "/usr/lib/x86_64-linux-gnu/libevent-2.1.so.7",
        "/lib64/ld-linux-x86-64.so.2",
    }


@given(st.text())
def test_whatever_the_loader_says_is_read(said: str) -> None:
    assert all(path.startswith("/") and not set(path) & set(" \n") for path in libraries(said))


@pytest.fixture
def unpacked(tmp_path: Path) -> Path:
    folder = tmp_path / "unpacked"
    for name in ("usr/bin/tor", "usr/bin/sh", "lib/libc.so.6", "usr/share/tor/geoip", "etc/shadow"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(name)
    (folder / "usr/bin/tor").chmod(0o6755)
    (folder / "lib64").mkdir()
    (folder / "lib64/ld.so").symlink_to("/lib/libc.so.6")
    return folder


def test_a_root_has_what_is_taken_and_nothing_else(unpacked: Path, tmp_path: Path) -> None:
    root = tmp_path / "root"
    lay_out(unpacked, root, ["/usr/bin/tor", "/lib64/ld.so"])
    found = {str(path.relative_to(root)) for path in root.rglob("*") if path.is_file() and not path.is_symlink()}
    assert found == {
        *("usr/bin/tor", "usr/lib64/ld.so", "usr/share/tor/geoip"),
        *("etc/passwd", "etc/group", "etc/nsswitch.conf"),
    }
    assert (root / "usr/bin/tor").stat().st_mode & 0o7777 == 0o755
    assert (root / "lib64/ld.so").read_text() == "lib/libc.so.6"
    for path in (STATE, SETTINGS):
        assert (root / str(path)[1:]).is_dir(), "nspawn cannot make a mount point in a root that is read-only"


def test_roots_are_the_same_or_not(unpacked: Path, tmp_path: Path) -> None:
    for name in ("one", "other"):
        lay_out(unpacked, tmp_path / name, ["/usr/bin/tor"])
    assert is_same(tmp_path / "one", tmp_path / "other")
    (tmp_path / "other/usr/bin/tor").write_text("a newer one")
    assert not is_same(tmp_path / "one", tmp_path / "other")


def test_the_packages_of_a_root(tmp_path: Path) -> None:
    assert versions(tmp_path) == {}
    file = tmp_path / PACKAGES_FILE
    file.parent.mkdir(parents=True)
    file.write_text("libc6 2.36-9\ntor 0.4.9.11-0+deb12u1\n")
    assert versions(tmp_path) == {"libc6": "2.36-9", "tor": "0.4.9.11-0+deb12u1"}
