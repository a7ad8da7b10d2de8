"""Keys of client authorization: what tor would read, and what it would not."""

from base64 import b32encode

import pytest
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import InputError
from onionmx.tor.service.client_keys import (
    CLOSED,
    ClientKey,
    format_auth,
    new_client_key,
    parse_auth,
    parse_auth_private,
    parse_client_name,
    parse_public_key,
)
from tests.onions import V2_ONION, make_onion

A = make_onion("a")
LABEL = A.removesuffix(".onion")
PUBLIC = "N2NU7BSRL6YODZCYPN4CREB54TYLKGIE2KYOQWLFYC23ZJVCE5DQ"
"""The example of tor's manual for services (community.torproject.org, client authorization)."""
KEYS = st.binary(min_size=32, max_size=32)
LINES = st.lists(
    st.one_of(st.sampled_from(["descriptor", "x25519", PUBLIC, PUBLIC.lower(), LABEL, ""]), st.text()), max_size=5
).map(":".join)


@given(KEYS)
def test_pair_is_read_back(private: bytes) -> None:
    key = ClientKey(A, private)
    assert parse_auth_private(str(key)) == key
    assert parse_auth_private(str(key).strip().replace(":descriptor", ":descriptor")) == key
    half = X25519PrivateKey.from_private_bytes(private).public_key().public_bytes_raw()
    assert key.public == b32encode(half).decode().rstrip("=")
    assert parse_auth(format_auth(key.public)) == parse_public_key(key.public.lower()) == key.public


def test_form_of_the_files() -> None:
    key = new_client_key(A)
    assert str(key).startswith(f"{LABEL}:descriptor:x25519:")
    assert len(str(key).strip().rpartition(":")[2]) == 52
    assert key.file_name == f"{LABEL}.auth_private"
    assert format_auth(PUBLIC) == f"descriptor:x25519:{PUBLIC}\n"
    assert parse_public_key(format_auth(PUBLIC)) == PUBLIC
    assert new_client_key(A) != key
    assert "private" not in repr(key)


@given(LINES)
def test_any_line_is_a_key_or_not(text: str) -> None:
    for parse in (parse_auth, parse_public_key):
        try:
            assert parse(text) == PUBLIC
        except InputError as error:
            assert str(error).isprintable()
    try:
        assert parse_auth_private(text).onion == A
    except InputError as error:
        assert str(error).isprintable()


@given(KEYS, st.integers(0, 51), st.characters(max_codepoint=127))
def test_mistyped_key_is_never_another_spelling_of_the_same(raw: bytes, position: int, char: str) -> None:
    key = ClientKey(A, raw).public
    other = key[:position] + char + key[position + 1 :]
    try:
        found = parse_public_key(other)
    except InputError:
        return
    assert found == other.strip().upper()


@pytest.mark.parametrize(
    ("key", "why"),
    [
        ("", "has 0 characters"),
        (PUBLIC[:-1], "has 51 characters: an x25519 key has 52"),
        (f"{PUBLIC}A", "has 53 characters"),
        (f"{PUBLIC[:-1]}1", "not base32"),
        (f"{PUBLIC[:-1]}\u017f", "not base32"),
        (f"{PUBLIC[:-1]}R", "its last character is mistyped"),
        ("A" * 52, "low order"),
        (f"descriptor:ed25519:{PUBLIC}", "expected descriptor:x25519:"),
        (f"basic:x25519:{PUBLIC}", "expected descriptor:x25519:"),
        (f"descriptor:x25519:{PUBLIC}:x", "expected descriptor:x25519:"),
        ("descriptor:x25519:", "has 0 characters"),
    ],
)
def test_public_key_that_is_none(key: str, why: str) -> None:
    with pytest.raises(InputError, match=why):
        parse_public_key(key)


@pytest.mark.parametrize(
    ("line", "why"),
    [
        (f"descriptor:x25519:{PUBLIC}", "expected one line, ADDRESS"),
        (f"{A}:descriptor:x25519:{PUBLIC}", "before the onion address"),
        (f"{V2_ONION.removesuffix('.onion')}:descriptor:x25519:{PUBLIC}", "version 2"),
        (f"{LABEL}:descriptor:x25519:{PUBLIC[1:]}", "the private key has 51 characters"),
        (f"{LABEL}:descriptor:x25519:{PUBLIC[1:]}!", "the private key is not base32"),
    ],
)
def test_private_key_that_is_none_is_not_shown(line: str, why: str) -> None:
    with pytest.raises(InputError, match=why) as caught:
        parse_auth_private(line)
    assert PUBLIC[1:] not in str(caught.value)


@pytest.mark.parametrize("name", ["partner.example", "mx-1_b", "a@b", "A", "x" * 200])
def test_name_of_a_client(name: str) -> None:
    assert parse_client_name(name) == name


@pytest.mark.parametrize(
    "name", ["", "../x", "a/b", ".x", "-x", "a b", "a\n", "a\0", "é", "x" * 201, "a.auth", "a.auth_private", CLOSED]
)
def test_name_that_is_none(name: str) -> None:
    with pytest.raises(InputError):
        parse_client_name(name)
