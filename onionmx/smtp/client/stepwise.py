"""A transaction whose recipients are answered before there is content.

For an SMTP client of the relay that has several recipients and wants each RCPT answered by the onion MX itself. It
costs a round trip for each of them, so a single recipient and LMTP go with `ClientSession.deliver`.
"""

from collections.abc import AsyncIterator

from msgspec.structs import replace

from onionmx.smtp.client.outcome import Ending, Outcome
from onionmx.smtp.client.session import ClientSession
from onionmx.smtp.client.transaction import ClientTransaction
from onionmx.smtp.codes import Code
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.faults import MisuseError
from onionmx.smtp.reply import Reply


class StepwiseTransaction:
    """A message whose recipients are answered one by one before there is content.

    Nothing is sent before the first recipient, with which MAIL leaves. From then on it keeps other messages off the
    session until its content was sent.

    Attributes:
        outcome: how it ended, `None` while it goes on. Its recipients are those that reached the peer.

    Args:
        session: to send it on.
        envelope: without recipients.
    """

    def __init__(self, session: ClientSession, envelope: Envelope) -> None:
        self.outcome: Outcome | None = None
        self._session = session
        self._envelope = replace(envelope, recipients=())
        self._transaction: ClientTransaction | None = None
        self._is_accepted = False

    async def add_recipient(self, recipient: Recipient) -> Reply:
        """Name a recipient to the peer.

        Returns:
            The reply for the MTA: 2xx only if the peer said so. If `outcome` is set after it, the transaction is over,
            and further recipients get the same reply without being sent.
        """
        if self.outcome:
            return _late_answer(self.outcome)
        reply = await self._ask(recipient)
        if self.outcome and self._session.tls_is_demanded(self.outcome):
            reply = await self._ask_again_under_tls(recipient)
        return reply

    async def send(self, content: bytes | AsyncIterator[bytes]) -> Outcome:
        """Send the message to the recipients that were accepted, and wait for the final reply.

        Raises:
            MisuseError: no recipient was named before.
        """
        if self.outcome:
            return self.outcome
        if self._transaction is None:
            raise MisuseError("content was sent before any recipient")
        try:
            return self._end(await self._session.send(self._transaction, content))
        finally:
            await self.abandon()

    async def abandon(self) -> None:
        """Give it up, if it is not over; the session stays in step."""
        if self.outcome is None:
            if self._transaction is None:
                self._end(Outcome(Ending.ABANDONED, cause="given up"))
            else:
                self._end(self._session.give_up(self._transaction, "given up"))

    async def _ask(self, recipient: Recipient) -> Reply:
        """Send the RCPT, in front of it MAIL if this is the first one, and wait for the reply."""
        if self._transaction is None:
            started = await self._session.start(self._envelope)
            if not isinstance(started, ClientTransaction):
                self.outcome = started
                return _late_answer(started)
            self._transaction = started
        index = self._transaction.add_recipient(recipient)
        reply = await self._session.answer(self._transaction, index)
        if reply is not None:
            if reply.code == Code.TLS_DEMANDED and not self._is_accepted and self._session.can_start_tls:
                self._end(self._session.give_up(self._transaction, "the peer demands TLS"))
            self._is_accepted = self._is_accepted or reply.is_positive
            return reply.passed_through()
        outcome = self._transaction.outcome
        assert outcome  # noqa: S101 -- there is no reply only because the transaction ended
        self._end(outcome)
        return outcome.answer(index) if index < len(outcome.recipients) else _late_answer(outcome)

    async def _ask_again_under_tls(self, recipient: Recipient) -> Reply:
        if not await self._session.upgrade():
            self.outcome = self._session.without_tls(1)
            return self.outcome.answer(0)
        self.outcome = None
        return await self._ask(recipient)

    def _end(self, outcome: Outcome) -> Outcome:
        self.outcome = outcome
        if self._transaction:
            self._session.forget(self._transaction)
            self._transaction = None
        return outcome


def _late_answer(outcome: Outcome) -> Reply:
    """What to say about a recipient that never reached the peer."""
    return replace(outcome, recipients=(None,)).answer(0)
