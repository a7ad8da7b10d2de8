"""TLS contexts: all are made here, so that a certificate gets the same verdict on every Python.

`ssl.create_default_context` chooses versions and ciphers. Its verify flags depend on the version of Python: 3.13 added
VERIFY_X509_STRICT and VERIFY_X509_PARTIAL_CHAIN. Both are cleared here, because:

- VERIFY_X509_STRICT refuses private CAs that lack what RFC 5280 asks of a CA but no other program insists on, such as
  the authority key identifier. OpenSSL itself, Exim and Postfix leave it out.
- VERIFY_X509_PARTIAL_CHAIN makes every certificate in a file of CAs an authority for itself, so that a server's own
  certificate that lies in there is accepted without its CA.
"""

import ssl
from collections.abc import Iterable
from itertools import islice
from pathlib import Path
from typing import Protocol

from onionmx.errors import ConfigurationError

_LEFT_OUT = ssl.VerifyFlags.VERIFY_X509_STRICT | ssl.VerifyFlags.VERIFY_X509_PARTIAL_CHAIN


def verifying_context(ca_file: str = "", setting: str = "ca_file") -> ssl.SSLContext:
    """TLS for a client that asks for a certificate by a trusted authority, for the name of the server.

    Args:
        ca_file: the authorities, in PEM; empty for those of the system. A file takes their place.
        setting: what names the file in the configuration, for the error.

    Raises:
        ConfigurationError: the file cannot be used.
    """
    try:
        context = ssl.create_default_context(cafile=Path(ca_file) if ca_file else None)
    except OSError as error:  # ssl.SSLError is one
        why = error.strerror if error.errno and not isinstance(error, ssl.SSLError) else "no certificates in PEM"
        raise ConfigurationError(f"{setting} {ca_file} cannot be used: {why}") from error
    context.verify_flags &= ~_LEFT_OUT
    return context


def unverified_context() -> ssl.SSLContext:
    """TLS that checks no certificate: the onion name was proven by tor, and no authority vouches for it."""
    context = verifying_context()
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    return context


class _Certificate(Protocol):
    def public_bytes(self) -> str: ...


def peer_chain(tls: ssl.SSLObject | None, most: int) -> list[bytes]:
    """The certificates that the peer has sent, in DER, its own first; none of them verified.

    Args:
        tls: after the handshake.
        most: so many of them, for a peer can send hundreds.
    """
    if tls is None:
        return []
    if public := getattr(tls, "get_unverified_chain", None):  # from Python 3.13 on
        return [bytes(der) for der in public()[:most]]
    # The same function, before it got its public name.
    chain = tls._sslobj.get_unverified_chain() or ()  # type: ignore[attr-defined]  # noqa: SLF001
    return _to_der(islice(chain, most))


def _to_der(chain: Iterable[_Certificate]) -> list[bytes]:
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in chain]
