"""The cache on disk: it comes back as it was, older and never younger, or it is left aside."""

import json
import logging
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.answer import Found, NoRoute
from onionmx.errors import InputError
from onionmx.routing.cache import CacheEntry
from onionmx.routing.cache_file import CacheError, parse_cache, read_cache, write_cache
from onionmx.target import Route, Source, Target, Trust
from tests.mapfile.maps import ONIONS, domains
from tests.routing.scripted_dns import TARGETS, found, none

NOW = 1_800_000_000.0
ENTRIES = [
    CacheEntry("example.org", found("example.org", 0), 90.5),
    CacheEntry("example.net", none("example.net", 0), 40),
    CacheEntry("example.com", found("example.com", 0), -20),
]


def test_comes_back(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "cache"
    write_cache(path, ENTRIES, NOW)
    assert read_cache(path, NOW) == ENTRIES
    assert path.stat().st_mode & 0o777 == 0o600, "it tells to whom this host writes"
    assert [file.name for file in path.parent.iterdir()] == ["cache"]


targets = st.builds(
    Target, st.sampled_from(ONIONS), st.integers(1, 65535), st.integers(0, 65535), st.integers(0, 65535)
)
routes = st.builds(
    lambda domain, targets, trust, notes: Found(Route(domain, tuple(targets), Source.SRV, trust, 0), notes),
    domains,
    st.lists(targets, min_size=1, max_size=3),
    st.sampled_from([Trust.DNSSEC, Trust.UNSIGNED]),
    st.lists(st.text(), max_size=2).map(tuple),
)
nothings = st.builds(NoRoute, domains, st.text(), st.just(0), st.lists(st.text(), max_size=2).map(tuple))


@given(st.one_of(routes, nothings), st.floats(-1e6, 1e6))
def test_any_answer_comes_back(tmp_path_factory: pytest.TempPathFactory, answer: Found | NoRoute, left: float) -> None:
    path = tmp_path_factory.getbasetemp() / "any-answer"
    domain = answer.route.domain if isinstance(answer, Found) else answer.domain
    write_cache(path, [CacheEntry(domain, answer, left)], NOW)
    assert read_cache(path, NOW) == [CacheEntry(domain, answer, left)]


@pytest.mark.parametrize(("later", "left"), [(0, 90.5), (30, 60.5), (1000, -909.5), (-5000, 90.5)])
def test_older_and_never_younger_whatever_the_clock_did(tmp_path: Path, later: float, left: float) -> None:
    write_cache(tmp_path / "cache", ENTRIES, NOW)
    assert read_cache(tmp_path / "cache", NOW + later)[0].remaining == left


def test_no_file_is_no_entries_and_no_word(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_cache(tmp_path / "cache") == []
    assert not caplog.records


def valid(**changes: object) -> dict[str, Any]:
    target = {"onion": TARGETS[0].onion, "port": 25, "priority": 0, "weight": 0}
    entry = {"domain": "example.org", "remaining": 90, "targets": [target], "trust": "unsigned"}
    return {"format": 1, "saved": NOW, "entries": [entry | changes]}


def target(**changes: object) -> list[dict[str, object]]:
    return [{"onion": TARGETS[0].onion, "port": 25, "priority": 0, "weight": 0} | changes]


def test_the_sample_is_valid() -> None:
    assert len(parse_cache(json.dumps(valid()).encode(), NOW)) == 1


@pytest.mark.parametrize(
    ("content", "why"),
    [
        ("", "damaged"),
        ("\xff", "damaged"),
        ("[]", "damaged"),
        ('{"format": 1, "saved": 1, "entries": [', "damaged"),
        (json.dumps(valid() | {"format": 2}), "its format is 2: this version of onionmx reads 1"),
        (json.dumps(valid() | {"saved": "now"}), "damaged"),
        (json.dumps(valid() | {"more": 1}), "damaged"),
        (json.dumps(valid(domain="Example.ORG")), "not in normal form"),
        (json.dumps(valid(domain="a b")), "a domain has only letters"),
        (json.dumps(valid(remaining=None)), "damaged"),
        (json.dumps(valid(trust="believed")), "damaged"),
        (json.dumps(valid(targets=target(onion="mail.example.org"))), "not an onion address"),
        (json.dumps(valid(targets=target(onion=TARGETS[0].onion.upper()))), "not in normal form"),
        (json.dumps(valid(targets=target(port=0))), "not a port"),
        (json.dumps(valid(targets=target(priority=65536))), "impossible"),
        (json.dumps(valid(targets=target(weight=-1))), "impossible"),
    ],
)
def test_what_cannot_be_used_is_one_warning(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, content: str, why: str
) -> None:
    path = tmp_path / "cache"
    path.write_bytes(content.encode("latin-1"))
    assert read_cache(path) == []
    (record,) = caplog.records
    assert record.levelno == logging.WARNING
    assert str(path) in record.getMessage()
    assert why in record.getMessage()
    assert "\n" not in record.getMessage()


def test_folder_in_the_place_of_the_file(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    assert read_cache(tmp_path) == []
    assert "cannot be read: Is a directory" in caplog.text


@given(st.one_of(st.binary(), st.text().map(str.encode), st.just(valid()).map(json.dumps).map(str.encode)), st.data())
def test_any_bytes_are_entries_or_the_documented_error(content: bytes, data: st.DataObject) -> None:
    cut = content[: data.draw(st.integers(0, len(content)))] + data.draw(st.binary(max_size=3))
    try:
        entries = parse_cache(cut, NOW)
    except InputError as error:
        assert str(error)
    else:
        assert all(isinstance(entry, CacheEntry) for entry in entries)


def test_file_that_cannot_be_written_stays_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "cache"
    write_cache(path, ENTRIES, NOW)

    def fail(_descriptor: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", fail)
    with pytest.raises(CacheError, match="No space left on device; the old one stays"):
        write_cache(path, [], NOW)
    assert read_cache(path, NOW) == ENTRIES
    assert [file.name for file in tmp_path.iterdir()] == ["cache"]
