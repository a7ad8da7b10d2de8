import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.domain import normalize
from onionmx.serve.keys import domain_of, names_an_onion
from tests.onions import V3_ONION


@pytest.mark.parametrize(
    ("key", "domain"),
    [
        (b"example.org", "example.org"),
        (b"User@Example.ORG", "example.org"),
        (b"user@example.org.", "example.org"),
        (b'"a@b c"@example.org', "example.org"),
        (b"@example.org", "example.org"),
        ("jörg@bücher.example".encode(), "xn--bcher-kva.example"),
        (b"joerg@xn--bcher-kva.example", "xn--bcher-kva.example"),
        (f"user@{V3_ONION}".encode(), V3_ONION),
        (b"", None),
        (b"*", None),
        (b"user", "user"),
        (b"user@", None),
        (b"user@[192.0.2.1]", None),
        (b"user@192.0.2.1", None),
        (b'"user@example.org"', None),
        (b".example.org", None),
        (b"user@exa mple.org", None),
        (b"user@example.org\0", None),
        (b"user@\xff\xfe.example", None),
        (b"x" * 5000, None),
        (b"x" * 5000 + b"@example.org", "example.org"),
        (b"user@" + b"a." * 3000 + b"org", None),
        (b"user@" + "ü".encode() * 250, None),
    ],
)
def test_domain_of_a_key(key: bytes, domain: str | None) -> None:
    assert domain_of(key) == domain


def test_an_onion_that_is_none_is_still_recognized() -> None:
    assert names_an_onion(b"user@sub_domain.ONION.")
    assert names_an_onion(b"user@onion")
    assert not names_an_onion(b"user@onion.example")
    assert not names_an_onion(b".onion")


@given(st.binary(max_size=300))
def test_any_key_is_a_domain_in_normal_form_or_none(key: bytes) -> None:
    domain = domain_of(key)
    assert domain is None or normalize(domain) == domain
