"""Valid v3 onion addresses for tests, made as tor makes them (rend-spec-v3 section 6)."""

from base64 import b32encode
from hashlib import sha3_256, sha256


def make_onion(seed: object, *, version: int = 3, spoil_checksum: bool = False) -> str:
    """The onion address of a public key that depends on the seed alone."""
    public_key = sha256(repr(seed).encode()).digest()
    checksum = sha3_256(b".onion checksum" + public_key + bytes([version])).digest()[:2]
    if spoil_checksum:
        checksum = bytes([checksum[0] ^ 1, checksum[1]])
    return b32encode(public_key + checksum + bytes([version])).decode().lower() + ".onion"


V2_ONION = "ysp4gfuhnmj6b4mb.onion"
"""The address in the proposal of 2016."""
V3_ONION = "aj3nsqqcksrrc5cye5etjsoewz6jrygpekzwoko3q6wyxjlb3dgasfid.onion"
"""A real one, from the community's map.yml."""
IMPOSSIBLE_ONIONS = {
    "a wrong checksum": make_onion(1, spoil_checksum=True),
    "a wrong checksum below a label": f"mail.{make_onion(1, spoil_checksum=True)}",
    "version 4": make_onion(1, version=4),
    "a v2 address": V2_ONION,
    "a v2 address below a label": f"mail.{V2_ONION}",
    "a character too many": f"x{V3_ONION}",
    "no address at all": "example.onion",
    "the domain itself": "onion",
    "no host name": "under_score.onion",
    "a label that ends in a hyphen": "mail-.onion",
}
"""Names of which no other DNS than tor's may hear, and which lead to no onion service."""
