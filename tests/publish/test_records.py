import re
import struct

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.zone
import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.domain import MAX_SRV_DOMAIN_LENGTH
from onionmx.errors import DomainError, OnionError
from onionmx.publish.records import (
    OnionMxRecords,
    check_domain_name,
    parse_target,
    parse_targets,
    to_json,
    to_nsupdate,
    to_tinydns,
    to_zone_text,
)
from onionmx.target import Target
from tests.onions import V2_ONION, make_onion

A, B = make_onion("A"), make_onion("B")
NUMBERS = st.integers(0, 65535)
TARGETS = st.lists(
    st.builds(Target, st.sampled_from([A, B]), st.integers(1, 65535), NUMBERS, NUMBERS),
    min_size=1,
    max_size=4,
    unique_by=lambda target: target.endpoint,
).map(tuple)
RECORDS = st.builds(
    OnionMxRecords, st.sampled_from(["a.example", "xn--bcher-kva.example"]), TARGETS, st.integers(0, 2**31 - 1)
)


@pytest.mark.parametrize(
    ("text", "target"),
    [
        (A, Target(A, 25, 0, 5)),
        (f"{A.upper()}.", Target(A, 25, 0, 5)),
        (f"{A}:2525", Target(A, 2525, 0, 5)),
        (f"{A}:25:10", Target(A, 25, 10, 5)),
        (f"{A}:25:65535:0", Target(A, 25, 65535, 0)),
    ],
)
def test_targets(text: str, target: Target) -> None:
    assert parse_target(text) == target


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("", "is not an onion address"),
        ("mail.example", "is not an onion address"),
        (V2_ONION, "version 2"),
        (f"{A}:", "is not a port"),
        (f"{A}:0", "is not a port"),
        (f"{A}:25:65536", "is not a priority: expected a number from 0 to 65535"),
        (f"{A}:25::5", "is not a priority"),
        (f"{A}:25:0:-1", "is not a weight"),
        (f"{A}:25:0:\u0665", "is not a weight"),
        (f"{A}:25:0:5:1", r"has 5 parts: expected ONION\[:PORT"),
    ],
)
def test_what_is_no_target(text: str, why: str) -> None:
    with pytest.raises(OnionError, match=why):
        parse_target(text)


@given(st.text() | st.from_regex(re.compile(f"({A}|x)(:[0-9]{{0,6}}){{0,4}}"), fullmatch=True))
def test_any_text_is_a_target_or_refused(text: str) -> None:
    try:
        target = parse_target(text)
    except OnionError as error:
        assert "\n" not in str(error)
    else:
        assert parse_target(f"{target.onion}:{target.port}:{target.priority}:{target.weight}") == target


def test_targets_are_sorted_and_named_once() -> None:
    texts = [f"{A}:25:10", f"{B}:25:0:1", f"{A}:26:0:9"]
    assert [(each.priority, each.weight) for each in parse_targets(texts)] == [(0, 9), (0, 1), (10, 5)]
    with pytest.raises(OnionError, match="is named twice"):
        parse_targets([A, f"{A}:25:10"])
    with pytest.raises(OnionError, match="11 onions for one domain: at most 10 are looked at"):
        parse_targets(f"{A}:{port}" for port in range(1, 12))


def test_domains_that_can_have_no_record() -> None:
    assert check_domain_name("a.example") == "a.example"
    with pytest.raises(DomainError, match="is an onion itself"):
        check_domain_name(A)
    labels = "a" * 63 + "."
    with pytest.raises(DomainError, match=f"at most {MAX_SRV_DOMAIN_LENGTH} leave room"):
        check_domain_name((labels * 4)[: MAX_SRV_DOMAIN_LENGTH + 1])


def data(records: OnionMxRecords) -> set[dns.rdata.Rdata]:
    texts = (f"{each.priority} {each.weight} {each.port} {each.onion}." for each in records.targets)
    return {dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.SRV, text) for text in texts}


@given(RECORDS)
def test_zone_text_says_the_same(records: OnionMxRecords) -> None:
    text = "$TTL 5\n@ SOA ns x 1 2 3 4 5\n@ NS ns\n" + to_zone_text([records])
    zone = dns.zone.from_text(text, origin=f"{records.domain}.", relativize=False)
    rdataset = zone.find_rdataset(dns.name.from_text(records.name), "SRV")
    assert set(rdataset) == data(records)
    assert rdataset.ttl == records.ttl


@given(RECORDS)
def test_tinydns_lines_say_the_same(records: OnionMxRecords) -> None:
    found = set()
    for line in to_tinydns([records]).splitlines():
        assert line.isascii()
        kind, name, rdtype, octal, ttl = re.split(":", line)
        assert (kind, f"{name}.", rdtype, int(ttl)) == ("", records.name, "33", records.ttl)
        wire = re.sub(rb"\\([0-7]{3})", lambda match: bytes([int(match[1], 8)]), octal.encode())
        assert struct.unpack("!HHH", wire[:6])[2]
        found.add(dns.rdata.from_wire(dns.rdataclass.IN, dns.rdatatype.SRV, wire, 0, len(wire)))
    assert found == data(records)


def test_forms() -> None:
    records = OnionMxRecords("a.example", (Target(A, 25, 0, 5),), 3600)
    name = "_onion-mx._tcp.a.example."
    assert to_zone_text([records]) == f"{name} 3600 IN SRV 0 5 25 {A}.\n"
    assert to_tinydns([records]) == (
        f":_onion-mx._tcp.a.example:33:\\000\\000\\000\\005\\000\\0318{A[:-6]}\\005onion\\000:3600\n"
    )
    assert to_nsupdate([records], ("192.0.2.1", 53)) == (
        f"server 192.0.2.1 53\nprereq nxrrset {name} IN CNAME\nupdate delete {name} IN SRV\n"
        f"update add {name} 3600 IN SRV 0 5 25 {A}.\nsend\n"
    )
    assert to_nsupdate([OnionMxRecords("a.example", (), 3600)]) == f"update delete {name} IN SRV\nsend\n"
    assert msgspec.json.decode(msgspec.json.encode(to_json([records]))) == [
        {
            "domain": "a.example",
            "name": name,
            "type": "SRV",
            "ttl": 3600,
            "targets": [{"onion": A, "port": 25, "priority": 0, "weight": 5}],
        }
    ]
