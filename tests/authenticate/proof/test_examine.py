"""Certificates of every kind against policies and TLSA records."""

import hashlib
from datetime import timedelta

import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat
from hypothesis import given
from hypothesis import strategies as st

from onionmx.authenticate.demand.requirement import (
    Demand,
    EnforcedPolicy,
    Kind,
    RequirementError,
    decode_demand,
    encode_demand,
    parse_requirement,
)
from onionmx.authenticate.demand.tlsa import Tlsa
from onionmx.authenticate.proof.examine import MOST_CERTIFICATES, MOST_PATHS, Accepted, CertificateRefused, examine
from tests.net.certificates import MONTH, NOW, Issued, issue

MX = "mx.example.org"
ROOT = issue(is_ca=True, common_name="Root")
BETWEEN = issue(is_ca=True, ca=ROOT, common_name="Between")
LEAF = issue(MX, ca=BETWEEN)
STRANGER = issue(MX, ca=issue(is_ca=True))


def key_of(issued: Issued) -> bytes:
    return issued.certificate.public_key().public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)


def tlsa(usage: int, selector: int, matching: int, of: Issued) -> Tlsa:
    data = key_of(of) if selector else of.der
    digest = {1: "sha256", 2: "sha512"}.get(matching)
    return Tlsa(usage, selector, matching, hashlib.new(digest, data).digest() if digest else data)


def dane(*records: Tlsa, names: tuple[str, ...] = (MX,)) -> Demand:
    return Demand(Kind.DANE, names, records, MX)


def chain(*issued: Issued) -> list[bytes]:
    return [each.der for each in issued]


@pytest.mark.parametrize("selector", [0, 1])
@pytest.mark.parametrize("matching", [0, 1, 2])
class TestRecord:
    def test_of_the_server(self, selector: int, matching: int) -> None:
        record = tlsa(3, selector, matching, LEAF)
        assert record.is_usable
        assert examine(dane(record), chain(LEAF), NOW) == Accepted((f"TLSA {record}",), None)
        assert isinstance(examine(dane(record), chain(STRANGER), NOW), CertificateRefused)

    def test_of_an_authority(self, selector: int, matching: int) -> None:
        for authority in (BETWEEN, ROOT):
            record = tlsa(2, selector, matching, authority)
            verdict = examine(dane(record), chain(LEAF, BETWEEN, ROOT), NOW)
            assert isinstance(verdict, Accepted)
            assert verdict.names == (MX, f"TLSA {record}")
            assert verdict.not_after == LEAF.certificate.not_valid_after_utc.timestamp()
            assert isinstance(examine(dane(record), chain(STRANGER, BETWEEN, ROOT), NOW), CertificateRefused)


def test_neither_name_nor_time_counts_for_the_record_of_a_server() -> None:
    old = issue("other.example", start=NOW - 2 * MONTH, end=NOW - MONTH)
    assert isinstance(examine(dane(tlsa(3, 1, 1, old)), chain(old), NOW), Accepted)


def test_any_record_will_do() -> None:
    records = (tlsa(3, 1, 1, STRANGER), tlsa(2, 0, 1, STRANGER), tlsa(3, 1, 2, LEAF))
    assert isinstance(examine(dane(*records), chain(LEAF, BETWEEN), NOW), Accepted)


def test_whole_authority_in_dns_need_not_be_sent() -> None:
    assert isinstance(examine(dane(tlsa(2, 0, 0, BETWEEN)), chain(LEAF), NOW), Accepted)


def test_authority_of_another_name_among_several() -> None:
    verdict = examine(dane(tlsa(2, 0, 1, BETWEEN), names=("mx2.example.org", MX)), chain(LEAF, BETWEEN), NOW)
    assert isinstance(verdict, Accepted)


@pytest.mark.parametrize(
    ("peer", "words"),
    [
        (chain(issue("mx.evil.example", ca=BETWEEN), BETWEEN), "no matching subjectAltName"),
        (chain(issue(ca=BETWEEN), BETWEEN), "missing required extension"),
        (chain(issue(MX, ca=BETWEEN, end=NOW - timedelta(1)), BETWEEN), "not valid at validation time"),
        (chain(issue(MX, ca=BETWEEN, start=NOW + timedelta(1)), BETWEEN), "not valid at validation time"),
        (chain(STRANGER, BETWEEN), "no chain to the authority of the TLSA record"),
        (chain(LEAF), "no TLSA record matches"),
        (chain(issue(MX, ca=LEAF), LEAF, BETWEEN), "basicConstraints.cA must be asserted"),
        ([b"rubbish", BETWEEN.der], "cannot be read"),
        ([], "shows no certificate"),
    ],
)
def test_chain_that_does_not_reach_the_authority(peer: list[bytes], words: str) -> None:
    verdict = examine(dane(tlsa(2, 0, 1, BETWEEN)), peer, NOW)
    assert isinstance(verdict, CertificateRefused)
    assert words in verdict.reason
    assert verdict.reason.isprintable()


@pytest.mark.parametrize(
    "record",
    [
        Tlsa(0, 0, 1, bytes(32)),
        Tlsa(1, 1, 1, bytes(32)),
        Tlsa(3, 2, 1, bytes(32)),
        Tlsa(3, 1, 3, bytes(32)),
        Tlsa(3, 1, 1, bytes(31)),
        Tlsa(3, 1, 2, bytes(32)),
        Tlsa(3, 0, 0, b""),
        Tlsa(255, 255, 255, b"x"),
    ],
)
def test_record_that_smtp_cannot_use(record: Tlsa) -> None:
    assert not record.is_usable


@pytest.mark.parametrize(
    ("names", "accepted"),
    [((MX,), (MX,)), (("a.example", "b.example.org"), ("b.example.org",)), (("*.example.org",), ("*.example.org",))],
)
def test_names_of_a_policy(names: tuple[str, ...], accepted: tuple[str, ...]) -> None:
    demand = Demand(Kind.MTA_STS, (MX, "b.example.org"))
    leaf = issue(*names, ca=ROOT)
    assert examine(demand, chain(leaf), NOW) == Accepted(accepted, leaf.certificate.not_valid_after_utc.timestamp())


@pytest.mark.parametrize("names", [(), ("mx.evil.example",), ("example.org",), ("192.0.2.1",), ("*.mx.example.org",)])
def test_names_that_no_policy_allows(names: tuple[str, ...]) -> None:
    verdict = examine(Demand(Kind.MTA_STS, (MX,)), chain(issue(*names, ca=ROOT)), NOW)
    assert isinstance(verdict, CertificateRefused)
    assert f"expected {MX}" in verdict.reason


def test_the_subject_is_not_a_name() -> None:
    assert isinstance(examine(Demand(Kind.MTA_STS, ("peer",)), chain(issue(ca=ROOT)), NOW), CertificateRefused)


@given(st.lists(st.binary(max_size=40) | st.sampled_from(chain(LEAF, BETWEEN, ROOT)), max_size=3))
def test_any_chain(peer: list[bytes]) -> None:
    for demand in (dane(tlsa(2, 1, 1, ROOT)), dane(tlsa(3, 1, 1, ROOT)), Demand(Kind.MTA_STS, (MX,))):
        verdict = examine(demand, peer, NOW)
        if isinstance(verdict, Accepted):
            assert peer[0] in chain(LEAF, ROOT)
        else:
            assert verdict.reason.isprintable()


_TLSA = st.builds(Tlsa, st.integers(0, 255), st.integers(0, 255), st.integers(0, 255), st.binary(max_size=64))
_DEMANDS = st.builds(
    Demand, st.sampled_from(Kind), st.tuples(st.text(max_size=9)), st.tuples(_TLSA), st.text(max_size=9)
)


@given(
    st.builds(
        EnforcedPolicy, st.text(max_size=9), _DEMANDS, st.floats(0, 1e10), st.floats(0, 1e10), st.text(max_size=9)
    )
)
def test_a_stored_requirement_comes_back(requirement: EnforcedPolicy) -> None:
    assert parse_requirement(requirement.to_text()) == requirement
    assert decode_demand(encode_demand(requirement.demand)) == requirement.demand


@given(st.text(max_size=30) | st.sampled_from(["{}", "[]", '{"domain": 1}', "null"]))
def test_any_stored_text(text: str) -> None:
    with pytest.raises(RequirementError, match="a stored requirement cannot be read"):
        parse_requirement(text)


def with_version(issued: Issued, version: int) -> bytes:
    """The certificate, saying that it has this version; X.509 knows 0 to 2."""
    der = bytearray(issued.der)
    der[der.index(b"\xa0\x03\x02\x01\x02") + 4] = version
    return bytes(der)


@pytest.mark.parametrize("version", [3, 10, 127])
def test_impossible_version(version: int) -> None:
    """`cryptography` has an exception of its own for it, which is no ValueError."""
    for peer in ([with_version(LEAF, version), BETWEEN.der], [LEAF.der, with_version(BETWEEN, version)]):
        for demand in (dane(tlsa(2, 1, 1, BETWEEN)), dane(tlsa(3, 1, 1, STRANGER)), Demand(Kind.MTA_STS, ("x.org",))):
            assert isinstance(examine(demand, peer, NOW), CertificateRefused)


def test_thousands_of_records_and_hundreds_of_certificates(monkeypatch: pytest.MonkeyPatch) -> None:
    """Only the first certificates are looked at, and each is digested once, whatever the number of records."""
    digested: list[bytes] = []

    def sha512(data: bytes) -> object:
        digested.append(data)
        return hashlib.sha512(data)

    monkeypatch.setattr("onionmx.authenticate.demand.tlsa._DIGESTS", {2: sha512})
    records = [
        Tlsa(usage, 1, 2, bytes([usage]) + bytes(61) + number.to_bytes(2)) for number in range(1000) for usage in (2, 3)
    ]
    assert isinstance(examine(dane(*records), chain(LEAF, *[BETWEEN] * 500), NOW), CertificateRefused)
    assert len(digested) == MOST_CERTIFICATES


def test_many_authorities_that_lead_nowhere(monkeypatch: pytest.MonkeyPatch) -> None:
    tried: list[str] = []

    def verified(_anchor: object, name: str, *_rest: object) -> None:
        tried.append(name)
        raise ValueError("no chain")

    monkeypatch.setattr("onionmx.authenticate.proof.examine._verified", verified)
    records = [tlsa(2, 0, 0, issue(is_ca=True)) for _ in range(9)]
    names = tuple(f"mx{number}.example.org" for number in range(32))
    assert isinstance(examine(dane(*records, names=names), chain(LEAF, BETWEEN), NOW), CertificateRefused)
    assert len(tried) == MOST_PATHS
