"""Whether a certificate is what a domain demands (RFC 8461 section 4.2, RFC 7672 section 3); no I/O.

With MTA-STS, OpenSSL follows the chain to the authorities of this system during the handshake, and here the names are
compared. With DANE the handshake checks nothing, and everything is decided here.
"""

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from itertools import islice

from cryptography import x509
from cryptography.x509 import verification
from cryptography.x509.oid import ExtendedKeyUsageOID

from onionmx.authenticate.demand.policy import agree
from onionmx.authenticate.demand.requirement import Demand, Kind
from onionmx.authenticate.demand.tlsa import DANE_EE, DANE_TA, Shown, Tlsa
from onionmx.net.certificate import UNREADABLE, CertificateError, read_certificate, reading
from onionmx.smtp.printable import printable

MOST_CERTIFICATES = 10
"""Of what a peer sends, the first are looked at: its own, and the chain to its authority, which has four at most."""
MOST_PATHS = 64
"""Pairs of an authority and a name for which a chain is looked for."""
_MOST_NAMED = 8  # TLSA records in words


@dataclass(frozen=True, slots=True)
class Accepted:
    """The certificate is what the domain demands.

    Attributes:
        names: of the certificate, those that count; with DANE the TLSA record that matches.
        not_after: end of its validity in seconds since 1970; `None` where that does not count (RFC 7672 section 3.1.1).
    """

    names: tuple[str, ...]
    not_after: float | None


@dataclass(frozen=True, slots=True)
class CertificateRefused:
    """It is not.

    Attributes:
        reason: one line for the operator.
    """

    reason: str


def examine(demand: Demand, chain: Sequence[bytes], now: datetime) -> Accepted | CertificateRefused:
    """Decide.

    Args:
        demand: what the certificate must be like.
        chain: as the peer sent it, its own certificate first, in DER. Unless the demand is DANE, the TLS library has
            already verified it.
        now: when it must be valid.
    """
    if not chain:
        return CertificateRefused("the peer shows no certificate")
    if demand.kind is not Kind.DANE:
        return _compare_names(demand, chain[0])
    shown = [Shown(der) for der in chain[:MOST_CERTIFICATES]]
    if matching := _end_entity(demand, shown[0]):
        return Accepted((f"TLSA {matching}",), None)
    return _follow_to_anchor(demand, shown, now)


def _compare_names(demand: Demand, der: bytes) -> Accepted | CertificateRefused:
    try:
        certificate = read_certificate(der)
    except CertificateError as error:
        return CertificateRefused(str(error))
    names = tuple(name for name in certificate.names if any(agree(pattern, name) for pattern in demand.names))
    if not names:
        own = ", ".join(certificate.names) or "no names"
        return CertificateRefused(printable(f"the certificate is for {own}; expected {', '.join(demand.names)}"))
    return Accepted(names, certificate.not_after.timestamp())


def _end_entity(demand: Demand, shown: Shown) -> Tlsa | None:
    return next((record for record in demand.tlsa if record.usage == DANE_EE and record.matches(shown)), None)


# An authority that a domain runs for itself need not follow the rules of those in browsers, so only what the safety
# of a chain rests on is asked for (RFC 5280 section 6.1); signatures, times and names are always checked.


def _check_signs_certificates(
    _policy: verification.Policy, _certificate: x509.Certificate, usage: x509.KeyUsage | None
) -> None:
    if usage is not None and not usage.key_cert_sign:
        raise ValueError("the key of an authority must not sign certificates")


def _check_serves(
    _policy: verification.Policy, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage | None
) -> None:
    if usage is not None and not {ExtendedKeyUsageOID.SERVER_AUTH, ExtendedKeyUsageOID.ANY_EXTENDED_KEY_USAGE} & {
        *usage
    }:
        raise ValueError("the certificate is not one for servers")


_EITHER = verification.Criticality.AGNOSTIC
_AUTHORITY = (
    verification.ExtensionPolicy.permit_all()
    .require_present(x509.BasicConstraints, _EITHER, None)
    .may_be_present(x509.KeyUsage, _EITHER, _check_signs_certificates)
)
_SERVER = (
    verification.ExtensionPolicy.permit_all()
    .require_present(x509.SubjectAlternativeName, _EITHER, None)
    .may_be_present(x509.ExtendedKeyUsage, _EITHER, _check_serves)
)


def _follow_to_anchor(demand: Demand, shown: Sequence[Shown], now: datetime) -> Accepted | CertificateRefused:
    """Follow the chain to an authority that a TLSA record names (RFC 7672 section 3.1.2)."""
    try:
        with reading():
            own, *others = (x509.load_der_x509_certificate(each.der) for each in shown)
            anchors = _anchors(demand, shown)
    except CertificateError as error:
        return CertificateRefused(str(error))
    if not anchors:
        return CertificateRefused(
            f"no TLSA record matches; expected one of {'; '.join(map(str, demand.tlsa[:_MOST_NAMED]))}"
        )
    reasons = []
    for anchor, record, name in islice(_paths(anchors, demand.names), MOST_PATHS):
        try:
            verified = _verified(anchor, name, own, others, now)
        except (verification.VerificationError, *UNREADABLE) as error:
            reasons.append(f"{name}: {error}")
            continue
        end = min(each.not_valid_after_utc for each in verified)
        return Accepted((name, f"TLSA {record}"), end.timestamp())
    return CertificateRefused(printable(f"no chain to the authority of the TLSA record: {'; '.join(reasons)}"))


def _paths(
    anchors: Mapping[bytes, tuple[x509.Certificate, Tlsa]], names: Sequence[str]
) -> Iterator[tuple[x509.Certificate, Tlsa, str]]:
    for name in names:
        for anchor, record in anchors.values():
            yield anchor, record, name


def _verified(
    anchor: x509.Certificate, name: str, own: x509.Certificate, others: list[x509.Certificate], now: datetime
) -> list[x509.Certificate]:
    policy = verification.PolicyBuilder().store(verification.Store([anchor])).time(now)
    policy = policy.extension_policies(ca_policy=_AUTHORITY, ee_policy=_SERVER)
    return policy.build_server_verifier(x509.DNSName(name)).verify(own, others)


def _anchors(demand: Demand, shown: Sequence[Shown]) -> dict[bytes, tuple[x509.Certificate, Tlsa]]:
    """The authorities that TLSA records name, each once."""
    found: dict[bytes, Tlsa] = {}
    for record in demand.tlsa:
        if record.usage != DANE_TA:
            continue
        for each in shown[1:]:
            if record.matches(each):
                found.setdefault(each.der, record)
        if record.matching == 0 and record.selector == 0:
            # The whole certificate is in DNS, and the server need not send it.
            found.setdefault(record.data, record)
    return {der: (x509.load_der_x509_certificate(der), record) for der, record in found.items()}
