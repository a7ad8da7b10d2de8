"""Files of onion services, made as tor makes them (rend-spec-v3, RFC 8032 section 5.1.5)."""

from hashlib import sha512

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onionmx.tor.nobody import onion_with
from onionmx.tor.service.identity import PUBLIC_KEY, SECRET_KEY, format_public_key_file, format_secret_key


def expanded(seed: bytes) -> bytes:
    """The expanded secret key of a seed."""
    key = bytearray(sha512(seed).digest())
    key[0] &= 248
    key[31] = key[31] & 63 | 64
    return bytes(key)


def files_of(seed: bytes) -> dict[str, bytes]:
    """The files of a HiddenServiceDir."""
    public = Ed25519PrivateKey.from_private_bytes(seed).public_key().public_bytes_raw()
    return {
        SECRET_KEY: format_secret_key(expanded(seed)),
        PUBLIC_KEY: format_public_key_file(public),
        "hostname": f"{onion_with(public)}\n".encode(),
    }
