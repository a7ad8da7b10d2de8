"""The file of released domains: written whole, and believed only where it is certainly the relay's and of now."""

import os
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from cdblib import Writer

from onionmx.errors import MapError
from onionmx.fallback.released import LONGEST, VALUE, is_released
from onionmx.fallback.writing import has_entries, read_released, write_released
from onionmx.mapfile.cdb import MapReader
from onionmx.mapfile.write import publish_records
from tests.mapfile.maps import A

DOMAIN = "released.example"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    write_released(tmp_path / "released.cdb", (DOMAIN, "xn--bcher-kva.example"))
    return tmp_path / "released.cdb"


def test_readers_and_postfix_find_what_was_written(file: Path) -> None:
    assert is_released(str(file), DOMAIN)
    assert not is_released(str(file), "other.example")
    assert not is_released(str(file), f"sub.{DOMAIN}")
    with MapReader(file) as reader:
        assert dict(reader.records()) == {
            DOMAIN.encode(): b":",
            b"xn--bcher-kva.example": b":",
            "bücher.example".encode(): b":",
        }
    now = read_released(file)
    assert sorted(now.domains) == [DOMAIN, "xn--bcher-kva.example"]
    assert abs(now.confirmed - time.time()) < LONGEST


@pytest.mark.parametrize("mask", [0o000, 0o077, 0o777])
def test_readable_for_all_whatever_the_umask(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        write_released(tmp_path / "released.cdb", (DOMAIN,))
    finally:
        os.umask(before)
    assert (tmp_path / "released.cdb").stat().st_mode & 0o777 == 0o644


def test_empty_file(tmp_path: Path) -> None:
    path = tmp_path / "released.cdb"
    assert not has_entries(path)
    write_released(path, ())
    assert path.exists()
    assert not has_entries(path)
    assert read_released(path).domains == ()


def test_names_under_onion_are_not_believed(tmp_path: Path) -> None:
    path = tmp_path / "released.cdb"
    write_released(path, (A, f"x.{A}"))
    assert not is_released(str(path), A)
    assert not is_released(str(path), f"x.{A}")


def foreign(path: Path) -> None:
    path.unlink()
    with path.open("wb") as stream, Writer(stream) as writer:
        writer.put(DOMAIN.encode(), VALUE)


def other_value(path: Path) -> None:
    publish_records(path, [(DOMAIN.encode(), b"smtp:")])


def fifo(path: Path) -> None:
    path.unlink()
    os.mkfifo(path)


def link(path: Path) -> None:
    path.rename(path.with_name("elsewhere"))
    path.symlink_to("elsewhere")


def folder(path: Path) -> None:
    path.unlink()
    path.mkdir()


def device(path: Path) -> None:
    path.unlink()
    path.symlink_to("/dev/zero")


def aged(seconds: float) -> Callable[[Path], None]:
    def change(path: Path) -> None:
        then = time.time() - seconds
        os.utime(path, (then, then))

    return change


def cut(size: int) -> Callable[[Path], None]:
    return lambda path: os.truncate(path, size)


def flipped(path: Path) -> None:
    content = bytearray(path.read_bytes())
    for place in range(2048, len(content)):
        content[place] ^= 0xFF
    path.write_bytes(content)


FAULTS: dict[str, Callable[[Path], None]] = {
    "missing": Path.unlink,
    "empty": cut(0),
    "half": cut(1000),
    "without tables": cut(2060),
    "damaged": flipped,
    "foreign": foreign,
    "another value": other_value,
    "FIFO": fifo,
    "link": link,
    "folder": folder,
    "old": aged(LONGEST + 60),
    "from the future": aged(-600),
    "device": device,
}


@pytest.mark.parametrize("fault", FAULTS)
def test_with_any_doubt_nothing_is_released(file: Path, fault: str) -> None:
    FAULTS[fault](file)
    assert not is_released(str(file), DOMAIN)


def test_file_is_as_old_as_what_it_says(tmp_path: Path) -> None:
    path = tmp_path / "released.cdb"
    write_released(path, (DOMAIN,), age=LONGEST + 10)
    assert not is_released(str(path), DOMAIN)
    with pytest.raises(MapError, match="was not confirmed"):
        read_released(path)
