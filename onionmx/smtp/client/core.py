"""An SMTP client session without I/O: bytes in, events and bytes out (RFC 5321, 2920, 3030, 3207).

The shell reads and calls `receive_data` or `receive_eof`, writes what `data_to_send` gives, and acts on `events`. What
the core cannot do is the shell's: time limits, the TLS handshake, and waiting when the peer takes no more bytes.

The states of the session are in `states.py`, those of a transaction in `transaction.py`. Replies carry no name of what
they answer, so a session on which one came too many, or one that does not fit, is BROKEN: it is marked once, each
transaction in flight ends as broken, and nothing more is read from it or written to it. Where nothing says that
replies and commands had come apart before, the replies that came in order count; where something does, none of those
to the transactions in flight is believed.
"""

import contextlib

from onionmx.smtp.client.events import Answered, Closed, Ended, Event, Fault, Refused
from onionmx.smtp.client.opening import Opening
from onionmx.smtp.client.outcome import Ending
from onionmx.smtp.client.pipeline import Command, Pipeline, Stage
from onionmx.smtp.client.states import MOVES, Chunks, Early, State, TlsPolicy, Transition
from onionmx.smtp.client.transaction import ClientTransaction
from onionmx.smtp.codes import Code
from onionmx.smtp.envelope import Envelope, check_hello
from onionmx.smtp.extensions import Extensions
from onionmx.smtp.faults import MisuseError, ReplySyntaxError
from onionmx.smtp.reply import Reply
from onionmx.smtp.reply_parser import ReplyParser


class ClientConnection:
    """One session with a peer.

    Attributes:
        state: where it is.
        extensions: what the peer offers, from the last response to EHLO.
        is_encrypted: whether TLS was started.
        transactions: those that have not ended, in order.
        ended_in: the state in which it was when it ended, `None` before.

    Args:
        hello: the name to give in EHLO.
        tls: when to start TLS.
        chunks: whether to send content with BDAT.
        remembered: what the peer announced in a session before, but for STARTTLS, where it swallowed a BDAT that it
            refused.
        early: what of a session to send on the strength of that; it needs PIPELINING and CHUNKING, and no TLS.

    Raises:
        EnvelopeError: the name cannot be said in EHLO.
    """

    def __init__(
        self,
        hello: str,
        tls: TlsPolicy = TlsPolicy.NEVER,
        chunks: Chunks = Chunks.USE,
        remembered: Extensions | None = None,
        early: Early = Early.NOTHING,
    ) -> None:
        is_early = early is not Early.NOTHING
        self.state = State.EARLY if is_early else State.GREETING
        self.extensions = (remembered if is_early else None) or Extensions()
        self.is_encrypted = False
        self.transactions: list[ClientTransaction] = []
        self._early: ClientTransaction | None = None  # the transaction that began before EHLO was answered
        self._is_misled = False
        self.ended_in: State | None = None
        self.pipeline = Pipeline(early)
        self._opening = Opening(self, check_hello(hello), tls, chunks, remembered)
        self._parser = ReplyParser()
        self._events: list[Event] = []
        self._is_retired = False
        self._is_held_there = False  # the peer may still have the last transaction open
        if is_early:
            self._opening.greet()

    # What the shell feeds and fetches.

    def receive_data(self, data: bytes) -> None:
        """Take bytes from the peer. Whatever they are, this raises nothing."""
        if self._is_over:
            return
        if self._waits_for_handshake:
            self.out_of_step("bytes in the clear after the reply to STARTTLS")
            return
        self._parser.feed(data)
        try:
            while not self._is_over and (reply := self._parser.next_reply()) is not None:
                self._take(reply)
                # What was sent along in the clear must not be taken for the first reply under TLS.
                if self._waits_for_handshake and self._parser.has_leftover:
                    self.out_of_step("bytes in the clear after the reply to STARTTLS")
        except ReplySyntaxError as error:
            self.out_of_step(str(error))

    def receive_eof(self, cause: str = "the peer closed the connection") -> None:
        """The connection ended, or is as good as ended.

        Args:
            cause: in words, for the outcomes of the transactions in flight.
        """
        self._finish(cause)

    def receive_unreached(self, cause: str) -> None:
        """The connection has never reached the peer: nothing that was sent early has reached anyone.

        Args:
            cause: in words.
        """
        self._finish(cause, ending=Ending.UNOPENED)

    def data_to_send(self) -> list[bytes]:
        """The bytes to write next, in order; large content as it was given, without a copy."""
        return self.pipeline.take_output()

    def set_unwritten(self, size: int) -> None:
        """Say how many bytes of `data_to_send` the connection has not taken, so that `Outcome.sent` is exact."""
        self.pipeline.unwritten = size

    def events(self) -> list[Event]:
        """What happened since the last call, in order."""
        events, self._events = self._events, []
        return events

    # What the shell asks about.

    @property
    def awaiting(self) -> Stage | None:
        """What the next reply is due for, `None` if nothing is: the shell's time limit depends on it."""
        return self.pipeline.oldest

    @property
    def round_trips(self) -> int:
        """How many replies had to be waited for, one after the other, the greeting not counted."""
        return self.pipeline.round_trips

    @property
    def replies(self) -> int:
        """How many replies were taken: the shell's sign that the peer is not silent."""
        return self.pipeline.replies

    @property
    def has_partial_reply(self) -> bool:
        """Whether the beginning of a reply came, and not its end yet."""
        return self._parser.has_leftover

    @property
    def is_usable(self) -> bool:
        """Whether the session will take another transaction, now or after those in flight."""
        return self.state in {State.READY, State.EARLY} and not self._is_retired

    @property
    def can_begin(self) -> bool:
        """Whether a transaction may begin now.

        With PIPELINING and CHUNKING that is so once the one before was sent as a whole (RFC 2920 section 3.1),
        otherwise once it has ended. How many are in flight is for the caller to limit. Before the peer has answered
        EHLO there is one at most.
        """
        if not self.is_usable:
            return False
        if not self.transactions:
            return True
        return self.state is State.READY and self.extensions.one_flight and self.transactions[-1].is_complete

    def was_misled(self, transaction: ClientTransaction) -> bool:
        """Whether a transaction left early to a peer that does not offer what was remembered.

        It may have refused it for that reason alone.
        """
        return self._is_misled and transaction is self._early

    @property
    def is_misled(self) -> bool:
        """Whether there was such a transaction."""
        return self._is_misled

    @property
    def can_start_tls(self) -> bool:
        """Whether the peer offers a TLS that has not been started."""
        return self.state is not State.EARLY and self.extensions.starttls and not self.is_encrypted

    # What the shell does.

    def begin(self, envelope: Envelope) -> ClientTransaction:
        """Begin a transaction: MAIL and the recipients in the envelope are sent as soon as the peer allows.

        Check `Envelope.refusal` first; a parameter that the peer does not offer is left out.

        Raises:
            MisuseError: `can_begin` is false.
        """
        if not self.can_begin:
            raise MisuseError(f"a transaction cannot begin in the state {self.state.value}")
        if self.transactions:
            # If the one in front fails, the peer may still hold it open and would refuse our MAIL because of it
            # (Exim does, after a BDAT LAST without recipients). RSET costs no round trip here.
            self.push(Stage.RSET)
        transaction = ClientTransaction(self, envelope)
        self.transactions.append(transaction)
        if self.state is State.EARLY:
            self._early = transaction
        return transaction

    def start_tls(self) -> None:
        """Ask for TLS, after the peer demanded it; `TlsGranted` or `Ready` follows.

        Raises:
            MisuseError: transactions are in flight, or TLS is not offered or started already.
        """
        if self.transactions or not self.can_start_tls or not self.is_usable:
            raise MisuseError("STARTTLS is impossible now")
        self._opening.start_tls()

    def tls_started(self) -> None:
        """The handshake succeeded: what is read and written from now on is protected.

        Raises:
            MisuseError: no handshake was due.
        """
        self.move(Transition.TLS_STARTED)
        self.is_encrypted = True
        # What the peer offered before the handshake must be forgotten (RFC 3207 section 4.2).
        self.extensions = Extensions()
        self.pipeline.pipelining = False
        self._opening.greet()

    def quit(self) -> None:
        """Say goodbye; `Closed` follows when the peer answers or closes.

        Raises:
            MisuseError: transactions are in flight, or the session is not ready.
        """
        if self.transactions:
            raise MisuseError("QUIT is impossible while transactions are in flight")
        self.move(Transition.QUIT)
        self.push(Stage.QUIT)

    def retire(self) -> None:
        """Begin no further transaction on this session; those in flight go on."""
        self._is_retired = True

    # What transactions report (`transaction.Host`).

    def answered(self, transaction: ClientTransaction, command: Command, reply: Reply) -> None:
        """A command of a transaction was answered."""
        self._events.append(Answered(transaction, command.stage, command.index, reply))

    def ended(self, transaction: ClientTransaction, *, needs_reset: bool) -> None:
        """A transaction came to its end; one that the peer may still hold open is cleared there."""
        self._is_held_there = needs_reset
        assert transaction.outcome  # noqa: S101 -- this is what an end is
        is_last = transaction is self.transactions[-1] if self.transactions else False
        self.transactions = [other for other in self.transactions if other is not transaction]
        self._events.append(Ended(transaction, transaction.outcome))
        # Behind it another one may be in flight, which then brought its own RSET.
        if needs_reset and is_last and self.is_usable:
            self.push(Stage.RSET)

    def is_alone(self, transaction: ClientTransaction) -> bool:
        """Whether no other transaction is in flight."""
        return self.transactions == [transaction]

    def cut(self, cause: str) -> None:
        """End the session without another byte."""
        self._finish(cause)

    def out_of_step(self, cause: str) -> None:
        """Mark the session as broken; the first cause stays, and what was answered before it counts."""
        self._finish(cause, Fault.BROKEN)

    def doubt(self, cause: str) -> None:
        """Mark the session as broken: replies and commands have come apart, nobody knows where."""
        self._finish(cause, Fault.DOUBTFUL)

    # What the opening does too (`opening.Host`).

    def move(self, step: Transition) -> None:
        """Go to the next state; one that the table does not have is a bug of the caller."""
        try:
            self.state = MOVES[self.state][step]
        except KeyError:
            raise MisuseError(f"{step.value} is impossible in the state {self.state.value}") from None

    def push(self, stage: Stage, line: str = "") -> None:
        """Send a command of the session."""
        self.pipeline.push(Command(stage, ((line or stage.value).encode() + b"\r\n",)))

    def mislead(self) -> None:
        """The peer does not offer what was remembered."""
        if self._early is not None:
            self._is_misled = True
            self.retire()

    def refuse_early(self, refused: Refused, *, may_go_on: bool = False) -> None:
        """The peer does not let a session come about to which more was sent already.

        Args:
            refused: by which.
            may_go_on: it may take the transaction all the same, so that its replies are read while they come.
        """
        self.tell(refused)
        if may_go_on and self.transactions:
            self.mislead()
        else:
            self._finish(refused.cause, reply=refused.reply, ending=Ending.UNOPENED)

    def tell(self, event: Event) -> None:
        """Tell the shell."""
        self._events.append(event)

    # How the session moves.

    @property
    def _is_over(self) -> bool:
        return self.state in {State.CLOSED, State.BROKEN}

    @property
    def _waits_for_handshake(self) -> bool:
        return self.state is State.HANDSHAKE

    def _take(self, reply: Reply) -> None:
        command = self.pipeline.settle()
        if command is None or command.start >= self.pipeline.left > 0:
            # Nothing was asked, or nothing of what was has left.
            if reply.code == Code.CLOSING:
                self._finish(f"the peer closes the session: {reply}", reply=reply)
            else:
                self._finish(f"a reply to nothing: {reply}", Fault.DOUBTFUL, surplus=(reply, *self._rest()))
            return
        if command.end > self.pipeline.left and (reply.is_positive or reply.is_intermediate):
            # A refusal may come as soon as the peer has seen the head of a chunk; nobody can have taken what is here.
            self.doubt(f"the peer says {reply.code} to {command.stage.value} before all of it was sent")
            return
        if command.owner:
            command.owner.on_reply(command, reply)
        elif reply.code != Code.CLOSING or self.state is State.EARLY:
            self._take_for_session(command.stage, reply)
        if reply.code == Code.CLOSING:
            self._finish(f"the peer closes the session: {reply}", reply=reply)
        else:
            self.pipeline.pump()

    def _rest(self) -> list[Reply]:
        """All other replies that are here already."""
        replies: list[Reply] = []
        with contextlib.suppress(ReplySyntaxError):
            while (reply := self._parser.next_reply()) is not None:
                replies.append(reply)
        return replies

    def _take_for_session(self, stage: Stage, reply: Reply) -> None:
        if reply.is_intermediate:
            self.doubt(f"the reply {reply.code} does not answer {stage.value}")
            return
        match stage:
            case Stage.RSET if self.state is not State.ASKING:
                self._take_rset(reply)
            case Stage.QUIT:
                self._finish("closed after QUIT", reply=reply)
            case _:
                self._opening.take(stage, reply)

    def _take_rset(self, reply: Reply) -> None:
        if reply.is_positive:
            self._is_held_there = False
            return
        # Where there was nothing to clear, nothing is wrong yet; else the peer would mix two transactions.
        self.retire()
        if self._is_held_there:
            self.out_of_step(f"the peer refuses RSET: {reply}")

    def _finish(
        self,
        cause: str,
        fault: Fault = Fault.NONE,
        *,
        reply: Reply | None = None,
        surplus: tuple[Reply, ...] = (),
        ending: Ending | None = None,
    ) -> None:
        if self._is_over:
            return
        self.ended_in = self.state
        self.move(Transition.ENDED if fault is Fault.NONE else Transition.OUT_OF_STEP)
        self.pipeline.clear()
        closing = reply if reply is not None and reply.code == Code.CLOSING else None
        if ending is None:
            ending = Ending.CLOSED if closing else Ending.LOST if fault is Fault.NONE else Ending.BROKEN
        is_refused = self.ended_in is State.EARLY and self._is_misled
        for transaction in list(self.transactions):
            its = Ending.UNOPENED if is_refused and transaction.mail is None else ending
            transaction.end(its, cause, closing, is_doubtful=fault is Fault.DOUBTFUL)
        self._events.append(Closed(cause, reply, fault, surplus))
