"""What a line of a mail log tells of a remote recipient: its domain, and nothing else."""

from functools import lru_cache
from typing import NamedTuple

from onionmx.domain import Domain, normalize
from onionmx.errors import DomainError

_NOWHERE = frozenset({"invalid", "local", "localdomain", "localhost", "onion"})
"""Top-level names for which there is no SRV record to ask for (RFC 6761, RFC 6762, RFC 7686)."""
_REMEMBERED = 65536  # domains; most lines are about few of them


class LoggedRecipient(NamedTuple):
    """A remote recipient.

    Attributes:
        is_final: the MTA is done with it, delivered or not. It logs a deferral again and again, and the recipient
            must count once.
    """

    domain: Domain
    is_final: bool


@lru_cache(_REMEMBERED)
def remote_domain(raw: bytes) -> str | None:
    """The domain of an address as a log has it, in normal form.

    Returns:
        `None` for what cannot be one with an onion MX: a bare host name, an address literal, a broken name.
    """
    try:
        domain = normalize(raw.decode("utf-8"))
    except (UnicodeDecodeError, DomainError):
        return None
    _, dot, top = domain.rpartition(".")
    return domain if dot and not top.isdecimal() and top not in _NOWHERE else None


def is_on_this_host(name: bytes, address: bytes) -> bool:
    """Whether a hop is a filter on this host rather than the way out; Tor's virtual addresses are the way out."""
    return address.startswith((b"127.", b"::1", b"::ffff:127.")) and not name.rstrip(b".").endswith(b".onion")
