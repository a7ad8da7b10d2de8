"""The key of an onion service, in the form of tor's files; no I/O (tor(1), FILES; rend-spec-v3 section 6)."""

from onionmx.errors import InputError

SECRET_KEY = "hs_ed25519_secret_key"  # noqa: S105 -- the name of the file in a HiddenServiceDir
PUBLIC_KEY = "hs_ed25519_public_key"
_SECRET_HEADER = b"== ed25519v1-secret: type0 ==\0\0\0"
_PUBLIC_HEADER = b"== ed25519v1-public: type0 ==\0\0\0"
_SECRET_SIZE = 64  # bytes of an expanded ed25519 key
_PUBLIC_SIZE = 32
_SCALAR_SIZE = 32


def parse_secret_key(content: bytes) -> bytes:
    """Read a file with a secret key.

    Returns:
        The expanded key, 64 bytes.

    Raises:
        InputError: it is not in tor's form.
    """
    return _without_header(content, _SECRET_HEADER, _SECRET_SIZE)


def format_secret_key(key: bytes) -> bytes:
    """The file of an expanded key."""
    return _SECRET_HEADER + key


def parse_public_key_file(content: bytes) -> bytes:
    """Read a file with a public key.

    Returns:
        32 bytes.

    Raises:
        InputError: it is not in tor's form.
    """
    return _without_header(content, _PUBLIC_HEADER, _PUBLIC_SIZE)


def format_public_key_file(key: bytes) -> bytes:
    """The file of a public key."""
    return _PUBLIC_HEADER + key


def public_key_of(expanded: bytes) -> bytes:
    """The public key that belongs to an expanded secret key (RFC 8032 section 5.1.5)."""
    from stem.util import ed25519  # noqa: PLC0415 -- 20 ms of tables, for the few who need them

    # cryptography takes seeds only, and tor keeps none. Of one multiplication in a command that an operator runs,
    # nobody can measure the time.
    scalar = int.from_bytes(expanded[:_SCALAR_SIZE], "little")
    key: bytes = ed25519.encodepoint(ed25519.scalarmult_B(scalar))
    return key


def _without_header(content: bytes, header: bytes, size: int) -> bytes:
    if not content.startswith(header) or len(content) != len(header) + size:
        raise InputError("it is not the key of an onion service: tor's own form is expected")
    return content.removeprefix(header)
