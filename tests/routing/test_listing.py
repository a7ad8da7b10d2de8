"""The list of all domains: the same as one lookup after the other, for whatever is in the files."""

import os
import tempfile
import time
from collections.abc import Mapping
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from onionmx.answer import CouldNotTell, Found
from onionmx.config import LocalSection
from onionmx.domain import normalize
from onionmx.errors import ConfigurationError, DomainError, MapError, MissingMapError
from onionmx.fallback.released import LONGEST
from onionmx.fallback.writing import write_released
from onionmx.mapfile.cdb import DEFERS, MapReader, format_value
from onionmx.mapfile.write import publish_records
from onionmx.onion import Endpoint
from onionmx.routing import files as files_module
from onionmx.routing.files import RouteFiles
from onionmx.routing.listing import Listed
from tests.mapfile.maps import A, B, make_map
from tests.mapfile.maps import domains as any_domains

NAMES = ("a.example", "b.example", "c.example", "d.example", A, "x.onion")
MAPPED: Mapping[str, tuple[Endpoint, ...]] = {"a.example": ((A, 25),), "b.example": ((B, 25),), "waits.example": DEFERS}


def opened(
    folder: Path, *, local: tuple[str, ...] = (), may_be_missing: bool = False, look_interval: float = 0.0
) -> RouteFiles:
    pins = folder / "pins"
    pins.touch()
    os.utime(pins, (0, 0))
    released = str(folder / "released.cdb")
    return RouteFiles(
        LocalSection(domains=local),
        pins,
        folder / "map.cdb",
        map_may_be_missing=may_be_missing,
        released=released,
        look_interval=look_interval,
    )


def listed(files: RouteFiles) -> list[Listed]:
    with files.listing().opened() as domains:
        return list(domains)


def names(files: RouteFiles) -> list[str]:
    return [each.domain.decode() for each in listed(files)]


names_of_test = st.sampled_from(NAMES)
keys = st.one_of(names_of_test.map(str.encode), any_domains.map(str.encode), st.binary(max_size=20))


@given(
    st.dictionaries(keys, st.sampled_from([format_value(((A, 25),)), format_value(DEFERS), b"junk"]), max_size=8),
    st.dictionaries(names_of_test, st.sampled_from([A, "none"]), max_size=4),
    st.sets(names_of_test, max_size=3),
    st.sets(names_of_test, max_size=3),
)
@example({b"a.example": b"junk"}, {}, set(), {"a.example"})
def test_it_has_what_lookups_find_or_could_not_tell(
    records: dict[bytes, bytes], pins: dict[str, str], local: set[str], released: set[str]
) -> None:
    with tempfile.TemporaryDirectory() as folder:
        publish_records(Path(folder) / "map.cdb", records.items())
        (Path(folder) / "pins").write_text("".join(f"{domain} {onion}\n" for domain, onion in pins.items()))
        write_released(Path(folder) / "released.cdb", tuple(released))
        files = opened(Path(folder), local=tuple(local))
        try:
            result = listed(files)
            expected = set()
            for domain in {key for key in map(_domain, records) if key} | pins.keys():
                answer = files.get(domain)
                if isinstance(answer, Found | CouldNotTell):
                    expected.add(domain)
        finally:
            files.close()
    assert {each.domain.decode() for each in result} == expected
    assert len(result) == len(expected)
    waiting = {key for key, value in records.items() if value == format_value(DEFERS)}
    pinned = {domain.encode() for domain in pins}
    assert {each.domain for each in result if each.waits} == {
        each.domain for each in result if each.domain in waiting - pinned
    }


def _domain(key: bytes) -> str:
    """A key that a lookup can ask for."""
    try:
        text = key.decode("ascii")
        return text if normalize(text) == text else ""
    except (UnicodeDecodeError, DomainError):
        return ""


def test_order_is_that_of_the_map(tmp_path: Path) -> None:
    make_map(tmp_path / "map.cdb", MAPPED)
    (tmp_path / "pins").write_text(f"z.example {A}\nb.example {A}:2525\na.example none\n")
    files = opened(tmp_path)
    assert names(files) == ["b.example", "waits.example", "z.example"]
    files.close()


def test_validity_changes_with_each_file(tmp_path: Path) -> None:
    make_map(tmp_path / "map.cdb", MAPPED)
    files = opened(tmp_path)
    listing = files.listing()
    assert files.listing().validity is listing.validity
    make_map(tmp_path / "map.cdb", {"new.example": ((A, 25),)})
    assert listing.validity is not files.listing().validity
    assert names(files) == ["new.example"]
    listing = files.listing()
    (tmp_path / "pins").write_text(f"pinned.example {A}\n")
    os.utime(tmp_path / "pins", (1, 1))
    assert listing.validity is not files.listing().validity
    listing = files.listing()
    write_released(tmp_path / "released.cdb", ("new.example",))
    assert listing.validity is not files.listing().validity
    assert names(files) == ["pinned.example"]
    old = time.time() - LONGEST - 1
    os.utime(tmp_path / "released.cdb", (old, old))
    assert names(files) == ["new.example", "pinned.example"], "what is not confirmed is not believed"
    files.close()


def test_a_damaged_map_is_not_read_again_for_each_client(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "map.cdb"
    make_map(path, MAPPED)
    path.write_bytes(path.read_bytes()[:-1])
    read = []

    def counted(found: str | Path) -> MapReader:
        read.append(found)
        return MapReader(found)

    monkeypatch.setattr(files_module, "MapReader", counted)
    files = opened(tmp_path, look_interval=3600.0)
    for _ in range(3):
        with pytest.raises(MapError):
            files.listing()
    assert len(read) == 1
    make_map(path, MAPPED)
    assert len(listed(files)) == len(MAPPED), "at once"
    files.close()


def test_a_list_that_is_read_outlives_its_map(tmp_path: Path) -> None:
    """A new map closes the reader of the lookups, whose descriptor another file may get."""
    make_map(tmp_path / "map.cdb", MAPPED)
    files = opened(tmp_path)
    with files.listing().opened() as domains:
        first = next(domains)
        make_map(tmp_path / "map.cdb", {})
        files.look()
        assert [first.domain, *(each.domain for each in domains)] == [domain.encode() for domain in MAPPED]
    files.close()


def test_without_a_map_there_is_no_list(tmp_path: Path) -> None:
    files = opened(tmp_path)
    with pytest.raises(MissingMapError, match="does not exist"):
        files.listing()
    files.close()
    (tmp_path / "pins").write_text(f"pinned.example {A}\n")
    live = opened(tmp_path, may_be_missing=True)
    with pytest.raises(MissingMapError, match="no map, and DNS has no list"):
        live.listing()
    live.close()


def test_an_empty_map_is_an_empty_list(tmp_path: Path) -> None:
    make_map(tmp_path / "map.cdb", {})
    files = opened(tmp_path)
    assert not listed(files)
    files.close()


def test_no_list_of_files_with_mistakes(tmp_path: Path) -> None:
    path = make_map(tmp_path / "map.cdb", MAPPED)
    (tmp_path / "pins").write_text("not a pin at all\n")
    files = opened(tmp_path)
    with pytest.raises(ConfigurationError, match="pins:1"):
        files.listing()
    files.close()
    (tmp_path / "pins").write_text("")
    files = opened(tmp_path)
    listing = files.listing()
    content = bytearray(path.read_bytes())
    content[2060] ^= 1
    path.write_bytes(content)
    with pytest.raises(MapError, match="damaged"), listing.opened():
        pass
    with pytest.raises(MapError, match="damaged"):
        files.listing()
    path.unlink()
    with pytest.raises(ConfigurationError, match="was there and is gone"):
        files.listing()
    files.close()
