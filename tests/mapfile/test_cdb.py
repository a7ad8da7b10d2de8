import os
import resource
import struct
from pathlib import Path
from subprocess import run
from tempfile import TemporaryDirectory

import pytest
from cdblib import Writer
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import MapError, OnionError
from onionmx.mapfile.cdb import COULD_NOT_TELL, DEFERS, MapReader, format_value, parse_value
from onionmx.mapfile.checksum import SIZE
from onionmx.mapfile.pins import format_seed
from onionmx.mapfile.write import publish
from onionmx.onion import Endpoint, parse_endpoint
from tests.mapfile.maps import A, B, entries, make_map


@given(entries)
def test_what_is_written_is_read(content: dict[str, tuple[Endpoint, ...]]) -> None:
    with TemporaryDirectory() as folder:
        path = make_map(Path(folder, "map.cdb"), content)
        with MapReader(path) as reader:
            assert dict(reader.entries()) == content
            assert len(reader) == len(content)
            assert all(reader.get(domain) == value for domain, value in content.items())
            assert reader.get("not-there.example.invalid") is None


@given(entries)
def test_file_is_the_one_that_tinycdb_makes_and_checksums(content: dict[str, tuple[Endpoint, ...]]) -> None:
    with TemporaryDirectory() as folder:
        ours = make_map(Path(folder, "ours.cdb"), content)
        theirs = Path(folder, "theirs.cdb")
        run(["cdb", "-c", "-m", theirs], input=format_seed(content).encode(), check=True)
        assert ours.read_bytes()[:-SIZE] == theirs.read_bytes()


def test_tinycdb_reads_the_value(tmp_path: Path) -> None:
    path = make_map(tmp_path / "map.cdb")
    result = run(["cdb", "-q", "-m", path, "example.org"], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == f"{A} {B}:2525"


def test_value_that_defers(tmp_path: Path) -> None:
    path = make_map(tmp_path / "map.cdb", {"example.org": DEFERS})
    result = run(["cdb", "-q", "-m", path, "example.org"], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "could-not-tell.onion"
    with MapReader(path) as reader:
        assert reader.get("example.org") == DEFERS
        assert list(reader.entries()) == [("example.org", DEFERS)]
    assert format_value(parse_value(COULD_NOT_TELL.encode())) == COULD_NOT_TELL.encode()
    with pytest.raises(OnionError):
        parse_endpoint(COULD_NOT_TELL)


@pytest.mark.parametrize(
    "value", [f"{COULD_NOT_TELL} {A}", f"{A} {COULD_NOT_TELL}", f"{COULD_NOT_TELL}:25", COULD_NOT_TELL.upper()]
)
def test_value_that_defers_stands_alone(value: str) -> None:
    with pytest.raises(OnionError):
        parse_value(value.encode())


@pytest.mark.parametrize("size", [0, 1, 2047, 2048, 2100, -1])
def test_truncated_map_is_refused(tmp_path: Path, size: int) -> None:
    path = make_map(tmp_path / "map.cdb")
    content = path.read_bytes()
    path.write_bytes(content[:size])
    with pytest.raises(MapError, match=r"map\.cdb: .*run `onionmx sync`"):
        MapReader(path)


@pytest.mark.parametrize("content", [b"\x7fELF" * 1000, b"\0" * 4096, b"example.org onion\n" * 300, b"\xff" * 2048])
def test_foreign_file_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "map.cdb"
    path.write_bytes(content)
    with pytest.raises(MapError, match="not a CDB"):
        MapReader(path)


def test_missing_map_is_named(tmp_path: Path) -> None:
    with pytest.raises(MapError, match=r"none\.cdb does not exist; write it with `onionmx sync`"):
        MapReader(tmp_path / "none.cdb")


def test_folder_in_the_place_of_the_map(tmp_path: Path) -> None:
    with pytest.raises(MapError, match="cannot be read: Is a directory"):
        MapReader(tmp_path)


def test_name_with_nul() -> None:
    with pytest.raises(MapError, match="cannot be read"):
        MapReader("a\0b")


def test_full_hash_table_is_refused_and_not_searched_for_ever(tmp_path: Path) -> None:
    path = tmp_path / "map.cdb"
    with path.open("wb") as file, Writer(file) as writer:
        writer.put(b"example.org", A.encode())
    content = bytearray(path.read_bytes())
    content[-16:] = struct.pack("<4I", 1, 2048, 2, 2048)
    path.write_bytes(content)
    with MapReader(path) as reader, pytest.raises(MapError, match="full"):
        reader.get("example.org")


@pytest.mark.parametrize("value", [b"", b"example.net", b"\xff", A.encode() + b"\n", A.encode() + b"  " + B.encode()])
def test_entry_with_an_impossible_value_is_damage_and_not_absence(tmp_path: Path, value: bytes) -> None:
    path = tmp_path / "map.cdb"
    with path.open("wb") as file, Writer(file) as writer:
        writer.put(b"example.org", value)
    with MapReader(path) as reader:
        with pytest.raises(MapError, match=r"entry .*example\.org"):
            reader.get("example.org")
        with pytest.raises(MapError, match=r"entry .*example\.org"):
            list(reader.entries())
        assert reader.get("example.net") is None


@given(st.data())
def test_damage_anywhere_raises_nothing_but_its_own_error(data: st.DataObject) -> None:
    with TemporaryDirectory() as folder:
        path = make_map(Path(folder, "map.cdb"), {f"{number}.example": ((A, 25),) for number in range(20)})
        content = bytearray(path.read_bytes())
        for _ in range(data.draw(st.integers(1, 8))):
            content[data.draw(st.integers(0, len(content) - 1))] = data.draw(st.integers(0, 255))
        path.write_bytes(content)
        try:
            with MapReader(path) as reader:
                for domain in ("1.example", "7.example", "x.example"):
                    assert reader.get(domain) in (None, ((A, 25),)) or reader.get(domain)
                list(reader.entries())
        except MapError as error:
            assert str(path) in str(error)


def test_lookup_in_a_large_map_reads_a_few_pages(tmp_path: Path) -> None:
    path = make_map(tmp_path / "map.cdb", {f"{number}.example.org": ((A, 25),) for number in range(100_000)})
    with path.open("rb") as file:
        os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    before = resource.getrusage(resource.RUSAGE_SELF)
    with MapReader(path) as reader:
        assert reader.get("77777.example.org") == ((A, 25),)
    after = resource.getrusage(resource.RUSAGE_SELF)
    faults = after.ru_minflt + after.ru_majflt - before.ru_minflt - before.ru_majflt
    assert faults < path.stat().st_size / resource.getpagesize() / 10


def test_open_map_stays_what_it_was_when_a_new_one_is_published(tmp_path: Path) -> None:
    path = make_map(tmp_path / "map.cdb")
    with MapReader(path) as reader:
        publish(path, {"example.net": ((B, 25),)})
        assert reader.get("example.org") == ((A, 25), (B, 2525))
    with MapReader(path) as reader:
        assert reader.get("example.org") is None
