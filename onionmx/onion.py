"""Version 3 onion addresses, alone and with a port (torspec rend-spec-v3 section 6, "Encoding onion addresses").

Released versions of stem accept addresses with a wrong checksum, and Tor's DNSPort maps any name that ends in
.onion, so both checksum and version are verified here.
"""

try:
    # hashlib loads OpenSSL, a tenth of the time that the whole route helper may take.
    from _sha3 import sha3_256  # type: ignore[import-not-found,unused-ignore]
except ImportError:  # pragma: no cover
    from hashlib import sha3_256

from onionmx.errors import OnionError

DEFAULT_PORT = 25
MAX_PORT = 65535
SUFFIX = ".onion"

Endpoint = tuple[str, int]
"""An onion host name and a port."""

_V2_LABEL_LENGTH = 16  # base32 of the 80 bits that a v2 name held
_V3_LABEL_LENGTH = 56  # base32 of 32 bytes public key, 2 bytes checksum, 1 byte version
_V3_VERSION = 3
# int() reads digits 0-9a-v where RFC 4648 base32 has a-z2-7; the base64 module would cost the route helper 4 ms.
_BASE32_TO_INT = str.maketrans("abcdefghijklmnopqrstuvwxyz234567", "0123456789abcdefghijklmnopqrstuv")
_BASE32 = frozenset("abcdefghijklmnopqrstuvwxyz234567")


def parse_onion(text: str) -> str:
    """Check an onion host name and give it back in its one normal form.

    Args:
        text: the host name; upper case and one trailing dot are accepted.

    Returns:
        56 base32 characters in lower case and `.onion`.

    Raises:
        OnionError: not an onion name, a v2 name, or a wrong length, alphabet, checksum or version.
    """
    name = text.lower().removesuffix(".")
    label = name.removesuffix(SUFFIX)
    if label == name or not label:
        raise OnionError(f"{text!r} is not an onion address: expected 56 base32 characters and .onion")
    if "." in label:
        raise OnionError(f"{text!r} has a label before the onion address: expected 56 base32 characters and .onion")
    if len(label) != _V3_LABEL_LENGTH:
        if is_v2_onion(name):
            raise OnionError(
                f"{text!r} is a version 2 onion address, which Tor no longer serves: ask for the v3 address"
            )
        raise OnionError(f"{text!r} has {len(label)} characters before .onion: a v3 address has {_V3_LABEL_LENGTH}")
    if not _BASE32.issuperset(label):
        raise OnionError(f"{text!r} is not base32: only the letters a-z and the digits 2-7 occur in onion addresses")
    raw = int(label.translate(_BASE32_TO_INT), 32).to_bytes(35, "big")
    public_key, checksum, version = raw[:32], raw[32:34], raw[34:]
    if version[0] != _V3_VERSION:
        raise OnionError(f"{text!r} has version {version[0]}: only version 3 onion addresses exist")
    if sha3_256(b".onion checksum" + public_key + version).digest()[:2] != checksum:
        raise OnionError(f"{text!r} has a wrong checksum: at least one character is mistyped")
    return name


def is_for_tor_alone(name: str) -> bool:
    """Whether a name is under the top-level domain onion, valid or not: no other DNS may hear it (RFC 7686).

    Args:
        name: upper case and one trailing dot are accepted.
    """
    return f".{name}".lower().removesuffix(".").endswith(SUFFIX)


def onion_of(name: str) -> str:
    """The onion to which a name under `.onion` leads: tor looks at the last label before `.onion` and at no other.

    Args:
        name: upper case and one trailing dot are accepted.

    Raises:
        OnionError: there is no v3 onion address at its end.
    """
    return parse_onion(".".join(name.removesuffix(".").split(".")[-2:]))


def is_v2_onion(text: str) -> bool:
    """Whether this is one of the version 2 names that Tor stopped serving in 2021."""
    label = text.lower().removesuffix(".").removesuffix(SUFFIX)
    return (
        text.lower().removesuffix(".").endswith(SUFFIX) and len(label) == _V2_LABEL_LENGTH and _BASE32.issuperset(label)
    )


def parse_port(text: str) -> int:
    """Check a port in decimal digits.

    Raises:
        OnionError: not a number from 1 to 65535.
    """
    # Plain ASCII digits only: int() also takes signs, spaces, underscores and other scripts' digits.
    if text.isascii() and text.isdigit() and len(text) <= len(str(MAX_PORT)) and 0 < int(text) <= MAX_PORT:
        return int(text)
    raise OnionError(f"{text!r} is not a port: expected a number from 1 to {MAX_PORT}")


def parse_endpoint(text: str) -> Endpoint:
    """Read `onion` or `onion:port`; the port is 25 where none is written.

    Raises:
        OnionError: the address or the port cannot be used.
    """
    host, colon, port = text.partition(":")
    return parse_onion(host), parse_port(port) if colon else DEFAULT_PORT


def format_endpoint(endpoint: Endpoint) -> str:
    """Write an endpoint the way the map and the pins hold it: without the port where that is 25."""
    onion, port = endpoint
    return onion if port == DEFAULT_PORT else f"{onion}:{port}"
