"""One mail transaction: MAIL, its recipients, the message, and all replies to them (RFC 5321 section 3.3).

Moves of the caller; what is not in the table is a bug of the caller. The peer ends a transaction at any point.

    phase       add_recipient  send        send last   abandon   peer
    RECIPIENTS  RECIPIENTS     CONTENT     COMPLETE    ENDED     ENDED
    CONTENT     -              CONTENT     COMPLETE    ENDED     ENDED
    COMPLETE    -              -           -           ENDED     ENDED
    ENDED       ENDED          ENDED       ENDED       ENDED     ENDED

An ended transaction takes everything and does nothing, since the peer may end it before the caller can know.

A transaction that cannot succeed any more is *doomed*: nothing further of it is sent, but the replies to what was sent
are still read, for they come before those of the next transaction.
"""

from enum import Enum
from typing import Protocol

from onionmx.smtp.client.outcome import Ending, Outcome, Sent
from onionmx.smtp.client.pipeline import Command, Pipeline, Stage
from onionmx.smtp.content import DOT, DotStuffer
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.extensions import Extensions
from onionmx.smtp.faults import MisuseError
from onionmx.smtp.reply import Reply


class Phase(Enum):
    """How far the caller has got."""

    RECIPIENTS = "recipients"
    CONTENT = "content"
    COMPLETE = "complete"
    ENDED = "ended"


class Act(Enum):
    """What the caller does, or `PEER` what the peer does."""

    ADD_RECIPIENT = "add_recipient"
    SEND = "send"
    SEND_LAST = "send last"
    ABANDON = "abandon"
    PEER = "peer"


PHASES: dict[Phase, dict[Act, Phase]] = {
    Phase.RECIPIENTS: {
        Act.ADD_RECIPIENT: Phase.RECIPIENTS,
        Act.SEND: Phase.CONTENT,
        Act.SEND_LAST: Phase.COMPLETE,
        Act.ABANDON: Phase.ENDED,
        Act.PEER: Phase.ENDED,
    },
    Phase.CONTENT: {
        Act.SEND: Phase.CONTENT,
        Act.SEND_LAST: Phase.COMPLETE,
        Act.ABANDON: Phase.ENDED,
        Act.PEER: Phase.ENDED,
    },
    Phase.COMPLETE: {Act.ABANDON: Phase.ENDED, Act.PEER: Phase.ENDED},
    Phase.ENDED: dict.fromkeys(Act, Phase.ENDED),
}


class TransactionHost(Protocol):
    """What a transaction needs of its session."""

    @property
    def extensions(self) -> Extensions:
        """What the peer offers."""

    @property
    def pipeline(self) -> Pipeline:
        """Where commands go."""

    def answered(self, transaction: "ClientTransaction", command: Command, reply: Reply) -> None:
        """A reply was taken."""

    def ended(self, transaction: "ClientTransaction", *, needs_reset: bool) -> None:
        """The transaction has an outcome; the peer may still hold it open."""

    def is_alone(self, transaction: "ClientTransaction") -> bool:
        """Whether no other transaction is in flight."""

    def retire(self) -> None:
        """Begin no further transaction on this session."""

    def cut(self, cause: str) -> None:
        """The connection must end without another byte."""

    def doubt(self, cause: str) -> None:
        """Replies and commands have come apart, nobody knows where."""


class ClientTransaction:
    """A transaction that was begun with `ClientConnection.begin`.

    Attributes:
        envelope: what it was begun with.
        mail: reply to MAIL.
        final: reply to the message, see `Outcome.final`.
        outcome: how it ended, `None` before.
        unsent: bytes of content that wait in the core for the peer to allow them.
        unacknowledged: bytes of content in chunks that the peer has not answered. What is in the two is memory in
            the core and on the way; the shell keeps it bounded.
    """

    def __init__(self, host: TransactionHost, envelope: Envelope) -> None:
        self.envelope = envelope
        self.mail: Reply | None = None
        self.final: Reply | None = None
        self.outcome: Outcome | None = None
        self.unsent = 0
        self.unacknowledged = 0
        self._host = host
        self._phase = Phase.RECIPIENTS
        self._recipients: list[Reply | None] = []
        self._chunking = host.extensions.chunking
        self._stuffer = DotStuffer()
        self._replies_due = 0  # including those to commands that still wait
        self._data_asked = False
        self._data_begun = False
        self._is_doomed = False
        self._open_at_peer = False  # between MAIL and what clears it there
        self._content_from: int | None = None  # places in the output of the session
        self._content_to: int | None = None
        self._began_at = host.pipeline.round_trips
        self._push(Command(Stage.MAIL, (envelope.command(host.extensions),)))
        for recipient in envelope.recipients:
            self.add_recipient(recipient)

    @property
    def recipients(self) -> tuple[Reply | None, ...]:
        """Reply to each RCPT in the order given."""
        return tuple(self._recipients)

    @property
    def sent(self) -> Sent:
        """How much of the message left."""
        left = self._host.pipeline.left
        if self._content_to is not None and self._content_to <= left:
            return Sent.EVERYTHING
        return Sent.PART if self._content_from is not None and self._content_from < left else Sent.NOTHING

    @property
    def is_complete(self) -> bool:
        """Whether all of it was given to the core and nothing waits there."""
        return self._phase in {Phase.COMPLETE, Phase.ENDED} and not self.unsent

    @property
    def is_judged(self) -> bool:
        """Whether the peer has refused the sender, or has answered all recipients given."""
        if self.outcome or (self.mail is not None and not self.mail.is_positive):
            return True
        return self.mail is not None and None not in self._recipients

    @property
    def is_refused(self) -> bool:
        """Whether the peer has refused all recipients given."""
        return all(reply is not None and not reply.is_positive for reply in self._recipients)

    @property
    def wants_content(self) -> bool:
        """Whether it makes sense to send more content."""
        return self._phase in {Phase.RECIPIENTS, Phase.CONTENT} and not self._is_doomed

    def add_recipient(self, recipient: Recipient) -> int:
        """Send a RCPT command.

        Returns:
            The place of its reply in `recipients`; without meaning once the transaction has an outcome.

        Raises:
            MisuseError: content was sent already.
        """
        self._move(Act.ADD_RECIPIENT)
        index = len(self._recipients)
        if self.outcome:
            return index
        self._recipients.append(None)
        if not self._is_doomed:
            self._push(Command(Stage.RCPT, (recipient.command(self._host.extensions),), index=index))
        return index

    def send(self, content: bytes, *, last: bool = False) -> None:
        """Send content: a chunk with BDAT, else a piece of what follows DATA.

        Args:
            content: bytes of the message; for a peer without CHUNKING the line ends must all be CRLF.
            last: whether the message ends with it; it may be empty then.

        Raises:
            MisuseError: the message is complete already, or has no recipient.
        """
        if not self._recipients:
            raise MisuseError("content was sent before any recipient")
        self._move(Act.SEND_LAST if last else Act.SEND)
        if self.outcome:
            return
        self._doom_without_recipients()
        if not self._is_doomed:
            if self._chunking:
                self._send_chunk(content, last=last)
            else:
                self._send_after_data(content, last=last)
        self._end_if_answered()

    def abandon(self, cause: str, ending: Ending = Ending.ABANDONED) -> None:
        """Give the transaction up, as far as that is still possible; it has an outcome after that.

        Between chunks the peer is told by RSET. In the middle of DATA, or of the last chunk on its slow way out, only
        the end of the connection tells it (RFC 5321 section 4.1.1.4: what has no final dot is not a message). A
        message that left as a whole cannot be called back: its reply is read and dropped, and the session takes no
        further one.
        """
        self._move(Act.ABANDON, keep=True)
        if self.outcome:
            return
        self._doom()
        is_leaving = self._data_begun if self._content_to is None else self.sent is not Sent.EVERYTHING
        if is_leaving and self._host.is_alone(self):
            self._open_at_peer = False  # RSET would become part of the message
            self.end(ending, cause)
            self._host.cut(cause)
        elif self._content_to is not None:
            # To cut off others, all of which left before it, would leave each of them in doubt.
            self._host.retire()
        self.end(ending, cause)

    def end(self, ending: Ending, cause: str = "", closing: Reply | None = None, *, is_doubtful: bool = False) -> None:
        """Set the outcome; the session calls this when it ends.

        Args:
            ending: how it ended.
            cause: in words.
            closing: the 421 that ended the session.
            is_doubtful: no reply so far can be believed.
        """
        if self.outcome:
            return
        self._move(Act.PEER)
        for command in self._host.pipeline.withdraw(self):
            self.unsent -= command.content
        outcome = Outcome(
            ending,
            self.sent,
            self.mail,
            self.recipients,
            self.final,
            cause=cause,
            closing=closing,
            round_trips=self._host.pipeline.round_trips - self._began_at,
        )
        self.outcome = outcome.doubted(cause) if is_doubtful else outcome
        self._host.ended(self, needs_reset=self._open_at_peer)

    def on_sent(self, command: Command) -> None:
        """A command left the queue."""
        if command.stage is Stage.MAIL:
            self._open_at_peer = True
        elif command.stage is Stage.DATA:
            self._data_begun = True
        self.unsent -= command.content
        if command.stage in {Stage.CHUNK, Stage.END}:
            self.unacknowledged += command.content
        place = self._host.pipeline.queued
        if command.content and self._content_from is None:
            self._content_from = place - len(command.parts[-1])
        # A lone dot, which follows a DATA without recipients, ends no message.
        if command.stage is Stage.END and not self._is_doomed:
            self._content_to = place

    def on_reply(self, command: Command, reply: Reply) -> None:
        """Take the reply to a command of this transaction."""
        self._replies_due -= 1
        wanted = reply.is_intermediate if command.stage is Stage.DATA else reply.is_positive
        if not (wanted or reply.is_transient or reply.is_permanent):
            self._host.doubt(f"the reply {reply.code} does not answer {command.stage.value}")
            return
        if self.outcome:
            return
        self._record(command, reply)
        self._host.answered(self, command, reply)
        if self._contradicts_itself(command, reply):
            self._host.doubt(f"the peer accepts {command.stage.value} without sender or recipients")
            return
        if command.stage is Stage.DATA and reply.is_intermediate and not self._is_accepted:
            # RFC 2920 section 3.1: the peer waits for a message now, so it gets an empty one, which goes to nobody.
            self._is_doomed = True
            self._push(Command(Stage.END, (DOT,)), first=True)
        self._end_if_answered()

    @property
    def _is_accepted(self) -> bool:
        """Whether the peer took the sender and at least one recipient."""
        return _is_positive(self.mail) and any(map(_is_positive, self._recipients))

    def _record(self, command: Command, reply: Reply) -> None:
        """Keep the reply, and see what it means for the rest."""
        match command.stage:
            case Stage.MAIL:
                self.mail = reply
                if not reply.is_positive:
                    self._open_at_peer = False
                    self._doom()
            case Stage.RCPT:
                self._recipients[command.index] = reply
                if self._phase is not Phase.RECIPIENTS:
                    self._doom_without_recipients()
            case Stage.DATA | Stage.CHUNK | Stage.END:
                self.unacknowledged -= command.content
                if not (reply.is_positive or reply.is_intermediate):
                    self.final = self.final or reply
                    self._doom()
                elif command.stage is Stage.END:
                    self.final = self.final or reply
                # The end of DATA clears the transaction in any case (RFC 5321 section 4.1.1.4); after a refused
                # chunk, the last one included, RSET must (RFC 3030 section 2).
                if command.stage is Stage.END and (reply.is_positive or not self._chunking):
                    self._open_at_peer = False

    def _contradicts_itself(self, command: Command, reply: Reply) -> bool:
        """Whether a success cannot be meant for us, so that replies and commands have come apart.

        Only after an empty DATA message the peer may say what it likes.
        """
        if command.stage is Stage.END:
            return reply.is_positive and self._chunking and not self._is_accepted
        if command.stage is Stage.DATA:
            return reply.is_intermediate and not _is_positive(self.mail) and any(map(_is_positive, self._recipients))
        return False

    def _send_chunk(self, content: bytes, *, last: bool) -> None:
        if not content and not last:
            return
        line = b"BDAT %d%s\r\n" % (len(content), b" LAST" if last else b"")
        self._push(Command(Stage.END if last else Stage.CHUNK, (line, content), content=len(content)))

    def _send_after_data(self, content: bytes, *, last: bool) -> None:
        if not self._data_asked:
            self._push(Command(Stage.DATA, (b"DATA\r\n",)))
            self._data_asked = True
        if content:
            self._push(Command(Stage.CONTENT, (self._stuffer.feed(content),), content=len(content)))
        if last:
            self._push(Command(Stage.END, (self._stuffer.finish(),)))

    def _push(self, command: Command, *, first: bool = False) -> None:
        command.owner = self
        self.unsent += command.content
        self._replies_due += command.stage is not Stage.CONTENT
        self._host.pipeline.push(command, first=first)

    def _doom(self) -> None:
        self._is_doomed = True
        for command in self._host.pipeline.withdraw(self):
            self.unsent -= command.content
            self._replies_due -= command.stage is not Stage.CONTENT

    def _doom_without_recipients(self) -> None:
        if self.is_refused:
            self._doom()

    def _end_if_answered(self) -> None:
        if not self._replies_due and (self._is_doomed or self._phase is Phase.COMPLETE):
            self.end(Ending.ANSWERED)

    def _move(self, act: Act, *, keep: bool = False) -> None:
        try:
            phase = PHASES[self._phase][act]
        except KeyError:
            raise MisuseError(f"{act.value} is impossible in the phase {self._phase.value}") from None
        if not keep:
            self._phase = phase


def _is_positive(reply: Reply | None) -> bool:
    return reply is not None and reply.is_positive
