"""Whether the signatures of a zone are good for anything (DNSSEC, RFC 4033 to 4035); no I/O."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import UTC, datetime
from enum import Enum, StrEnum
from typing import cast

import dns.dnssec
import dns.exception
import dns.name
import dns.rdtypes.ANY.DNSKEY
import dns.rdtypes.ANY.DS
import dns.rdtypes.ANY.RRSIG
import dns.rrset
from dns.dnssectypes import DSDigest

DNSKEY = dns.rdtypes.ANY.DNSKEY.DNSKEY
DS = dns.rdtypes.ANY.DS.DS
RRSIG = dns.rdtypes.ANY.RRSIG.RRSIG


class Signed(StrEnum):
    """What a validating resolver makes of the record."""

    VALID = "signed and valid"
    UNSIGNED = "unsigned"
    ISLAND = "signed, but nothing leads to it"
    """No DS record in the zone above: resolvers take it for unsigned (RFC 4035 section 4.3, "insecure")."""
    BOGUS = "signed wrongly"
    """Validating resolvers refuse it: SERVFAIL."""
    UNKNOWN = "could not tell"


class SignatureVerdict(Enum):
    """What the configured resolver says of the zone."""

    VALIDATED = "validated"
    """A resolver that is believed has validated it."""
    NOT_VALIDATED = "not validated"
    FAILED = "failed"
    """It answers SERVFAIL, and answers when told not to validate."""


@dataclass(frozen=True, slots=True)
class ZoneKeys:
    """What vouches for a zone.

    Attributes:
        zone: its name.
        keys: its DNSKEY records, from its own servers; `None` if it has none.
        fault: what is wrong with them, as `check_keys` says; empty if nothing is.
        ds: the DS records of the zone above; none if there are none.
        verdict: of the configured resolver.
        problem: why they could not be found out, in words; empty where they could.
    """

    zone: dns.name.Name
    keys: dns.rrset.RRset | None = None
    fault: str = ""
    ds: tuple[DS, ...] = ()
    verdict: SignatureVerdict = SignatureVerdict.NOT_VALIDATED
    problem: str = ""


def judge(
    behind: ZoneKeys, record: dns.rrset.RRset | None, signatures: dns.rrset.RRset | None, now: float
) -> tuple[Signed, str]:
    """Judge a record.

    Args:
        behind: keys of the zone and what leads to them.
        record: as an authoritative server gives it; `None` where there is no record, for the zone alone.
        signatures: over the record.
        now: seconds since the epoch.

    Returns:
        The judgement and one line of why.
    """
    if behind.problem:
        return Signed.UNKNOWN, behind.problem
    if behind.fault:
        return Signed.BOGUS, behind.fault
    if behind.keys is None:
        return Signed.UNSIGNED, "the zone has no keys: anyone who can forge DNS answers can forge the record"
    if record is not None and (fault := check_signatures(record, signatures, behind.keys, now)):
        return Signed.BOGUS, fault
    return _judge_chain(behind)


def _judge_chain(behind: ZoneKeys) -> tuple[Signed, str]:
    """The signatures fit the keys of the zone; whether anything leads to these."""
    match behind.verdict:
        case SignatureVerdict.VALIDATED:
            return Signed.VALID, "a validating resolver vouches for it"
        case SignatureVerdict.FAILED:
            return Signed.BOGUS, "the signatures fit the keys of the zone, and the resolver still refuses the zone"
        case SignatureVerdict.NOT_VALIDATED if behind.ds:
            return (
                Signed.UNKNOWN,
                "the signatures fit, but no validating resolver that is believed vouches for the keys",
            )
        case SignatureVerdict.NOT_VALIDATED:
            return Signed.ISLAND, "the zone above has no DS record of its keys: give it to the registrar"


def check_keys(keys: dns.rrset.RRset | None, signatures: dns.rrset.RRset | None, ds: Iterable[DS], now: float) -> str:
    """Check the keys of a zone: signed by themselves, and known to the zone above if that knows any.

    Returns:
        What is wrong, in words; empty if nothing is.
    """
    ds = tuple(ds)
    if keys is None:
        return "the zone above has a DS record, and the zone has no keys" if ds else ""
    if ds and not any(_fits(keys.name, key, each) for key in keys for each in ds):
        return "none of the zone's keys fits the DS record of the zone above"
    fault = check_signatures(keys, signatures, keys, now)
    return f"the keys of the zone: {fault}" if fault else ""


def check_signatures(
    records: dns.rrset.RRset, signatures: dns.rrset.RRset | None, keys: dns.rrset.RRset, now: float
) -> str:
    """Check the signatures over records with the keys of their zone.

    Returns:
        What is wrong, in words; empty if one signature is good, which is enough.
    """
    if not signatures:
        return "no signature, in a zone that is signed"
    try:
        dns.dnssec.validate(records, signatures, {keys.name: keys}, now=now)
    except (dns.exception.DNSException, ValueError):
        return _why(cast("Iterable[RRSIG]", signatures), keys, now)
    return ""


def _why(signatures: Iterable[RRSIG], keys: dns.rrset.RRset, now: float) -> str:
    signatures = list(signatures)
    last = max(signature.expiration for signature in signatures)
    if last < now:
        return f"the signature expired on {_date(last)}"
    first = min(signature.inception for signature in signatures)
    if first > now:
        return f"the signature is not valid before {_date(first)}: is the clock right?"
    tags = {dns.dnssec.key_id(cast("DNSKEY", key)) for key in keys}
    if not tags & {signature.key_tag for signature in signatures}:
        return "the signature is by a key that the zone does not have"
    return "the signature does not fit the record"


def _fits(zone: dns.name.Name, key: object, ds: DS) -> bool:
    key = cast("DNSKEY", key)
    if dns.dnssec.key_id(key) != ds.key_tag:
        return False
    try:
        made = dns.dnssec.make_ds(zone, key, DSDigest(ds.digest_type), validating=True)
    except (dns.exception.DNSException, ValueError):
        return False
    return made.digest == ds.digest


def _date(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d %H:%M UTC")
