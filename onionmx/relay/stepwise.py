"""A transaction whose recipients the onion MX answers one by one, for SMTP with several recipients."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AsyncExitStack

from onionmx.errors import TemporaryError
from onionmx.relay.backoff import Backoff
from onionmx.relay.failures import for_mta, is_of_target, reply_to
from onionmx.relay.maillog import shortened
from onionmx.relay.pool import Destination, SessionPool
from onionmx.reply import Own, Reply
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.outcome import Outcome
from onionmx.smtp.session import SmtpSession

OPENING_DEADLINE = 240.0
"""Seconds to reach an onion MX while the MTA waits for the reply to RCPT: below the 300 of Postfix and of RFC 5321."""


class Stepwise:
    """A transaction on a session of its own, made by `begin_stepwise`.

    Args:
        lease: gives the session back when it is closed.
        session: the session.
        envelope: without recipients.
        deadline: seconds for the content and the final reply.
    """

    def __init__(self, lease: AsyncExitStack, session: SmtpSession, envelope: Envelope, deadline: float) -> None:
        self._lease = lease
        self._deadline = deadline
        self._session = session
        self._transaction = session.begin(envelope)

    async def add_recipient(self, recipient: Recipient) -> Reply:
        """What the onion MX says to RCPT; the first one brings MAIL along."""
        reply = await self._transaction.add_recipient(recipient)
        return for_mta(reply)

    async def send(self, content: bytes | AsyncIterator[bytes]) -> Reply:
        """Send the message; the one reply for all accepted recipients."""
        try:
            async with asyncio.timeout(self._deadline):
                outcome = await self._transaction.send(content)
        except TimeoutError:
            cause = f"no final reply within {self._deadline:g} s"
            self._session.abort(cause)  # a peer as slow as that must not get the next message too
            return Own.CONNECTION_LOST.value.because(cause)
        finally:
            await self._lease.aclose()
        return _final(outcome)

    async def abandon(self) -> None:
        """Give the transaction up."""
        try:
            await self._transaction.abandon()
        finally:
            await self._lease.aclose()


async def begin_stepwise(
    pool: SessionPool, backoff: Backoff, envelope: Envelope, targets: Sequence[Destination], deadline: float
) -> Stepwise | Reply:
    """Open a session with the first target that can be reached and takes such messages, or say why none does."""
    answer = Own.UNREACHABLE.value
    has_failed = False  # a target has, for the moment: then what is permanent for another one is not for the message
    try:
        async with asyncio.timeout(OPENING_DEADLINE):
            for destination in targets:
                target = destination.endpoint
                if why := backoff.refusal(target):
                    failure = Own.UNREACHABLE.value.because(f"{shortened(target)} {why}")
                else:
                    async with AsyncExitStack() as stack:
                        begun = await _begin(stack, pool, backoff, envelope, destination)
                        if isinstance(begun, SmtpSession):
                            return Stepwise(stack.pop_all(), begun, envelope, deadline)
                        failure = begun
                if failure.is_transient or not has_failed:
                    answer = failure
                has_failed = has_failed or failure.is_transient
    except TimeoutError:
        return Own.UNREACHABLE.value.because(f"no session within {OPENING_DEADLINE:g} s; {answer.text}")
    return answer


async def _begin(
    stack: AsyncExitStack, pool: SessionPool, backoff: Backoff, envelope: Envelope, destination: Destination
) -> SmtpSession | Reply:
    """A session with one target, given back by the stack; or why there is none for this message."""
    try:
        lease = await stack.enter_async_context(pool.lease(destination, exclusive=True))
    except TemporaryError as error:
        if is_of_target(error):
            backoff.failed(destination.endpoint, str(error))
        return reply_to(error)
    backoff.succeeded(destination.endpoint)
    return envelope.refusal(lease.session.extensions) or lease.session


def _final(outcome: Outcome) -> Reply:
    """The reply to the message: with any recipient accepted, what was said about the first of those."""
    for index in range(len(outcome.recipients)):
        reply = outcome.recipients[index]
        if reply is None or reply.is_positive:
            return for_mta(outcome.answer(index))
    return for_mta(outcome.answer(0))
