"""A transaction whose recipients the onion MX answers one by one, for SMTP with several recipients."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from functools import partial

from onionmx.errors import TemporaryError
from onionmx.relay.backoff import Backoff
from onionmx.relay.failures import for_mta, is_of_target, reply_to
from onionmx.relay.maillog import shortened
from onionmx.relay.pool import Destination, Lease, SessionPool
from onionmx.relay.portions import portions
from onionmx.relay.renewal import has_ended
from onionmx.reply import Own, Reply
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.outcome import Ending, Outcome
from onionmx.smtp.stepwise import NO_TIME

_Again = Callable[[], AbstractAsyncContextManager[Lease]]

OPENING_DEADLINE = 240.0
"""Seconds to reach an onion MX while the MTA waits for the reply to RCPT: below the 300 of Postfix and of RFC 5321."""


_RENEWAL_DEADLINE = 50.0
"""Seconds to reach it once more where the session turns out to have ended: with the others still below 300."""


class Stepwise:
    """A transaction on a session of its own, made by `begin_stepwise`.

    Args:
        held: gives the session back when it is closed.
        lease: the session.
        again: gives another session.
        envelope: without recipients.
        deadline: seconds for the content and the final reply.
    """

    def __init__(
        self, held: AsyncExitStack, lease: Lease, again: "_Again", envelope: Envelope, deadline: float
    ) -> None:
        self._held = held
        self._lease = lease
        self._again = again
        self._envelope = envelope
        self._deadline = deadline
        self._named: list[Recipient] = []
        self._transaction = lease.session.begin(envelope)

    async def add_recipient(self, recipient: Recipient) -> Reply:
        """What the onion MX says to RCPT; the first one brings MAIL along."""
        named = [*self._named, recipient]
        if len(portions(named, self._lease.session.extensions)) > 1:
            return Own.SEPARATELY.value
        reply = await self._transaction.add_recipient(recipient)
        while not self._named and self._session_has_ended:
            try:
                await self._renew()
            except TemporaryError as error:
                return reply_to(error)
            except TimeoutError:
                break
            reply = await self._transaction.add_recipient(recipient)
        self._named = named
        return for_mta(reply, may_start_tls=self._lease.session.can_start_tls)

    async def send(self, content: bytes | AsyncIterator[bytes]) -> Reply:
        """Send the message; the one reply for all accepted recipients."""
        try:
            async with asyncio.timeout(self._deadline):
                outcome = await self._transaction.send(content)
                if has_ended(outcome, self._lease):
                    self._lease.retire()
                    if isinstance(content, bytes):
                        outcome = await self._send_again(content) or outcome
        except TimeoutError:
            cause = f"no final reply within {self._deadline:g} s"
            self._lease.session.abort(cause)  # a peer as slow as that must not get the next message too
            return Own.CONNECTION_LOST.value.because(cause)
        finally:
            await self._held.aclose()
        return _final(outcome)

    async def abandon(self) -> None:
        """Give the transaction up."""
        try:
            await self._transaction.abandon()
        finally:
            await self._held.aclose()

    async def _send_again(self, content: bytes) -> Outcome | None:
        """Send on a new session what the peer did not take for the sake of the session.

        Returns:
            What came of it; `None` where the peer does not accept there all that it has accepted before. The MTA was
            told so already, and there is one reply for all: it has to come again.
        """
        replies = self._transaction.outcome.recipients if self._transaction.outcome else ()
        accepted = [
            recipient for recipient, reply in zip(self._named, replies, strict=False) if reply and reply.is_positive
        ]
        try:
            await self._renew()
        except (TemporaryError, TimeoutError):
            return None
        if len(portions(accepted, self._lease.session.extensions)) > 1:
            return None
        for recipient in accepted:
            if not (await self._transaction.add_recipient(recipient)).is_positive:
                await self._transaction.abandon()
                return None
        return await self._transaction.send(content)

    @property
    def _session_has_ended(self) -> bool:
        """Whether the session had served before and ended with the first command: no content was sent yet."""
        outcome, lease = self._transaction.outcome, self._lease
        return outcome is not None and (
            has_ended(outcome, lease) or (lease.was_idle and outcome.ending is Ending.LOST and outcome.cause != NO_TIME)
        )

    async def _renew(self) -> None:
        self._lease.retire()
        await self._held.aclose()
        async with asyncio.timeout(_RENEWAL_DEADLINE):
            self._lease = await self._held.enter_async_context(self._again())
        self._transaction = self._lease.session.begin(self._envelope)


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
                        if isinstance(begun, Lease):
                            again = partial(_lease_again, pool, destination)
                            return Stepwise(stack.pop_all(), begun, again, envelope, deadline)
                        failure = begun
                if failure.is_transient or not has_failed:
                    answer = failure
                has_failed = has_failed or failure.is_transient
    except TimeoutError:
        return Own.UNREACHABLE.value.because(f"no session within {OPENING_DEADLINE:g} s; {answer.text}")
    return answer


async def _begin(
    stack: AsyncExitStack, pool: SessionPool, backoff: Backoff, envelope: Envelope, destination: Destination
) -> Lease | Reply:
    """A session with one target, given back by the stack; or why there is none for this message."""
    try:
        lease = await stack.enter_async_context(pool.lease(destination, exclusive=True))
    except TemporaryError as error:
        if is_of_target(error):
            backoff.failed(destination.endpoint, str(error), error)
        return reply_to(error)
    backoff.succeeded(destination.endpoint)
    return envelope.refusal(lease.session.extensions) or lease


def _lease_again(pool: SessionPool, destination: Destination) -> AbstractAsyncContextManager[Lease]:
    pool.drop_idle(destination)  # the others are as old
    return pool.lease(destination, exclusive=True)


def _final(outcome: Outcome) -> Reply:
    """The reply to the message: with any recipient accepted, what was said about the first of those."""
    for index in range(len(outcome.recipients)):
        reply = outcome.recipients[index]
        if reply is None or reply.is_positive:
            return for_mta(outcome.answer(index))
    return for_mta(outcome.answer(0))
