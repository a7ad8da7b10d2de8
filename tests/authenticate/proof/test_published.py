"""The demands beside the map."""

from pathlib import Path

import pytest

from onionmx.authenticate.demand.requirement import Demand, Kind
from onionmx.authenticate.demand.tlsa import Tlsa
from onionmx.authenticate.proof.published import PublishedDemands, demands_path, keeping_demands, publishing_demands
from onionmx.errors import MapError
from onionmx.mapfile.write import publish_records

ONE = Demand(Kind.MTA_STS, ("mx.one.example", "*.one.example"), server_name="mx.one.example")
TWO = Demand(Kind.DANE, ("mx.two.example",), (Tlsa(3, 1, 1, bytes(32)),), "mx.two.example")


@pytest.fixture
def map_path(tmp_path: Path) -> Path:
    return tmp_path / "map.cdb"


def write(map_path: Path, demands: dict[str, Demand]) -> None:
    with publishing_demands(map_path, demands):
        pass


def test_demands_come_back(map_path: Path) -> None:
    write(map_path, {"one.example": ONE, "two.example": TWO})
    published = PublishedDemands(map_path)
    assert published.get("one.example") == ONE
    assert published.get("two.example") == TWO
    assert published.get("three.example") is None
    published.close()


def test_without_the_file_nothing_is_known(map_path: Path) -> None:
    published = PublishedDemands(map_path)
    for _ in range(2):
        with pytest.raises(MapError, match="demands does not exist"):
            published.get("one.example")
        write(map_path, {"one.example": ONE})
        assert published.get("one.example") == ONE
        demands_path(map_path).unlink()


def test_a_map_from_elsewhere_keeps_the_demands_of_its_domains(map_path: Path) -> None:
    with keeping_demands(map_path, ("one.example",)):
        publish_records(map_path, [])
    assert PublishedDemands(map_path).get("one.example") is None
    write(map_path, {"one.example": ONE, "two.example": ONE})
    with keeping_demands(map_path, ("one.example", "three.example")):
        publish_records(map_path, [])
    published = PublishedDemands(map_path)
    assert [published.get(f"{name}.example") for name in ("one", "two", "three")] == [ONE, None, None]
    content = bytearray(demands_path(map_path).read_bytes())
    content[-1] ^= 1
    demands_path(map_path).write_bytes(content)
    with pytest.raises(MapError, match="checksum"), keeping_demands(map_path, ("one.example",)):
        pass


def test_a_map_without_demands_has_an_empty_file(map_path: Path) -> None:
    write(map_path, {})
    assert demands_path(map_path).exists()
    assert PublishedDemands(map_path).get("one.example") is None


def test_replaced_file_is_taken_up(map_path: Path) -> None:
    write(map_path, {"one.example": ONE})
    published = PublishedDemands(map_path)
    assert published.get("one.example") == ONE
    write(map_path, {"two.example": TWO})
    assert published.get("one.example") is None
    assert published.get("two.example") == TWO
    published.close()


def test_no_route_is_seen_without_its_demand(map_path: Path) -> None:
    """While the map changes, old routes and new ones are both covered, by the new demand where there are two."""
    write(map_path, {"one.example": ONE, "two.example": TWO})
    published = PublishedDemands(map_path)
    with publishing_demands(map_path, {"two.example": ONE, "three.example": TWO}):
        assert published.get("one.example") == ONE
        assert published.get("two.example") == ONE
        assert published.get("three.example") == TWO
    assert published.get("one.example") is None
    published.close()


def test_both_stay_when_the_map_could_not_be_written(map_path: Path) -> None:
    write(map_path, {"one.example": ONE})
    with pytest.raises(MapError), publishing_demands(map_path, {"two.example": TWO}):
        raise MapError("disk full")
    published = PublishedDemands(map_path)
    assert (published.get("one.example"), published.get("two.example")) == (ONE, TWO)
    published.close()


def test_unchanged_demands_are_not_written(map_path: Path) -> None:
    write(map_path, {"one.example": ONE})
    before = demands_path(map_path).stat()
    write(map_path, {"one.example": ONE})
    after = demands_path(map_path).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_damaged_file_tells_nothing_until_it_is_fixed(map_path: Path) -> None:
    published = PublishedDemands(map_path)
    demands_path(map_path).write_bytes(b"rubbish")
    for _ in range(2):
        with pytest.raises(MapError, match=r"map\.cdb\.demands"):
            published.get("one.example")
    write(map_path, {"one.example": ONE})
    assert published.get("one.example") == ONE
    published.close()


def test_damaged_file_is_replaced_also_by_an_empty_one(map_path: Path) -> None:
    demands_path(map_path).write_bytes(b"rubbish")
    write(map_path, {})
    assert PublishedDemands(map_path).get("one.example") is None


def test_damaged_entry(map_path: Path) -> None:
    publish_records(demands_path(map_path), [(b"one.example", b'{"kind": "other"}')])
    published = PublishedDemands(map_path)
    with pytest.raises(MapError, match=r"one\.example: a stored requirement cannot be read"):
        published.get("one.example")
    published.close()
