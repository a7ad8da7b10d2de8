"""The faults of the SMTP client, those of the caller apart from those of the peer.

    OnionmxError
    ├── InputError (ValueError)
    │   └── EnvelopeError           an address or a parameter cannot be put on the wire
    ├── MisuseError (RuntimeError)  the caller did what the state does not allow: a bug of ours
    └── TemporaryError
        ├── ReplySyntaxError        what the peer sent is not a reply; never leaves the core
        ├── StreamError             the connection under the session failed (ConnectionError)
        │   └── UnreachedError      it never reached the peer
        └── OpeningError            no session came about

A fault of the peer on an open session is no exception: it ends each transaction with an outcome that says so.
"""

from enum import Enum

from onionmx.errors import InputError, OnionmxError, TemporaryError
from onionmx.smtp.reply import OurReply, Reply


class EnvelopeError(InputError):
    """An address or a parameter cannot be put on the wire; says which and why."""


class MisuseError(OnionmxError, RuntimeError):
    """The caller asked for something that the state of the session or of the transaction does not allow."""


class ReplySyntaxError(TemporaryError):
    """What the peer sent is not an SMTP reply, or is longer than one may be."""


class StreamError(TemporaryError, ConnectionError):
    """Reading, writing or the TLS handshake failed; the stream is of no further use."""


class UnreachedError(StreamError):
    """The connection has never reached the peer: nothing that was written came to anybody."""


class Obstacle(Enum):
    """At what a session failed that may succeed without it."""

    TLS = "tls"  # STARTTLS, the handshake, or what comes right behind it
    CHUNKS = "chunks"  # the question whether a refused BDAT is swallowed
    OTHER = "other"


class OpeningError(TemporaryError):
    """The peer could not be brought to the point where it takes mail.

    Attributes:
        reply: what the peer said instead, `None` where it said nothing usable.
        own: what onionmx says where the peer said nothing that fits a recipient.
        obstacle: what it failed at.
    """

    def __init__(
        self,
        cause: str,
        reply: Reply | None = None,
        own: OurReply = OurReply.CONNECTION_LOST,
        obstacle: Obstacle = Obstacle.OTHER,
    ) -> None:
        super().__init__(cause)
        self.reply = reply
        self.own = own
        self.obstacle = obstacle

    @property
    def answer(self) -> Reply:
        """The reply for the MTA: the peer's refusal passed through, or our own with the cause."""
        if self.reply is not None and (self.reply.is_transient or self.reply.is_permanent):
            return self.reply.passed_through()
        return self.own.value.with_text(str(self))
