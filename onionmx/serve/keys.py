"""From the key of a lookup to the mail domain that it asks about.

MTAs ask with whatever they have: full addresses with quoted local parts and Unicode, bare domains, the `*` of Postfix's
transport(5), address literals. What names no domain can have no onion MX.
"""

from onionmx.domain import normalize
from onionmx.errors import DomainError
from onionmx.onion import is_for_tor_alone

REMEMBERED = 50_000
"""Domains as written that are remembered, with what is known of them; about 250 bytes each."""
LONGEST_REMEMBERED = 255
"""Bytes of them; longer ones are junk or very rare."""
_LONGEST = 1024  # bytes; 253 characters, each of at most four bytes of UTF-8

_known: dict[bytes, str | None] = {}


def domain_as_written(key: bytes) -> bytes:
    """The part of a key that should be a domain, as it was written.

    Args:
        key: an address (RFC 5321 section 4.1.2; the domain is behind the last @), or a domain.
    """
    return key[key.rfind(b"@") + 1 :]


def domain_of(key: bytes) -> str | None:
    """The domain that a key asks about, in normal form, or `None` if it names none.

    Args:
        key: an address or a domain.
    """
    return normal_form(domain_as_written(key))


def normal_form(written: bytes) -> str | None:
    """A domain in normal form, or `None` if it is none."""
    try:
        return _known[written]
    except KeyError:
        pass
    if len(written) > _LONGEST:
        return None
    domain = _normalized(written)
    if len(written) <= LONGEST_REMEMBERED:
        if len(_known) >= REMEMBERED:
            _known.clear()
        _known[written] = domain
    return domain


def names_an_onion(key: bytes) -> bool:
    """Whether a key that names no domain ends in .onion even so: no name for the open DNS (RFC 7686).

    Postfix asks for `.onion`, too, which names nobody, when it has been told that there is nothing for a whole name.
    """
    return not key.startswith(b".") and is_for_tor_alone(domain_as_written(key).decode("utf-8", "replace"))


def _normalized(written: bytes) -> str | None:
    try:
        domain = normalize(written.decode("utf-8"))
    except (UnicodeDecodeError, DomainError):
        return None
    # The last label of an IPv4 address; no top-level domain is all digits (RFC 3696 section 2).
    return None if domain[domain.rfind(".") + 1 :].isdigit() else domain
