"""A session over a connected stream, for asyncio: what the relay delivers through."""

import asyncio
from collections.abc import AsyncIterator, Callable
from functools import partial

from msgspec.structs import replace

from onionmx.smtp.client.driver import Driver
from onionmx.smtp.client.events import Fault
from onionmx.smtp.client.outcome import Ending, Outcome
from onionmx.smtp.client.pipeline import Stage
from onionmx.smtp.client.states import State
from onionmx.smtp.client.timeouts import NO_TIME
from onionmx.smtp.client.transaction import ClientTransaction
from onionmx.smtp.codes import Code
from onionmx.smtp.envelope import Envelope, least_size
from onionmx.smtp.extensions import Extensions
from onionmx.smtp.faults import MisuseError
from onionmx.smtp.reply import OurReply, Reply

CHUNK_SIZE = 131072
"""Bytes gathered for a chunk of a message that streams: a session holds about three of them."""

MAX_UNACKNOWLEDGED = 4 * 1024 * 1024
"""Bytes of a message on the way without an answer. At 300 ms it allows 13 MB/s; it bounds what a refusal wastes."""

Content = bytes | AsyncIterator[bytes]


class ClientSession:
    """One session; made by `opening_session.open_session`, or before its peer has said a word by `begin_early`."""

    def __init__(self, driver: Driver) -> None:
        self._driver = driver
        self._core = driver.core
        self._turn = asyncio.Lock()
        self._upgrading = False

    async def opened(self) -> None:
        """Wait until a session that began early has come about.

        Raises:
            OpeningError: it has not.
        """
        await self._driver.until(lambda: not self.is_unconfirmed)
        if not self._driver.was_ready:
            raise self._driver.why_not_open()

    @property
    def is_unconfirmed(self) -> bool:
        """Whether it began early and the peer has not let it come about yet."""
        return self._core.state is State.EARLY and not self._driver.refused

    @property
    def refused_at(self) -> Stage | None:
        """The command by whose reply the peer refused the session; `None` where it did not."""
        return self._driver.refused.stage if self._driver.refused else None

    @property
    def is_misled(self) -> bool:
        """Whether the peer does not offer what a transaction that left early took for granted."""
        return self._core.is_misled

    @property
    def extensions(self) -> Extensions:
        """What the peer offers."""
        return self._core.extensions

    @property
    def is_usable(self) -> bool:
        """Whether the session takes another message, now or after those in flight."""
        return self._core.is_usable or self._upgrading

    @property
    def can_start_tls(self) -> bool:
        """Whether the peer offers a TLS that has not been started."""
        return self._core.can_start_tls

    @property
    def is_encrypted(self) -> bool:
        """Whether TLS was started."""
        return self._core.is_encrypted

    @property
    def in_flight(self) -> int:
        """Transactions that were begun and have no outcome."""
        return len(self._core.transactions)

    @property
    def round_trips(self) -> int:
        """Replies that had to be waited for, one after the other, the greeting not counted."""
        return self._core.round_trips

    @property
    def broke_off_in_a_reply(self) -> bool:
        """Whether the peer began a reply that did not come to its end."""
        return self._core.has_partial_reply

    @property
    def closing_cause(self) -> str:
        """Why the session is over, empty while it is not."""
        return self._driver.closed.cause if self._driver.closed else ""

    async def deliver(self, envelope: Envelope, content: Content, *, deadline: float | None = None) -> Outcome:
        """Hand over one message.

        Several may be under way at once; each waits only for its own replies, and one that fails changes nothing for
        the others. If the peer offers PIPELINING and CHUNKING they are in flight together, which the caller limits;
        otherwise one follows the other. If this is cancelled, the message is given up as far as that is possible.

        Args:
            envelope: with all recipients. The size is filled in where the content is there as a whole.
            content: the message, whole or in pieces. Line ends must be CRLF for a peer without CHUNKING. Pieces are
                asked for only as fast as the peer takes them, and no more of them once the peer refused.
            deadline: time of the event loop at which to give up.

        Returns:
            What became of it, for every fault of the peer and of the connection too.

        Raises:
            MisuseError: the envelope has no recipients.
        """
        if not envelope.recipients:
            raise MisuseError("a message without recipients")
        if isinstance(content, bytes) and envelope.size is None:
            envelope = replace(envelope, size=len(content))
        outcome = await self._attempt(envelope, content, deadline)
        if not self.tls_is_demanded(outcome):
            return outcome
        # Content in pieces was not touched only if it waited for the first reply to RCPT, see `_stream_content`.
        can_repeat = isinstance(content, bytes) or not self._driver.was_accepted
        if can_repeat and await self.upgrade(deadline):
            return await self._attempt(envelope, content, deadline)
        return self.without_tls(len(envelope.recipients))

    async def close(self) -> None:
        """Let what is in flight end, say QUIT, and end the connection.

        The stream is not half-closed: tor would end it in both directions and lose the reply.
        """
        try:
            await self._driver.until(lambda: not self._core.transactions)
            if self._core.state is State.EARLY:
                return
            if self._core.state is State.READY:
                self._core.quit()
                self._driver.dispatch()
            if self._core.state is State.QUITTING:
                await self._driver.until(lambda: False)
        finally:
            self._driver.lose("the session was closed")
        await self._driver.wait_closed()

    def abort(self, cause: str = "the session was given up") -> None:
        """End the connection at once; what is in flight ends as lost."""
        self._driver.lose(cause)

    # What the two ways of delivering share.

    async def start(self, envelope: Envelope, whole: bytes | None = None) -> ClientTransaction | Outcome:
        """Wait for the turn of a message and begin it; the outcome if that is impossible.

        Args:
            envelope: of the message.
            whole: its content, to leave in the same flight.
        """
        async with self._turn:
            if refusal := await self._confirmed(partial(_refusal, envelope, whole or b"")):
                nobody = (None,) * len(envelope.recipients)
                return Outcome(Ending.UNSUITABLE, recipients=nobody, cause=refusal.text, own=refusal)
            await self._driver.until(lambda: self._core.can_begin or not self._core.is_usable)
            if not self._core.can_begin:
                return self.not_begun(envelope)
            transaction = self._core.begin(envelope)
            self._driver.expect_outcome(transaction)
            if whole is not None:
                transaction.send(whole, last=True)
            self._driver.dispatch()
            return transaction

    async def send(self, transaction: ClientTransaction, content: Content) -> Outcome:
        """Send the content of a transaction that was begun, and wait for the outcome."""
        if not isinstance(content, bytes):
            refusal = await self._stream_content(transaction, content)
        elif not (refusal := await self._confirmed(partial(transaction.envelope.refusal_of, content))):
            transaction.send(content, last=True)
            self._driver.dispatch()
        if refusal:
            return replace(self.give_up(transaction, refusal.text), ending=Ending.UNSUITABLE, own=refusal)
        return await self._outcome(transaction)

    async def answer(self, transaction: ClientTransaction, index: int) -> Reply | None:
        """Wait for the reply to a RCPT, `None` if the transaction ended first."""
        self._driver.dispatch()
        await self._driver.until(lambda: transaction.outcome is not None or transaction.recipients[index] is not None)
        return None if transaction.outcome else transaction.recipients[index]

    def give_up(self, transaction: ClientTransaction, cause: str, ending: Ending = Ending.ABANDONED) -> Outcome:
        """Give a transaction up, as far as that is still possible."""
        if ending is Ending.LOST:
            self._core.retire()
        self._driver.measure()
        transaction.abandon(cause, ending)
        self._driver.dispatch()
        assert transaction.outcome  # noqa: S101 -- abandoning sets it
        return transaction.outcome

    def forget(self, transaction: ClientTransaction) -> None:
        """Nobody will ask for the outcome any more; a transaction without one is given up."""
        if transaction.outcome is None:
            self.give_up(transaction, "given up")
        self._driver.forget(transaction)

    def not_begun(self, envelope: Envelope, cause: str = "") -> Outcome:
        """The outcome of a message of which nothing was sent, because the session is over."""
        nobody = (None,) * len(envelope.recipients)
        ending = Ending.UNOPENED if self._core.ended_in is State.EARLY else Ending.LOST
        return Outcome(ending, recipients=nobody, cause=cause or self.closing_cause or "the session is over")

    def tls_is_demanded(self, outcome: Outcome) -> bool:
        """Whether the message failed for nothing but that TLS was not started."""
        is_refused = outcome.mail is not None and not outcome.mail.is_positive
        replies = (outcome.mail,) if is_refused else outcome.recipients
        is_demanded = bool(replies) and all(reply and reply.code == Code.TLS_DEMANDED for reply in replies)
        return is_demanded and self._core.can_start_tls

    async def upgrade(self, deadline: float | None = None) -> bool:
        """Start TLS because the peer demanded it; whether the session is encrypted after that."""
        try:
            async with asyncio.timeout_at(deadline), self._turn:
                await self._driver.until(lambda: not self._core.transactions)
                if self._core.is_usable and self._core.can_start_tls:
                    self._upgrading = True
                    self._core.start_tls()
                    self._driver.dispatch()
                    await self._driver.until(lambda: self._core.state in {State.READY, State.QUITTING})
        except TimeoutError:
            self._driver.lose(NO_TIME)
        finally:
            self._upgrading = False
        return self._core.is_usable and self._core.is_encrypted

    def without_tls(self, recipients: int) -> Outcome:
        """The outcome of a message for which the peer demands a TLS that did not come about.

        It is temporary, whatever the peer said to STARTTLS: the message itself was not refused.
        """
        refused = self._driver.refused
        cause = f"the peer demands TLS, and it could not be started: {refused.cause if refused else self.closing_cause}"
        own = OurReply.TLS_REQUIRED.value.with_text(cause)
        return Outcome(Ending.UNSUITABLE, recipients=(None,) * recipients, cause=own.text, own=own)

    async def _confirmed(self, refusal: Callable[[Extensions], Reply | None]) -> Reply | None:
        """Why a peer with these extensions cannot be given something; only what it offers now may bounce a message."""
        found = refusal(self.extensions)
        if found and self.is_unconfirmed:
            await self._driver.until(lambda: not self.is_unconfirmed)
            return refusal(self.extensions) if self._core.is_usable else None
        return found

    async def _outcome(self, transaction: ClientTransaction) -> Outcome:
        """Wait for the outcome; where replies too many came with it, it counts if it is the same in any reading."""
        outcome = await self._driver.outcome(transaction)
        if self._core.was_misled(transaction):
            return outcome.of_misled()
        closed = self._driver.closed
        if closed is None or closed.fault is not Fault.DOUBTFUL or outcome.ending is not Ending.ANSWERED:
            return outcome
        return outcome if closed.surplus and outcome.holds_with(closed.surplus) else outcome.doubted(closed.cause)

    async def _attempt(self, envelope: Envelope, content: Content, deadline: float | None) -> Outcome:
        if deadline is not None and deadline <= asyncio.get_running_loop().time():
            return self.not_begun(envelope, NO_TIME)
        started: ClientTransaction | Outcome | None = None
        whole = content if isinstance(content, bytes) else None
        try:
            async with asyncio.timeout_at(deadline) as limit:
                started = await self.start(envelope, whole)
                if isinstance(started, Outcome):
                    return started
                return await (self.send(started, content) if whole is None else self._outcome(started))
        except TimeoutError:
            if not limit.expired():  # the content's own
                raise
            if isinstance(started, ClientTransaction):
                return self.give_up(started, NO_TIME, Ending.LOST)
            return self.not_begun(envelope, NO_TIME)
        finally:
            if isinstance(started, ClientTransaction):
                self.forget(started)

    async def _stream_content(self, transaction: ClientTransaction, content: AsyncIterator[bytes]) -> Reply | None:
        """Send content as it comes; returns why the peer cannot be given it, if a piece shows that."""
        if self._core.can_start_tls and not self._driver.was_accepted:
            # A peer that demands TLS says so to the first MAIL, if not to the first RCPT. Content that was not touched
            # can be sent after that.
            await self._driver.until(lambda: transaction.is_judged)
            if transaction.is_refused:
                transaction.send(b"", last=True)  # ends it: nothing is sent without a recipient
                self._driver.dispatch()
        if not transaction.wants_content:
            return None
        held: list[bytes] = []
        size, before = 0, 0
        async for piece in content:
            if held and size + len(piece) > CHUNK_SIZE:
                transaction.send(b"".join(held))
                held, size = [], 0
                self._driver.dispatch()
                await asyncio.sleep(0)  # content that never waits must not keep a refusal from being read
                await self._driver.until(lambda: not transaction.wants_content or self._has_room(transaction))
            if not transaction.wants_content:
                return None
            if refusal := await self._confirmed(partial(transaction.envelope.refusal_of, piece, before=before)):
                return refusal
            held.append(piece)
            size += len(piece)
            before += least_size(piece)
        transaction.send(b"".join(held), last=True)
        self._driver.dispatch()
        return None

    def _has_room(self, transaction: ClientTransaction) -> bool:
        waiting = transaction.unsent + self._driver.backlog
        return not waiting and transaction.unacknowledged <= MAX_UNACKNOWLEDGED


def _refusal(envelope: Envelope, whole: bytes, extensions: Extensions) -> Reply | None:
    return envelope.refusal(extensions) or envelope.refusal_of(whole, extensions)
