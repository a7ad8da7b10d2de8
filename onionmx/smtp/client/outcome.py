"""What became of a transaction."""

import itertools
from collections.abc import Sequence
from enum import Enum

from msgspec import Struct
from msgspec.structs import replace

from onionmx.smtp.reply import OurReply, Reply


class Ending(Enum):
    """How a transaction came to its end."""

    ANSWERED = "answered"  # the peer answered all of it; the replies say what it decided
    UNSUITABLE = "unsuitable"  # the peer lacks what the message needs; nothing was sent
    ABANDONED = "abandoned"  # given up by the caller; `Outcome.sent` says how late
    UNOPENED = "unopened"  # sent early, and the peer let no such session come about: it has taken nothing
    CLOSED = "closed"  # the peer closed the session with 421 before the final reply
    LOST = "lost"  # the connection ended or fell silent before the final reply
    BROKEN = "broken"  # the session came out of step; the outcome has the replies that can be believed all the same


class Sent(Enum):
    """How much of the message left for the peer."""

    NOTHING = "nothing"
    PART = "part"  # cannot have been accepted: neither the last chunk nor the final dot was sent
    EVERYTHING = "everything"


class Outcome(Struct, frozen=True):
    """The result of one transaction.

    Attributes:
        ending: how it ended.
        sent: how much of the message left. What the connection took counts, whether or not it reached the peer.
        mail: reply to MAIL, `None` if none came. A refusal explains all that follows it.
        recipients: reply to each RCPT in the order given, `None` where none came.
        final: reply to the message as a whole: to the final dot or the last chunk, or the first refusal of DATA or of
            a chunk. `None` if none came.
        cause: in words why the session ended, or what the peer lacks; empty when answered.
        own: what onionmx says instead of the peer, for `UNSUITABLE`.
        closing: the 421 with which the peer closed the session.
        round_trips: replies that had to be waited for, one after the other.
    """

    ending: Ending
    sent: Sent = Sent.NOTHING
    mail: Reply | None = None
    recipients: tuple[Reply | None, ...] = ()
    final: Reply | None = None
    cause: str = ""
    own: Reply | None = None
    closing: Reply | None = None
    round_trips: int = 0

    @property
    def is_delivered(self) -> bool:
        """Whether the peer took the message for at least one recipient."""
        return any(self.is_delivered_to(index) for index in range(len(self.recipients)))

    def is_delivered_to(self, index: int) -> bool:
        """Whether the peer took the message for this recipient: MAIL, its RCPT and the message got 2xx."""
        replies = (self.mail, self.recipients[index], self.final)
        return all(reply is not None and reply.is_positive for reply in replies)

    @property
    def may_have_been_accepted(self) -> bool:
        """Whether the peer may have taken the message although nobody can know: all was sent, the final reply is lost.

        Sending it again may make a duplicate, not doing so may lose it. After a 421 this is not so: the peer carries
        out commands in order, and closes instead of carrying out those after its 421 (RFC 5321 section 3.8).
        """
        return (
            self.sent is Sent.EVERYTHING
            and self.final is None
            and self.ending in {Ending.LOST, Ending.ABANDONED, Ending.BROKEN}
            and (self.mail is None or self.mail.is_positive)
            and any(reply is None or reply.is_positive for reply in self.recipients)
        )

    def peer_reply(self, index: int) -> Reply | None:
        """What the peer said that decides about this recipient, `None` if it did not get to it."""
        for reply in (self.mail, self.recipients[index], self.final):
            if reply is not None and not reply.is_positive:
                return reply
        return self.final if self.is_delivered_to(index) else self.closing

    def doubted(self, cause: str) -> "Outcome":
        """The same without a reply: which of them was whose cannot be told, so none may bounce or acknowledge."""
        nobody = (None,) * len(self.recipients)
        return replace(self, ending=Ending.BROKEN, mail=None, recipients=nobody, final=None, cause=cause)

    def of_misled(self) -> "Outcome":
        """The same of a peer that does not offer what was taken for granted: a refusal may rest on that alone.

        Refused for all, the message is to be sent once more; refused for some, it is their next try that counts.
        """
        is_refused = self.mail is not None and not self.mail.is_positive
        if not self.is_delivered and (is_refused or self.ending is Ending.ANSWERED or self._is_refused_for_all):
            return replace(self, ending=Ending.UNOPENED)
        later = OurReply.CONNECTION_LOST.value
        recipients = (
            replace(reply, code=later.code, enhanced=later.enhanced)
            if reply is not None and reply.is_permanent
            else reply
            for reply in self.recipients
        )
        return replace(self, recipients=tuple(recipients))

    @property
    def _is_refused_for_all(self) -> bool:
        return all(reply is not None and not reply.is_positive for reply in self.recipients)

    @property
    def is_decided(self) -> bool:
        """Whether the peer said what decides about each recipient."""
        return all(self.peer_reply(index) is not None for index in range(len(self.recipients)))

    def holds_with(self, surplus: Sequence[Reply]) -> bool:
        """Whether the answers are the same wherever among the replies the ones too many came.

        That is so if all of them are positive: then the message was accepted. It is so too if, from the first refusal
        on, all of them are refusals, none of them milder than the first, and there is nobody else whom that could mean.

        Args:
            surplus: replies behind the last one that was due.
        """
        own = [reply for reply in (self.mail, *self.recipients, self.final) if reply is not None]
        accepted = list(itertools.takewhile(lambda reply: reply.is_positive, own))
        behind = [*own[len(accepted) :], *surplus]
        if len(accepted) == len(own):
            return all(reply.is_positive for reply in behind)
        is_for_all = len(self.recipients) == 1 or not accepted
        is_temporary = behind[0].is_transient
        return is_for_all and all(reply.is_permanent or (reply.is_transient and is_temporary) for reply in behind)

    def answer(self, index: int) -> Reply:
        """The reply for the MTA about this recipient; 2xx only if the peer took the message for it."""
        if self.own is not None:
            return self.own
        reply = self.peer_reply(index)
        if reply is not None and not reply.is_intermediate:
            return reply.passed_through()
        return OurReply.CONNECTION_LOST.value.with_text(self.cause or OurReply.CONNECTION_LOST.value.text)
