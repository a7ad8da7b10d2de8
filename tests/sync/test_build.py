"""The next map, and how it differs from the one that is there."""

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import MapSection, SyncSection
from onionmx.mapfile.cdb import MapReader, format_value
from onionmx.mapfile.entries import differences
from onionmx.onion import Endpoint
from onionmx.sync.build import Base, Changes, compare, write
from onionmx.sync.judge.rules import Rules
from onionmx.sync.removals import held_back, in_words
from tests.mapfile.maps import A, B, entries, make_map

Content = dict[str, tuple[Endpoint, ...]]


def version(name: str) -> tuple[int, int]:
    status = Path(name).stat()
    return status.st_ino, status.st_mtime_ns


def values_of(content: Content) -> dict[str, bytes]:
    return {domain: format_value(content[domain]) for domain in sorted(content)}


@given(entries, entries)
def test_comparison_is_that_of_whole_maps(tmp_path_factory: pytest.TempPathFactory, old: Content, new: Content) -> None:
    path = make_map(tmp_path_factory.getbasetemp() / "compared.cdb", old)
    changes = compare(path, values_of(new))
    expected = list(differences(old, new))
    assert changes.old == len(old)
    assert sorted(changes.added) == [each.domain for each in expected if each.old is None]
    assert sorted(changes.removed) == [each.domain for each in expected if each.new is None]
    assert sorted(changes.changed) == [each.domain for each in expected if each.old and each.new]
    assert len(changes) == len(expected)


def test_where_there_is_no_map_all_is_new(tmp_path: Path) -> None:
    assert compare(tmp_path / "none", {"a.example": b"x"}).added == ["a.example"]


@given(st.integers(0, 300), st.integers(0, 300), st.floats(0, 1), st.integers(1, 50))
def test_removal(old: int, removed: int, part: float, least: int) -> None:
    removed = min(old, removed)
    changes = Changes(old, removed={f"{number}.example": b"" for number in range(removed)})
    settings = SyncSection(max_removal=part, min_removal=least)
    base = Base({}, frozenset(), lambda _domain: Rules())
    held = held_back(changes, (), base, settings)
    assert len(held) == (removed if removed >= least and removed > part * old else 0)
    # What waits goes on doing so, and takes nothing of what a run may remove.
    assert held_back(changes, changes.removed, base, settings) == sorted(changes.removed)
    if held:
        assert in_words(held, old, settings).startswith(f"{removed} of {old} entries would go (0.example")


def test_both_maps_are_written_and_only_where_they_differ(tmp_path: Path) -> None:
    settings = MapSection(path=str(tmp_path / "map.cdb"), transport_path=str(tmp_path / "transport.cdb"))
    new = {"a.example": format_value(((A, 25),))}
    path = Path(settings.path)
    assert write(settings, new, compare(path, new))
    before = [version(name) for name in (settings.path, settings.transport_path)]
    assert not write(settings, new, compare(path, new))
    assert [version(name) for name in (settings.path, settings.transport_path)] == before
    new["b.example"] = format_value(((B, 25),))
    assert write(settings, new, compare(path, new))
    with MapReader(settings.path) as reader:
        assert len(reader) == 2
    with MapReader(settings.transport_path) as reader:
        keys = {key for key, _ in reader.records()}
        assert keys == {b"a.example", b"b.example", b"onion", b".onion"}
