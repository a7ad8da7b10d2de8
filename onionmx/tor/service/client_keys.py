"""x25519 client authorization, in the forms of tor's files; no I/O (tor(1), CLIENT AUTHORIZATION; rend-spec-v3 G)."""

import re
from base64 import b32decode, b32encode
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey

from onionmx.errors import InputError
from onionmx.onion import SUFFIX, parse_onion

FOLDER = "authorized_clients"
"""In a HiddenServiceDir, with a file for each client. If tor can read none of them, the service is open to all."""
AUTH = ".auth"
"""How the name of such a file ends; tor reads no others."""
AUTH_PRIVATE = ".auth_private"
"""How the name of a client's file in its ClientOnionAuthDir ends."""
CLOSED = "nobody"
"""Name for a key of which nobody has the other half: it keeps a service closed whose last client was revoked."""

_TYPE = "descriptor"
_KEY_TYPE = "x25519"
_SIZE = 32  # bytes of either half
_LENGTH = 52  # base32 characters of these, without padding
_BASE32 = re.compile(r"[A-Z2-7]{52}")
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@+-]{0,199}")


@dataclass(frozen=True, slots=True)
class ClientKey:
    """What a client needs to find a private onion.

    Attributes:
        onion: the service.
        private: 32 bytes, a secret.
    """

    onion: str
    private: bytes = field(repr=False)

    @property
    def public(self) -> str:
        """The other half, which the service has, in base32."""
        return _encoded(X25519PrivateKey.from_private_bytes(self.private).public_key().public_bytes_raw())

    @property
    def file_name(self) -> str:
        """As tor itself calls the file of this onion."""
        return self.onion.removesuffix(SUFFIX) + AUTH_PRIVATE

    def __str__(self) -> str:
        """The line of the client's file."""
        return f"{self.onion.removesuffix(SUFFIX)}:{_TYPE}:{_KEY_TYPE}:{_encoded(self.private)}\n"


def new_client_key(onion: str) -> ClientKey:
    """Make a pair for a client of a service."""
    return ClientKey(onion, X25519PrivateKey.generate().private_bytes_raw())


def parse_client_name(text: str) -> str:
    """Check the name of a client, which names its file.

    Raises:
        InputError: it is not one.
    """
    if text == CLOSED:
        raise InputError(f"the name {CLOSED!r} is taken: it marks a service that is closed to all")
    if not _NAME.fullmatch(text) or text.endswith((AUTH, AUTH_PRIVATE)):
        raise InputError(
            f"{text!r} is not a name for a client: expected up to 200 letters, digits and . _ @ + -, such as the "
            "domain that sends, without .auth"
        )
    return text


def parse_public_key(text: str) -> str:
    """Check a client's public key: 52 base32 characters, or the whole line of an .auth file.

    Returns:
        The key in base32, in upper case.

    Raises:
        InputError: it is not one.
    """
    key = text.strip()
    if key.count(":"):
        return parse_auth(key)
    raw = _decoded(key, "a public key")
    try:
        # A client with one of the few keys of low order would share its secret with everybody (RFC 7748 section 6.1).
        X25519PrivateKey.generate().exchange(X25519PublicKey.from_public_bytes(raw))
    except ValueError as error:
        raise InputError(f"{key!r} is not a public key that protects anything (it has a low order)") from error
    return _encoded(raw)


def parse_auth(text: str) -> str:
    """Read an .auth file.

    Returns:
        The public key in base32.

    Raises:
        InputError: tor would not read it.
    """
    words = text.strip().split(":")
    if words[:2] != [_TYPE, _KEY_TYPE] or len(words) != len((_TYPE, _KEY_TYPE, "key")):
        raise InputError(f"it is not a public key of tor's: expected {_TYPE}:{_KEY_TYPE}: and 52 base32 characters")
    return parse_public_key(words[2]) if words[2] else _encoded(_decoded("", "a public key"))


def format_auth(public: str) -> str:
    """The line of an .auth file."""
    return f"{_TYPE}:{_KEY_TYPE}:{public}\n"


def parse_auth_private(text: str) -> ClientKey:
    """Read an .auth_private file.

    Raises:
        InputError: tor would not read it; the key is not in the message.
    """
    label, *words = text.strip().split(":")
    if words[:2] != [_TYPE, _KEY_TYPE] or len(words) != len((_TYPE, _KEY_TYPE, "key")):
        raise InputError(
            f"it is not a client's key of tor's: expected one line, ADDRESS:{_TYPE}:{_KEY_TYPE}:KEY, with the onion "
            "address without .onion"
        )
    return ClientKey(parse_onion(f"{label}{SUFFIX}"), _decoded(words[2], "the private key", secret=True))


def _decoded(text: str, what: str, *, secret: bool = False) -> bytes:
    shown = what if secret else f"{what}, {text!r},"
    if len(text) != _LENGTH:
        raise InputError(f"{shown} has {len(text)} characters: an x25519 key has {_LENGTH} in base32")
    if not _BASE32.fullmatch(text.upper()) or not text.isascii():
        raise InputError(f"{shown} is not base32: only the letters a-z and the digits 2-7 occur in it")
    raw = b32decode(f"{text.upper()}====")[:_SIZE]
    if _encoded(raw) != text.upper():
        raise InputError(f"{shown} is not base32 of 32 bytes: its last character is mistyped")
    return raw


def _encoded(raw: bytes) -> str:
    return b32encode(raw).decode().rstrip("=")
