"""A stream to an onion MX that must prove itself: after the handshake, before anything else is said to it."""

import socket
import ssl
from collections.abc import Iterable
from datetime import UTC, datetime
from functools import partial
from pathlib import Path
from typing import Protocol, Self

from onionmx.authenticate.examine import Accepted, Refused, examine
from onionmx.authenticate.requirement import Demand, Kind
from onionmx.errors import ConfigurationError, TemporaryError
from onionmx.probe.printable import printable
from onionmx.smtp.faults import StreamError
from onionmx.smtp.stream import SocketStream, take_over, unverified_context


class NotProvenError(TemporaryError):
    """The peer has not proven that it is an MX of the domain; one line of why."""


class Authorities:
    """The certificate authorities that are trusted.

    Args:
        ca_file: those to trust, in PEM; empty for those of the system.

    Attributes:
        https: for a host whose name must stand in its certificate.

    Raises:
        ConfigurationError: the file of authorities cannot be used.
    """

    def __init__(self, ca_file: str = "") -> None:
        self.https = _verifying(ca_file)
        self.https.hostname_checks_common_name = False
        self._chain = _verifying(ca_file)
        self._chain.check_hostname = False  # any of several names will do, and `examine` compares them
        self._unverified = unverified_context()

    def context_for(self, demand: Demand) -> ssl.SSLContext:
        """For an onion MX with this demand; `examine` has the last word."""
        return self._unverified if demand.kind is Kind.DANE else self._chain


class ProvingStream(SocketStream):
    """A stream on which TLS starts only with a peer that proves itself; `over` makes it from a socket.

    Attributes:
        accepted: what the peer has shown, once TLS was started.
        refusal: why it has not proven itself, where that is what ended the handshake.

    Args:
        demand: what the certificate must be like.
        authorities: who may vouch for it.
    """

    def __init__(self, demand: Demand, authorities: Authorities) -> None:
        super().__init__()
        self._demand = demand
        self._context = authorities.context_for(demand)
        self.accepted: Accepted | None = None
        self.refusal = ""

    @classmethod
    async def over(cls, connected: socket.socket, demand: Demand, authorities: Authorities) -> Self:
        """Take over a connected socket.

        Args:
            connected: to the onion MX, nothing read from it yet.
            demand: what its certificate must be like.
            authorities: who may vouch for it.

        Raises:
            StreamError: the socket is of no use.
        """
        return await take_over(connected, partial(cls, demand, authorities))

    async def start_tls(
        self,
        context: ssl.SSLContext,  # noqa: ARG002
        server_name: str | None = None,  # noqa: ARG002
    ) -> None:
        """Make the handshake and look at the certificate.

        Args:
            context: has no say here: what the demand needs is used.
            server_name: the same.

        Raises:
            StreamError: it failed, or the peer has not proven itself; then the connection has ended.
        """
        try:
            await super().start_tls(self._context, self._demand.server_name or None)
        except StreamError as error:
            if isinstance(error.__cause__, ssl.SSLCertVerificationError):
                self.refusal = printable(f"no authority vouches for the certificate: {error.__cause__.verify_message}")
            raise
        verdict = examine(self._demand, peer_chain(self.tls), datetime.now(UTC))
        if isinstance(verdict, Refused):
            self.refusal = verdict.reason
            self.abort()
            raise StreamError(self.refusal)
        self.accepted = verdict


def _verifying(ca_file: str) -> ssl.SSLContext:
    try:
        return ssl.create_default_context(cafile=Path(ca_file) if ca_file else None)
    except OSError as error:  # ssl.SSLError is one
        why = error.strerror if error.errno and not isinstance(error, ssl.SSLError) else "no certificates in PEM"
        raise ConfigurationError(f"authenticate.ca_file {ca_file} cannot be used: {why}") from error


class _Certificate(Protocol):
    def public_bytes(self) -> str: ...


def peer_chain(tls: ssl.SSLObject | None) -> list[bytes]:
    """The certificates that the peer has sent, in DER, its own first; nobody has verified them."""
    if tls is None:
        return []
    if public := getattr(tls, "get_unverified_chain", None):  # from Python 3.13 on
        return [bytes(der) for der in public()]
    # The same function, before it got its public name.
    return _to_der(tls._sslobj.get_unverified_chain() or ())  # type: ignore[attr-defined]  # noqa: SLF001


def _to_der(chain: Iterable[_Certificate]) -> list[bytes]:
    return [ssl.PEM_cert_to_DER_cert(each.public_bytes()) for each in chain]
