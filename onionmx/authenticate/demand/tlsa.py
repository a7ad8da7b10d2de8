"""TLSA records as DANE for SMTP uses them (RFC 6698, RFC 7672 section 3.1); no I/O."""

import hashlib
from dataclasses import dataclass

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from onionmx.net.certificate import CertificateError, reading

DANE_TA = 2
"""The record is about an authority in the chain."""
DANE_EE = 3
"""The record is about the certificate of the server itself."""

_WHOLE, _PUBLIC_KEY = 0, 1  # selectors
_DIGESTS = {1: hashlib.sha256, 2: hashlib.sha512}  # matching types; 0 is the thing itself


@dataclass(frozen=True, slots=True, order=True)
class Tlsa:
    """A TLSA record.

    Attributes:
        usage: `DANE_TA`, `DANE_EE`, or one of those that SMTP does not know.
        selector: 0 the certificate, 1 its public key.
        matching: 0 as it is, 1 SHA-256, 2 SHA-512.
        data: what it must be.
    """

    usage: int
    selector: int
    matching: int
    data: bytes

    @property
    def is_usable(self) -> bool:
        """Whether SMTP can check it: usages 0 and 1 have no meaning there (RFC 7672 section 3.1.3)."""
        if self.usage not in {DANE_TA, DANE_EE} or self.selector not in {_WHOLE, _PUBLIC_KEY}:
            return False
        if self.matching in _DIGESTS:
            return len(self.data) == _DIGESTS[self.matching]().digest_size
        return self.matching == 0 and bool(self.data)

    def matches(self, shown: "Shown") -> bool:
        """Whether this certificate is the one that the record means."""
        return self.data == shown.association(self.selector, self.matching)

    def __str__(self) -> str:
        return f"{self.usage} {self.selector} {self.matching} {self.data.hex()}"


class Shown:
    """A certificate that a peer shows. Each of the six things that records can be compared with is worked out once.

    Args:
        der: as TLS carries it.

    Attributes:
        der: the same.
    """

    def __init__(self, der: bytes) -> None:
        self.der = der
        self._associations: dict[tuple[int, int], bytes | None] = {}

    def association(self, selector: int, matching: int) -> bytes | None:
        """What a record of this kind has to contain; `None` where the certificate cannot be read.

        Args:
            selector: of a usable record.
            matching: the same.
        """
        kind = selector, matching
        if kind not in self._associations:
            self._associations[kind] = self._associate(*kind)
        return self._associations[kind]

    def _associate(self, selector: int, matching: int) -> bytes | None:
        if matching in _DIGESTS:
            selected = self.association(selector, 0)
            return None if selected is None else _DIGESTS[matching](selected).digest()
        if selector == _WHOLE:
            return self.der
        try:
            with reading():
                key = x509.load_der_x509_certificate(self.der).public_key()
                return key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        except CertificateError:
            return None
