"""Keys of onion services in tor's form."""

from hashlib import sha512

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given, settings
from hypothesis import strategies as st

from onionmx.errors import InputError
from onionmx.tor.service.identity import (
    format_public_key_file,
    format_secret_key,
    parse_public_key_file,
    parse_secret_key,
    public_key_of,
)
from tests.tor.keys.service_key import expanded


@settings(max_examples=20)
@given(st.binary(min_size=32, max_size=32))
def test_public_key_belongs_to_the_secret_key(seed: bytes) -> None:
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    assert public_key_of(expanded(seed)) == public
    assert parse_secret_key(format_secret_key(expanded(seed))) == expanded(seed)
    assert parse_public_key_file(format_public_key_file(public)) == public


@given(st.binary(max_size=120))
def test_any_file_is_a_key_or_not(content: bytes) -> None:
    for parse in (parse_secret_key, parse_public_key_file):
        with pytest.raises(InputError, match="is not the key of an onion service"):
            parse(content)


def test_file_that_is_too_long() -> None:
    with pytest.raises(InputError):
        parse_secret_key(format_secret_key(sha512(b"").digest()) + b"\n")
