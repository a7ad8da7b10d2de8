"""What a domain demands of its MX, as values; no I/O."""

from dataclasses import dataclass
from enum import StrEnum
from typing import TypeVar

import msgspec

from onionmx.authenticate.demand.tlsa import Tlsa
from onionmx.domain import Domain
from onionmx.errors import TemporaryError

_T = TypeVar("_T")


class RequirementError(TemporaryError):
    """A stored requirement cannot be read."""


class Kind(StrEnum):
    """What accepts or refuses a certificate."""

    MTA_STS = "mta-sts"
    """A policy in mode enforce (RFC 8461)."""
    DANE = "dane"
    """TLSA records of the domain's MX (RFC 7672)."""
    NAME = "name"
    """The domain has no policy, but the operator wants a certificate for its name: `authenticate.mode = "always"`."""


@dataclass(frozen=True, slots=True)
class Demand:
    """What a certificate must be like. Two domains with equal demands can share a session.

    Attributes:
        kind: which of the fields below decide.
        names: host names, some with `*.` in front, of which the certificate must have one: an authority that is
            trusted here must vouch for it, or with DANE an authority that a TLSA record names.
        tlsa: records with DANE, of which one must match; none otherwise.
        server_name: which name to ask the server for (RFC 6066 section 3); empty for none.
    """

    kind: Kind
    names: tuple[str, ...]
    tlsa: tuple[Tlsa, ...] = ()
    server_name: str = ""


@dataclass(frozen=True, slots=True)
class EnforcedPolicy:
    """A domain demands that its MX proves itself. Times are seconds since 1970 (UTC).

    Attributes:
        demand: what the certificate must be like.
        look_at: when to ask the domain again.
        expires: until when this holds although the domain cannot be asked.
        identifier: of the MTA-STS policy, as its TXT record had it.
        fetched: when the MTA-STS policy was fetched.
        trouble: why it could not be fetched again since then, in one line; empty where it could.
    """

    domain: Domain
    demand: Demand
    look_at: float
    expires: float
    identifier: str = ""
    fetched: float = 0.0
    trouble: str = ""

    def to_text(self) -> str:
        """One line of text, for a record in a store."""
        return msgspec.json.encode(self).decode()


@dataclass(frozen=True, slots=True)
class NotRequired:
    """It is known that the domain demands nothing.

    Attributes:
        reason: one line for the operator.
        look_at: when to ask again, in seconds since 1970 (UTC).
    """

    domain: Domain
    reason: str
    look_at: float


def parse_requirement(text: str) -> EnforcedPolicy:
    """Read what `EnforcedPolicy.to_text` wrote.

    Raises:
        RequirementError: it is something else.
    """
    return _decode(text, EnforcedPolicy)


def encode_demand(demand: Demand) -> bytes:
    """A demand as a value of the file beside the map."""
    return msgspec.json.encode(demand)


def decode_demand(value: bytes) -> Demand:
    """Read what `encode_demand` wrote.

    Raises:
        RequirementError: it is something else.
    """
    return _decode(value, Demand)


def _decode(text: str | bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(text, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise RequirementError(f"a stored requirement cannot be read: {error}") from error
