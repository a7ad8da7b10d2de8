"""docs/onion-mx-record.md and its test vectors: the file is as the page describes it, and each MUST has vectors."""

import re
from collections import Counter
from collections.abc import Iterator

import dns.message
import dns.name
import dns.rcode
import msgspec
from msgspec import UNSET, Struct

from onionmx.domain import SRV_PREFIX
from onionmx.onion import parse_onion
from onionmx.shipped import PACKAGE, shipped
from tests.dns.scripted import record
from tests.dns.vectors import ALL, Question, Records, Route, Vector, Wire

TEXT = shipped("docs/onion-mx-record.md").read_text()
SECTIONS: dict[str, str] = dict(re.findall(r"^#{2,3} (\d[\d.]*?)\.? .+\n((?:(?!#).*\n?)*)", TEXT, re.MULTILINE))
_PARTS: dict[str, type[Struct]] = {"vector": Vector, "dns": Question, "route": Route}
_ROW = re.compile(r"^\| ((?:`\w+`(?:, )?)+) \| `?(\w+)`? \|", re.MULTILINE)
_ABOUT_OTHER_THINGS = re.search(r"those of sections ([0-9., and\n]+) are about other things", TEXT)


def test_sections_are_found() -> None:
    assert {"1", "2.1", "3.4", "6.1", "9", "11"} <= set(SECTIONS)
    assert "### 3.4 " in TEXT
    assert TEXT.count("\n#") == len(SECTIONS)


def test_requirements_are_counted_in_sections_alone() -> None:
    assert sum(map(requirements, SECTIONS.values())) == requirements(TEXT)


def requirements(text: str) -> int:
    """How many MUST and MUST NOT are in a text, quoted ones left out."""
    return len(re.findall(r'(?<!")\bMUST\b', text))


def test_each_must_that_answers_can_show_has_a_vector() -> None:
    """A section has as many vectors for a MUST as it has of them, or the page says that it needs none."""
    assert _ABOUT_OTHER_THINGS
    others = re.findall(r"[0-9.]*[0-9]", _ABOUT_OTHER_THINGS[1])
    vectors = Counter(vector.section for vector in ALL.vectors if vector.level.startswith("MUST"))
    for number, body in SECTIONS.items():
        if not any(number == other or number.startswith(f"{other}.") for other in others):
            assert vectors[number] >= requirements(body), number


def test_sections_of_vectors_are_there() -> None:
    for vector in ALL.vectors:
        assert vector.section in SECTIONS, vector.id
        assert vector.level in " ".join(SECTIONS[vector.section].split()), (vector.id, vector.level)


def test_ids_and_reasons() -> None:
    assert max(Counter(vector.id for vector in ALL.vectors).values()) == 1
    for vector in ALL.vectors:
        assert re.fullmatch(r"\S.*\.", vector.why), vector.id
        assert re.search(r"(?<!RFC 2181 section 8)\. ", vector.why) is None, f"{vector.id}: one sentence"


def test_members_are_those_that_the_page_names() -> None:
    named: dict[str, set[str]] = {}
    for members, part in _ROW.findall(TEXT):
        named.setdefault(part, set()).update(re.findall(r"`(\w+)`", members))
    assert named.pop("response") == fields(Records) | fields(Wire)
    assert named == {part: fields(type_) for part, type_ in _PARTS.items()}
    assert re.findall(r"`(format|zones|vectors)`", TEXT) == ["format", "zones", "vectors"]


def fields(type_: type[Struct]) -> set[str]:
    return {field.name for field in msgspec.structs.fields(type_)}


def answers_of(route: Route) -> list[object]:
    kinds = (route.found, route.found_by_weight, route.none, route.could_not_tell, route.refused)
    return [each for each in kinds if each is not UNSET]


def test_each_vector_has_one_answer() -> None:
    for vector in ALL.vectors:
        assert len(answers_of(vector.route)) == 1, vector.id
        has_ttl = vector.route.ttl is not UNSET or vector.route.signed is not UNSET
        assert not (has_ttl and vector.route.could_not_tell is not UNSET), vector.id
    assert {len(answers_of(vector.route)) for vector in ALL.vectors} == {1}
    kinds = {name for vector in ALL.vectors for name in fields(Route) if getattr(vector.route, name) is not UNSET}
    assert kinds == fields(Route)


def targets(route: Route) -> Iterator[tuple[str, int]]:
    yield from route.found or ()
    for group in route.found_by_weight or ():
        yield from ((onion, port) for onion, port, _ in group)
        shares = [share for _, _, share in group if share is not None]
        assert not shares or (len(shares) == len(group) and abs(sum(shares) - 1) < 0.01)


def test_targets_are_onions() -> None:
    for vector in ALL.vectors:
        found = list(targets(vector.route))
        assert len(set(found)) == len(found), vector.id
        assert all(parse_onion(onion) == onion for onion, _ in found), vector.id


def test_what_is_said_can_be_read() -> None:
    for vector in ALL.vectors:
        names = [dns.name.from_text(question.name) for question in vector.dns]
        assert len(set(names)) == len(names), vector.id
        assert not names or names[0].to_text().startswith(SRV_PREFIX), vector.id
        assert all(name.to_text() == name.to_text().lower() for name in names), vector.id
        for packet in vector.packets:
            if isinstance(packet, Records):
                dns.rcode.from_text(packet.rcode)
                assert all(map(record, (*packet.answer, *packet.authority)))
            else:
                assert len(packet.wire) >= 2 * 12, vector.id
        for line in vector.zone or ():
            assert record(line).name.to_text().endswith(tuple(f"{zone}." for zone in ALL.zones)), vector.id


def test_the_record_of_the_page_is_one() -> None:
    (line,) = re.findall(rf"^    ({re.escape(SRV_PREFIX)}.+)$", TEXT, re.MULTILINE)
    onion = next(onion for vector in ALL.vectors for onion, _ in targets(vector.route))
    (rdata,) = record(line.replace("<56 characters>.onion", onion))
    assert rdata.to_text() == f"0 5 25 {onion}."


def test_the_code_that_the_page_names_is_there() -> None:
    _, below = TEXT.split("Below `onionmx/`: ")
    names = re.findall(r"`([\w./]+)`", below)
    assert len(names) > 5
    for name in names:
        assert (PACKAGE / name).exists(), name
