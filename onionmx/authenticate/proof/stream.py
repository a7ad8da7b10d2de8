"""A stream to an onion MX that must prove itself: after the handshake, before anything else is said to it."""

import asyncio
import socket
import ssl
from datetime import UTC, datetime
from functools import partial
from typing import Self

from onionmx.authenticate.demand.authorities import Authorities
from onionmx.authenticate.demand.requirement import Demand
from onionmx.authenticate.proof.examine import MOST_CERTIFICATES, Accepted, CertificateRefused, examine
from onionmx.errors import TemporaryError
from onionmx.net.stream import SocketStream, take_over
from onionmx.net.tls import peer_chain
from onionmx.smtp.faults import StreamError
from onionmx.smtp.printable import printable


class NotProvenError(TemporaryError):
    """The peer has not proven that it is an MX of the domain; one line of why."""


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
        chain = peer_chain(self.tls, MOST_CERTIFICATES)
        # What a stranger has made takes as long as it likes: up to a second, in which nobody else is to wait.
        verdict = await asyncio.to_thread(examine, self._demand, chain, datetime.now(UTC))
        if isinstance(verdict, CertificateRefused):
            self.refusal = verdict.reason
            self.abort()
            raise StreamError(self.refusal)
        self.accepted = verdict
