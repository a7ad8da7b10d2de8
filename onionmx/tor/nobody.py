"""Onion addresses that nobody has, to be asked for where only the answer of this host's own tor matters."""

from base64 import b32encode
from hashlib import sha3_256


def onion_with(key: bytes, *, is_mistyped: bool = False) -> str:
    """The onion address of a key (rend-spec-v3 section 6).

    Args:
        key: 32 bytes; they need not be a key that exists.
        is_mistyped: give it a wrong checksum.
    """
    version = b"\x03"
    checksum = sha3_256(b".onion checksum" + key + version).digest()[:2]
    if is_mistyped:
        checksum = bytes(byte ^ 0xFF for byte in checksum)
    return b32encode(key + checksum + version).decode().lower() + ".onion"


UNUSED_ONION = onion_with(b"onionmx doctor".ljust(32, b"\0"))
"""Always the same name, because tor remembers a virtual address for each that it was ever asked for."""
BAD_CHECKSUM_ONION = onion_with(b"onionmx doctor".ljust(32, b"\0"), is_mistyped=True)
"""The same with a wrong checksum."""
