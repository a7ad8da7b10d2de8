"""A damaged map never says that a domain has no entry (reviews: one flipped bit did so in 390 of 38 600 lookups)."""

from pathlib import Path
from subprocess import run

import pytest
from cdblib import Writer
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import MapError
from onionmx.mapfile.cdb import MapReader
from onionmx.mapfile.checksum import SIZE, TABLES, Checksums, decode
from onionmx.mapfile.write import publish
from tests.mapfile.maps import A, B, make_map

DOMAINS = [f"{number}.example" for number in range(20)]


@pytest.fixture(name="content", scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    path = tmp_path_factory.mktemp("map") / "map.cdb"
    publish(path, dict.fromkeys(DOMAINS, ((A, 25), (B, 2525))))
    return path.read_bytes()


def answers(path: Path, content: bytes, domains: list[str]) -> set[str]:
    path.write_bytes(content)
    seen = set()
    try:
        with MapReader(path) as reader:
            for domain in domains:
                try:
                    value = reader.get(domain)
                except MapError:
                    seen.add("damaged")
                else:
                    seen.add("none" if value is None else "right" if value == ((A, 25), (B, 2525)) else "other")
    except MapError:
        seen.add("damaged")
    return seen


@pytest.mark.parametrize("bit", [1, 0x10, 0x80])
def test_one_flipped_bit_is_never_no_entry(tmp_path: Path, content: bytes, bit: int) -> None:
    seen = set()
    for place in range(len(content)):
        damaged = bytearray(content)
        damaged[place] ^= bit
        seen |= answers(tmp_path / "map.cdb", bytes(damaged), DOMAINS[place % 20 :][:1] + DOMAINS[:1])
    assert {"damaged", "right"} <= seen
    assert "none" not in seen


@pytest.mark.parametrize("size", [1, 8, 512])
def test_zeros_after_a_power_failure_are_never_no_entry(tmp_path: Path, content: bytes, size: int) -> None:
    for start in range(0, len(content), size):
        damaged = content[:start] + bytes(len(content[start : start + size])) + content[start + size :]
        assert "none" not in answers(tmp_path / "map.cdb", damaged, DOMAINS[start % 20 :][:2])


def test_whole_file_is_checked_where_a_lookup_sees_nothing(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "map.cdb"
    path.write_bytes(content.replace(b":2525", b":2526", 1))
    with MapReader(path) as reader, pytest.raises(MapError, match="checksum"):
        reader.check_whole()
    path.write_bytes(content)
    with MapReader(path) as reader:
        reader.check_whole()


def test_map_of_another_writer_is_read(tmp_path: Path) -> None:
    path = tmp_path / "map.cdb"
    with path.open("wb") as file, Writer(file) as writer:
        writer.put(b"example.org", A.encode())
    with MapReader(path) as reader:
        assert not reader.has_checksums
        reader.check_whole()
        assert (reader.get("example.org"), reader.get("example.net")) == (((A, 25),), None)


@pytest.mark.parametrize("cut", range(1, SIZE, 97))
def test_checksums_cut_off_are_damage(tmp_path: Path, content: bytes, cut: int) -> None:
    assert answers(tmp_path / "map.cdb", content[:-cut], DOMAINS) == {"damaged"}


def test_native_readers_do_not_see_the_checksums(tmp_path: Path) -> None:
    path = make_map(tmp_path / "map.cdb", dict.fromkeys(DOMAINS, ((A, 25),)))
    dumped = run(["cdb", "-d", "-m", path], capture_output=True, text=True, check=True).stdout
    assert dumped.split() == [word for domain in DOMAINS for word in (domain, A)]


def test_map_rewritten_in_place_is_damaged_for_those_who_have_it_open(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "map.cdb"
    path.write_bytes(content)
    other = make_map(tmp_path / "other.cdb", {f"{number}.example": ((B, 25),) for number in range(100, 140)})
    with MapReader(path) as reader:
        with path.open("r+b") as file:  # as cp(1) does it
            file.truncate()
            assert answers_of(reader) == {"damaged"}
            file.write(other.read_bytes())
        assert answers_of(reader) == {"damaged"}


def answers_of(reader: MapReader) -> set[str]:
    seen = set()
    for domain in DOMAINS:
        try:
            seen.add("none" if reader.get(domain) is None else "found")
        except MapError:
            seen.add("damaged")
    return seen


@given(st.binary(max_size=2 * SIZE))
def test_anything_else_is_no_checksums(raw: bytes) -> None:
    assert decode(raw) is None


sums = st.integers(0, 0xFFFFFFFF)


@given(sums, st.lists(sums, min_size=TABLES, max_size=TABLES), sums, st.integers(0, SIZE * 8 - 1))
def test_what_is_written_is_read_and_a_flipped_bit_is_not(header: int, tables: list[int], whole: int, bit: int) -> None:
    raw = Checksums(header, tables, whole).encode()
    read = decode(raw)
    assert read is not None
    assert (read.header, read.tables, read.whole) == (header, tables, whole)
    damaged = bytearray(raw)
    damaged[bit // 8] ^= 1 << bit % 8
    assert decode(bytes(damaged)) is None
