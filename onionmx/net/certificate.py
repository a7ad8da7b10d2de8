"""What a certificate says, whether somebody vouches for it or not (RFC 5280, RFC 6125); no I/O."""

import warnings
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import datetime
from threading import RLock

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.utils import CryptographyDeprecationWarning

from onionmx.errors import TemporaryError
from onionmx.smtp.printable import printable

UNREADABLE = (
    ValueError,
    UnsupportedAlgorithm,
    x509.InvalidVersion,
    x509.DuplicateExtension,
    x509.UnsupportedGeneralNameType,
)
"""What `cryptography` raises for what is no certificate, or one of a kind that it does not know."""


_warnings = RLock()  # Python's filters belong to all threads


class CertificateError(TemporaryError):
    """What the peer sent as a certificate is none."""


@dataclass(frozen=True, slots=True)
class Certificate:
    """The parts of a certificate that an operator looks at; all text is printable.

    Attributes:
        subject: distinguished name (RFC 4514).
        issuer: the same of who signed it.
        names: host names and addresses among the subject's alternative names.
        not_before: beginning of the validity.
        not_after: its end.
        is_self_signed: whether its own key has signed it.
    """

    subject: str
    issuer: str
    names: tuple[str, ...]
    not_before: datetime
    not_after: datetime
    is_self_signed: bool

    def has_expired(self, now: datetime) -> bool:
        """Whether the validity is over."""
        return now > self.not_after

    def is_not_yet_valid(self, now: datetime) -> bool:
        """Whether the validity has not begun."""
        return now < self.not_before

    def matching(self, wanted: Iterable[str]) -> tuple[str, ...]:
        """Those of the host names that the certificate is for, in their order."""
        return tuple(name for name in dict.fromkeys(wanted) if any(_matches(own, name) for own in self.names))


@contextmanager
def reading() -> Iterator[None]:
    """Read what a peer calls a certificate; `cryptography` reads most parts only when they are asked for.

    Raises:
        CertificateError: it cannot be read.
    """
    try:
        with _warnings, warnings.catch_warnings():
            # About serial numbers and encodings that only the issuer could fix.
            warnings.simplefilter("ignore", CryptographyDeprecationWarning)
            yield
    except UNREADABLE as error:
        raise CertificateError(f"the certificate cannot be read: {printable(str(error))}") from error


def read_certificate(der: bytes) -> Certificate:
    """Read a certificate.

    Args:
        der: as TLS carries it.

    Raises:
        CertificateError: it cannot be read.
    """
    with reading():
        return _read(x509.load_der_x509_certificate(der))


def _read(certificate: x509.Certificate) -> Certificate:
    return Certificate(
        subject=printable(certificate.subject.rfc4514_string()),
        issuer=printable(certificate.issuer.rfc4514_string()),
        names=tuple(map(printable, _names(certificate))),
        not_before=certificate.not_valid_before_utc,
        not_after=certificate.not_valid_after_utc,
        is_self_signed=_is_self_signed(certificate),
    )


def _names(certificate: x509.Certificate) -> list[str]:
    try:
        extension = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName)
    except x509.ExtensionNotFound:
        return []
    names = extension.value
    return [*names.get_values_for_type(x509.DNSName), *map(str, names.get_values_for_type(x509.IPAddress))]


def _is_self_signed(certificate: x509.Certificate) -> bool:
    if certificate.subject != certificate.issuer:
        return False
    try:
        certificate.verify_directly_issued_by(certificate)
    except (ValueError, TypeError, InvalidSignature, UnsupportedAlgorithm):
        return False
    return True


def _matches(own: str, name: str) -> bool:
    """Compare host names; `*` matches the whole first label and nothing else (RFC 6125 section 6.4.3)."""
    own, name = own.lower().removesuffix("."), name.lower().removesuffix(".")
    if own.startswith("*."):
        return own.removeprefix("*") == f".{name.partition('.')[2]}"
    return own == name
