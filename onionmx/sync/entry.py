"""What the map has for a domain of which something is known; no I/O."""

from dataclasses import dataclass

from onionmx.onion import Endpoint
from onionmx.sync.rules import Belief, Rules
from onionmx.sync.state.record import DomainRecord
from onionmx.target import Trust

NOT_LISTED = "it is in no list and not pinned any more"


@dataclass(frozen=True, slots=True)
class Entry:
    """The entry of a domain in the map.

    Attributes:
        endpoints: in the order in which they are tried; none where the map has no entry.
        why: there is none, or why some of the onions are left out; else empty.
    """

    endpoints: tuple[Endpoint, ...]
    why: str = ""


def entry_of(record: DomainRecord, rules: Rules, now: float) -> Entry:
    """What the map has for a domain that is neither pinned nor this host's own.

    Args:
        record: what is known of it.
        rules: of this domain.
        now: seconds since 1970; a proof ends with its time.
    """
    if not record.listed:
        return Entry((), NOT_LISTED)
    if record.established is None:
        return Entry((), record.reason or record.decision)
    endpoints = record.established.endpoints
    if record.established.trust is not Trust.UNSIGNED:
        return Entry(endpoints)
    if rules.belief is Belief.DNSSEC:
        return Entry((), "the record is not signed, and only signed ones count")
    return _proven(record, endpoints, now) if rules.authenticates else Entry(endpoints)


def needs_look(record: DomainRecord, rules: Rules) -> bool:
    """Whether it matters what the domain demands of its MX."""
    return (
        rules.authenticates
        and rules.belief is not Belief.DNSSEC
        and record.established is not None
        and record.established.trust is Trust.UNSIGNED
    )


def _proven(record: DomainRecord, endpoints: tuple[Endpoint, ...], now: float) -> Entry:
    proof = record.proof
    if not record.requirement:
        # The third answer: a domain of which that is not known may demand something.
        unknown = "it is not known yet whether the domain demands a certificate of its MX (MTA-STS, DANE)"
        return Entry(endpoints) if record.requirement_expires else Entry((), unknown)
    if proof is None:
        return Entry((), "its onion MX has not shown a certificate that the domain would accept")
    if now >= proof.expires:
        return Entry((), "the certificate of its onion MX has to be shown again")
    proven = tuple(endpoint for endpoint in endpoints if endpoint in proof.endpoints)
    if len(proven) == len(endpoints):
        return Entry(proven)
    left_out = "onion MXes that have not shown a certificate that the domain would accept are left out"
    return Entry(proven, left_out if proven else "its onion MXes have not shown a certificate that it would accept")
