"""Certificates, good ones, bad ones, and bytes that are none."""

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.net.certificate import CertificateError, read_certificate
from onionmx.smtp.reply import MAX_TEXT_LENGTH
from tests.net.certificates import MONTH, NOW, issue

SAMPLE = issue("mx.example", "*.mail.example", "192.0.2.1").der


def test_self_signed() -> None:
    certificate = read_certificate(SAMPLE)
    assert certificate.names == ("mx.example", "*.mail.example", "192.0.2.1")
    assert certificate.subject == certificate.issuer == "CN=peer"
    assert certificate.is_self_signed
    assert not certificate.has_expired(NOW)
    assert not certificate.is_not_yet_valid(NOW)
    assert certificate.has_expired(NOW + 2 * MONTH)
    assert certificate.is_not_yet_valid(NOW - 2 * MONTH)
    assert certificate.not_after - certificate.not_before == 2 * MONTH


def test_signed_by_another() -> None:
    authority = issue(is_ca=True)
    certificate = read_certificate(issue("mx.example", ca=authority).der)
    assert certificate.issuer == "CN=Test CA"
    assert not certificate.is_self_signed


def test_the_name_of_the_issuer_makes_no_signature() -> None:
    """Subject and issuer are alike, but another key has signed."""
    certificate = read_certificate(issue("mx.example", ca=issue()).der)
    assert certificate.subject == certificate.issuer
    assert not certificate.is_self_signed


@pytest.mark.parametrize(
    ("wanted", "matching"),
    [
        ("mx.example", True),
        ("MX.Example.", True),
        ("a.mail.example", True),
        ("mail.example", False),
        ("a.b.mail.example", False),
        ("other.example", False),
        ("", False),
        ("192.0.2.1", True),
    ],
)
def test_names_that_match(wanted: str, matching: bool) -> None:  # noqa: FBT001
    assert read_certificate(SAMPLE).matching([wanted]) == ((wanted,) if matching else ())


def test_no_names() -> None:
    assert read_certificate(issue().der).names == ()


def test_control_characters_in_names_are_escaped() -> None:
    certificate = read_certificate(SAMPLE.replace(b"mx.example", b"m\x1b.e\nample"))
    assert certificate.names[0] == r"m\x1b.e\nample"


def test_the_subject_may_hold_anything() -> None:
    certificate = read_certificate(SAMPLE.replace(b"peer", b"\x1b[2J"))
    assert certificate.subject.isprintable()


@given(st.binary(max_size=200))
def test_any_bytes(der: bytes) -> None:
    with pytest.raises(CertificateError):
        read_certificate(der)


@given(st.integers(0, len(SAMPLE) - 1), st.integers(1, 255))
def test_a_byte_that_was_changed(index: int, change: int) -> None:
    spoiled = bytearray(SAMPLE)
    spoiled[index] ^= change
    try:
        certificate = read_certificate(bytes(spoiled))
    except CertificateError as error:
        assert str(error).isprintable()
    else:
        assert all(text.isprintable() for text in (certificate.subject, certificate.issuer, *certificate.names))
        assert max(map(len, (certificate.subject, *certificate.names, ""))) <= MAX_TEXT_LENGTH
