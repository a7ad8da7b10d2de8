"""What the core tells the shell. All of them are plain facts; none asks for an answer but `TlsGranted`."""

from enum import Enum

from msgspec import Struct

from onionmx.smtp.client.outcome import Outcome
from onionmx.smtp.client.pipeline import Stage
from onionmx.smtp.client.transaction import ClientTransaction
from onionmx.smtp.extensions import Extensions
from onionmx.smtp.reply import OurReply, Reply


class Ready(Struct, frozen=True):
    """The peer takes mail: the greeting, EHLO and STARTTLS where wanted are through."""

    extensions: Extensions


class TlsGranted(Struct, frozen=True):
    """The TLS handshake is to be made now, before anything is read or written; then `tls_started` is called."""


class Refused(Struct, frozen=True):
    """The peer does not take mail from us; QUIT is on its way.

    Attributes:
        stage: at which point.
        reply: what the peer said, `None` if the refusal is ours.
        own: what onionmx says where the peer said nothing that fits.
        cause: in words.
    """

    stage: Stage
    reply: Reply | None
    own: OurReply
    cause: str


class Answered(Struct, frozen=True):
    """A command of a transaction was answered.

    Attributes:
        transaction: whose.
        stage: which command.
        index: which recipient, for RCPT.
        reply: the answer.
    """

    transaction: ClientTransaction
    stage: Stage
    index: int
    reply: Reply


class Ended(Struct, frozen=True):
    """A transaction came to its end, whichever way."""

    transaction: ClientTransaction
    outcome: Outcome


class Fault(Enum):
    """What is wrong with the dialog where a session ends."""

    NONE = "none"
    BROKEN = "broken"  # it cannot go on
    DOUBTFUL = "doubtful"  # replies and commands have come apart, perhaps before it was seen


class Closed(Struct, frozen=True):
    """The session is over; each transaction on it has ended.

    Attributes:
        cause: in words.
        reply: the 421 or 221 that said so, if one did.
        fault: what is wrong with the dialog.
        surplus: replies that were to nothing.
    """

    cause: str
    reply: Reply | None = None
    fault: Fault = Fault.NONE
    surplus: tuple[Reply, ...] = ()


Event = Ready | TlsGranted | Refused | Answered | Ended | Closed
