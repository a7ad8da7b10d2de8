"""Certificates of every kind, made for one test."""

import ssl
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID

NOW = datetime.now(UTC)
MONTH = timedelta(days=30)


@dataclass(frozen=True)
class Issued:
    """A certificate with its key, and who issued it if somebody else did."""

    certificate: x509.Certificate
    key: ec.EllipticCurvePrivateKey

    @property
    def der(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.DER)

    @property
    def pem(self) -> bytes:
        return self.certificate.public_bytes(serialization.Encoding.PEM)

    def write(self, folder: Path, *chain: "Issued") -> tuple[Path, Path]:
        """Certificate, with those of its issuers that a server sends along, and key as files."""
        certificate, key = folder / "certificate.pem", folder / "key.pem"
        certificate.write_bytes(b"".join(each.pem for each in (self, *chain)))
        encoding, form = serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8
        key.write_bytes(self.key.private_bytes(encoding, form, serialization.NoEncryption()))
        return certificate, key

    def context(self, folder: Path, *chain: "Issued") -> ssl.SSLContext:
        """What a server shows it with."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(*self.write(folder, *chain))
        return context


def issue(
    *names: str,
    ca: Issued | None = None,
    is_ca: bool = False,
    start: datetime = NOW - MONTH,
    end: datetime = NOW + MONTH,
    common_name: str = "",
) -> Issued:
    """A certificate for these host names and addresses, self-signed where there is no `ca`."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, common_name or ("Test CA" if is_ca else "peer"))])
    builder = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(ca.certificate.subject if ca else subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(start)
        .not_valid_after(end)
        .add_extension(x509.BasicConstraints(ca=is_ca, path_length=None), critical=True)
    )
    if names:
        builder = builder.add_extension(x509.SubjectAlternativeName(list(map(_name, names))), critical=False)
    return Issued(builder.sign(ca.key if ca else key, hashes.SHA256()), key)


def _name(text: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ip_address(text))
    except ValueError:
        return x509.DNSName(text)
