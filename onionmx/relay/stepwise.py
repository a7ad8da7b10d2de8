"""A transaction whose recipients the onion MX answers one by one, for SMTP with several recipients."""

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import AbstractAsyncContextManager, AsyncExitStack
from dataclasses import dataclass

from onionmx.domain import Domain
from onionmx.errors import TemporaryError
from onionmx.relay.destinations import Destinations
from onionmx.relay.failures import for_mta, reply_to
from onionmx.relay.maillog import shortened
from onionmx.relay.sessions.member import Destination, Lease
from onionmx.relay.sessions.pool import SessionPool
from onionmx.relay.sessions.renewal import has_ended, left_undecided
from onionmx.smtp.client.outcome import Ending, Outcome
from onionmx.smtp.client.stepwise import StepwiseTransaction
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.portions import portions
from onionmx.smtp.reply import OurReply, Reply

OPENING_DEADLINE = 240.0
"""Seconds to reach an onion MX while the MTA waits for the reply to RCPT: below the 300 of Postfix and of RFC 5321."""


_RENEWAL_DEADLINE = 50.0
"""Seconds to reach it once more where the session turns out to have ended: with the others still below 300."""


@dataclass(frozen=True, slots=True)
class _Reached:
    """A session with a target.

    Attributes:
        held: gives the session back when it is closed.
        lease: the session.
        destination: the target.
        left: targets behind it.
    """

    held: AsyncExitStack
    lease: Lease
    destination: Destination
    left: Sequence[Destination]


class StepwiseReach:
    """Finds a session for a message.

    Args:
        destinations: hear how each try ends.
        domain: of the message.
        envelope: without recipients.

    Attributes:
        failure: why the last target that was tried gave no session.
    """

    def __init__(self, pool: SessionPool, destinations: Destinations, domain: Domain, envelope: Envelope) -> None:
        self.destinations = destinations
        self.domain = domain
        self.envelope = envelope
        self.failure = OurReply.UNREACHABLE.value
        self._pool = pool

    async def first_of(self, targets: Sequence[Destination], failure: Reply | None = None) -> _Reached | Reply:
        """A session with the first target that can be reached and takes such messages, or why none does.

        Args:
            targets: in the order of the route.
            failure: why those in front of them did not take it for the moment; `None` where there are none.
        """
        answer = failure or OurReply.UNREACHABLE.value
        has_failed = failure is not None  # for the moment: what is permanent for another one is not for the message
        for number, destination in enumerate(targets):
            if why := self.destinations.refusal(destination.endpoint):
                said = OurReply.UNREACHABLE.value.with_text(f"{shortened(destination.endpoint)} {why}")
            else:
                async with AsyncExitStack() as stack:
                    begun = await self._begin(stack, destination)
                    if isinstance(begun, Lease):
                        return _Reached(stack.pop_all(), begun, destination, targets[number + 1 :])
                    said = begun
            self.failure = said
            if said.is_transient or not has_failed:
                answer = said
            has_failed = has_failed or said.is_transient
        return answer

    def again(self, destination: Destination) -> AbstractAsyncContextManager[Lease]:
        """Another session with the same target."""
        self._pool.drop_idle(destination)  # the others are as old
        return self._pool.lease(destination, exclusive=True)

    async def _begin(self, stack: AsyncExitStack, destination: Destination) -> Lease | Reply:
        """A session with one target, given back by the stack; or why there is none for this message."""
        try:
            lease = await stack.enter_async_context(self._pool.lease(destination, exclusive=True))
        except TemporaryError as error:
            self.destinations.failed(destination.endpoint, self.domain, error)
            return reply_to(error)
        refusal = self.envelope.refusal(lease.session.extensions)
        if refusal:
            self.destinations.succeeded(destination.endpoint, self.domain)
        return refusal or lease


class Stepwise:
    """A transaction on a session of its own, made by `begin_stepwise`.

    Args:
        until: when no further target is tried, by the loop's clock.
        deadline: seconds for the content and the final reply.
    """

    def __init__(self, reach: StepwiseReach, reached: _Reached, until: float, deadline: float) -> None:
        self._reach = reach
        self._until = until
        self._deadline = deadline
        self._named: list[Recipient] = []
        self._use(reached)

    def _use(self, reached: _Reached) -> None:
        self._held = reached.held
        self._lease = reached.lease
        self._destination = reached.destination
        self._left = reached.left
        self._transaction = StepwiseTransaction(reached.lease.session, self._reach.envelope)

    async def add_recipient(self, recipient: Recipient) -> Reply:
        """What the onion MX says to RCPT; the first one brings MAIL along."""
        named = [*self._named, recipient]
        if len(portions(named, self._lease.session.extensions)) > 1:
            return OurReply.SEPARATELY.value
        reply = await self._ask(recipient)
        while not self._named and self._may_move_on and await self._move_on(reply):
            reply = await self._ask(recipient)
        self._named = named
        return reply

    async def _ask(self, recipient: Recipient) -> Reply:
        """What the target says to RCPT, on a new session where one that had served before turns out to have ended."""
        reply = await self._transaction.add_recipient(recipient)
        while not self._named and self._session_has_ended:
            try:
                await self._renew()
            except TemporaryError as error:
                self._reach.destinations.failed(self._destination.endpoint, self._reach.domain, error)
                return reply_to(error)
            except TimeoutError:
                break
            reply = await self._transaction.add_recipient(recipient)
        self._tell_destinations()
        return for_mta(reply, may_start_tls=self._lease.session.can_start_tls)

    def _tell_destinations(self) -> None:
        outcome, target = self._transaction.outcome, self._destination.endpoint
        if outcome is not None and _broke_off(outcome):
            self._reach.destinations.broke_off(target, self._reach.domain, outcome.cause)
        else:
            self._reach.destinations.succeeded(target, self._reach.domain)

    @property
    def _may_move_on(self) -> bool:
        """Whether another target may take what this one does not take now: it has named no recipient yet."""
        outcome = self._transaction.outcome
        return outcome is not None and (_broke_off(outcome) or (outcome.mail is not None and outcome.mail.is_transient))

    async def _move_on(self, failure: Reply) -> bool:
        """Take the next target that can be reached; whether there is one."""
        try:
            async with asyncio.timeout_at(self._until):
                reached = await self._reach.first_of(self._left, failure)
        except TimeoutError:
            return False
        if isinstance(reached, Reply):
            return False
        await self._held.aclose()
        self._use(reached)
        return True

    async def send(self, content: bytes | AsyncIterator[bytes]) -> Reply:
        """Send the message; the one reply for all accepted recipients."""
        try:
            async with asyncio.timeout(self._deadline):
                outcome = await self._transaction.send(content)
                if has_ended(outcome, self._lease) or left_undecided(outcome, self._lease):
                    self._lease.retire()
                    if isinstance(content, bytes):
                        outcome = await self._send_again(content) or outcome
            self._tell_destinations()
        except TimeoutError:
            cause = f"no final reply within {self._deadline:g} s"
            self._lease.session.abort(cause)  # a peer as slow as that must not get the next message too
            return OurReply.CONNECTION_LOST.value.with_text(cause)
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
        if outcome is None:
            return False
        is_lost = lease.was_idle and outcome.ending is Ending.LOST
        return is_lost or has_ended(outcome, lease) or bool(left_undecided(outcome, lease))

    async def _renew(self) -> None:
        self._lease.retire()
        await self._held.aclose()
        async with asyncio.timeout(_RENEWAL_DEADLINE):
            self._lease = await self._held.enter_async_context(self._reach.again(self._destination))
        self._transaction = StepwiseTransaction(self._lease.session, self._reach.envelope)


async def begin_stepwise(reach: StepwiseReach, targets: Sequence[Destination], deadline: float) -> Stepwise | Reply:
    """Open a session with the first target that can be reached and takes such messages, or say why none does."""
    until = asyncio.get_running_loop().time() + OPENING_DEADLINE
    try:
        async with asyncio.timeout_at(until):
            reached = await reach.first_of(targets)
    except TimeoutError:
        return OurReply.UNREACHABLE.value.with_text(f"no session within {OPENING_DEADLINE:g} s; {reach.failure.text}")
    return reached if isinstance(reached, Reply) else Stepwise(reach, reached, until, deadline)


def _broke_off(outcome: Outcome) -> bool:
    """Whether the target is to be left alone: it ended the session without deciding."""
    return outcome.ending in {Ending.LOST, Ending.BROKEN} and not outcome.is_decided


def _final(outcome: Outcome) -> Reply:
    """The reply to the message: with any recipient accepted, what was said about the first of those."""
    for index in range(len(outcome.recipients)):
        reply = outcome.recipients[index]
        if reply is None or reply.is_positive:
            return for_mta(outcome.answer(index))
    return for_mta(outcome.answer(0))
