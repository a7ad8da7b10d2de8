"""Entries of a shared store with a MAC: only a host that knows the key can write what the others believe; no I/O.

A MAC covers what an entry is, and whose. So no entry can be made, changed, or put in another's place; one who may write
to the server can still take entries away, and bring back older ones of the same name.
"""

import hmac
import re

from onionmx.credential import read_named_secret
from onionmx.domain import MAX_DOMAIN_LENGTH
from onionmx.errors import ConfigurationError
from onionmx.sync.state.encoding import UnreadableError

LONGEST_ENTRY = 1 << 20
"""Bytes of one entry, but for the lists of hosts. What a run writes is far below."""
_SHORTEST_KEY = 16  # bytes
_MAC = 16  # bytes of SHA-256: as hard to guess as an AES key
_LABEL = rb"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_DOMAIN = re.compile(rb"(?:%s\.)*%s" % (_LABEL, _LABEL))


class Seal:
    """Closes entries and opens them again.

    Args:
        key: that all hosts know; empty for entries without a MAC.
    """

    def __init__(self, key: bytes = b"") -> None:
        self._key = key

    def close(self, kind: str, name: str, content: bytes) -> bytes:
        """Put the MAC in front of an entry.

        Args:
            kind: what it is.
            name: whose it is.
            content: what it says.
        """
        return self._mac(kind, name, content) + content

    def open(self, kind: str, name: str, entry: bytes, longest: int = LONGEST_ENTRY) -> bytes:
        """The content of an entry; see `close`.

        Args:
            kind: likewise.
            name: likewise.
            entry: what the store has.
            longest: bytes that it may have.

        Raises:
            UnreadableError: it was not written by a host that knows the key, or is too long.
        """
        if len(entry) > longest:
            raise UnreadableError(f"the {kind} of {name[:80]!r} has {len(entry)} bytes, {longest} at most are possible")
        if not self._key:
            return entry
        mac, content = entry[:_MAC], entry[_MAC:]
        if not hmac.compare_digest(mac, self._mac(kind, name, content)):
            raise UnreadableError(
                f"the {kind} of {name[:80]!r} was not written by a host that has the key in sync.store_key_file, but "
                "by one with another key or none, or by somebody else"
            )
        return content

    def _mac(self, kind: str, name: str, content: bytes) -> bytes:
        if not self._key:
            return b""
        parts = (kind.encode(), name.encode("utf-8", "surrogateescape"))
        head = b"".join(len(part).to_bytes(4, "big") + part for part in parts)
        return hmac.digest(self._key, head + content, "sha256")[:_MAC]


def read_seal(file: str) -> Seal:
    """The seal of the key in a file that nobody but its owner may read, or in a credential; empty for none.

    Raises:
        ConfigurationError: it cannot be read, others may read it, or it is too short.
    """
    if not file:
        return Seal()
    key = read_named_secret(file, "the store's key").strip()
    if len(key) < _SHORTEST_KEY:
        raise ConfigurationError(
            f"the store's key {file} has {len(key)} bytes: expected {_SHORTEST_KEY} at least, such as those of "
            "openssl rand -hex 32"
        )
    return Seal(key)


def domain_of(name: bytes) -> str:
    """A name that a store holds, which questions are made of.

    Raises:
        UnreadableError: it is no domain in normal form.
    """
    if len(name) > MAX_DOMAIN_LENGTH or not _DOMAIN.fullmatch(name):
        raise UnreadableError(f"{name[:80]!r} is no domain")
    return name.decode("ascii")
