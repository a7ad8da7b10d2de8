"""Handing one message to the targets of its route, in their order, until one takes it.

**Losing and doubling.** Success is told to the MTA only after the final 2xx of the onion MX. When a session ends before
that, the message is either tried again here or answered 4xx, so that the MTA keeps it: it is never lost. It is sent
again only where that makes no copy, with one exception that nobody can close: the onion MX has taken the message and
its reply did not get here (RFC 1047). These are the cases after a session has ended without the final reply:

- Not everything was sent: the message cannot have been accepted. Try again.
- Everything was sent on a session that had been idle, and not a byte of a reply came: the peer had closed the session
  meanwhile, and the message went into the void. Whether we or the MTA try again makes no difference for a
  copy, but minutes for the message. Try again, once, on a new session.
- The peer ended a session that had served before, in words (see `renewal.has_ended`). Try again on a new session.
- The message was sent before the peer had answered EHLO, and it did not let that session come about, or tor did not
  reach it: it has taken nothing. Try again on a session that is opened without.
- Everything was sent and the final reply is missing: it may have been accepted. Answer 451; another target would make
  a copy for certain, where the MTA's next try may find the same server knowing the message.
"""

import asyncio
import time
from collections.abc import AsyncIterator, Sequence

from msgspec import Struct
from msgspec.structs import replace

from onionmx.authenticate.demand.requirement import Demand
from onionmx.errors import OnionmxError, TemporaryError
from onionmx.onion import Endpoint
from onionmx.relay import maillog, metrics
from onionmx.relay.destinations import Destinations
from onionmx.relay.failures import for_mta, level_of, reply_to
from onionmx.relay.sessions.member import Destination, Lease, wait_until_known
from onionmx.relay.sessions.pool import SessionPool
from onionmx.relay.sessions.renewal import has_ended, left_undecided, was_stale
from onionmx.smtp.client.outcome import Ending, Outcome
from onionmx.smtp.client.timeouts import NO_TIME
from onionmx.smtp.envelope import Envelope
from onionmx.smtp.faults import MisuseError
from onionmx.smtp.portions import portions
from onionmx.smtp.reply import OurReply, Reply
from onionmx.tor.socks import SocksError

_ROUND_TRIPS_ALONE = 7  # of one command at a time on a session of its own: CONNECT, banner, EHLO, MAIL, RCPT, DATA, dot

_MARGIN = 0.5  # seconds that a session gives up before the deadline of all: then it says how far it got


class Message(Struct, frozen=True):
    """What is to be delivered to the recipients of one route.

    Attributes:
        identifier: for the log.
        domain: of the first recipient, for the log.
        envelope: sender, recipients and parameters.
        content: the whole message, or its pieces as they stream in. Pieces can be sent to one target only.
        demand: what the certificate of a target must be like before it gets the message; `None` for any.
    """

    identifier: str
    domain: str
    envelope: Envelope
    content: bytes | AsyncIterator[bytes]
    demand: Demand | None = None


_transaction_seconds = metrics.stage_seconds.labels("transaction")


class Courier:
    """Takes messages to onion MXes.

    Args:
        destinations: hear how each try ends.
        deadline: seconds for one message, all targets together.
    """

    def __init__(self, pool: SessionPool, destinations: Destinations, deadline: float) -> None:
        self._pool = pool
        self._destinations = destinations
        self._deadline = deadline

    async def deliver(self, message: Message, targets: Sequence[Endpoint]) -> list[Reply]:
        """Try the targets in order until one takes the message.

        Returns:
            One reply for each recipient of the envelope, in order.
        """
        replies = await self._deliver(message, targets, asyncio.get_running_loop().time() + self._deadline)
        self.answered(replies)
        return replies

    def answered(self, replies: Sequence[Reply]) -> None:
        """Count recipients that were answered, of a transaction that was not delivered by this too."""
        self._destinations.record.answered(replies)

    def prepare(self, target: Endpoint, demand: Demand | None) -> None:
        """Begin to open a session for a message that is on its way here; not with a target that is failing.

        Args:
            target: the first of its route.
            demand: see `Message`.
        """
        if not self._destinations.is_failing(target):
            self._pool.prepare(Destination(target, demand))

    async def _deliver(
        self, message: Message, targets: Sequence[Endpoint], deadline: float, *, has_failed: bool = False
    ) -> list[Reply]:
        attempt = _Attempt(message, deadline, has_failed=has_failed)
        portioned = None
        try:
            portioned = await self._try_targets(attempt, targets)
        except TimeoutError:
            attempt.keep(OurReply.UNREACHABLE.value.with_text(f"no result within {self._deadline:g} s; {attempt.last}"))
        if portioned is None:
            return attempt.replies
        # Outside of the time limit: each portion has its own, and one that is over takes no reply from the others.
        return await self._deliver_portions(attempt, *portioned)

    async def _try_targets(
        self, attempt: "_Attempt", targets: Sequence[Endpoint]
    ) -> tuple[list[list[int]], Sequence[Endpoint]] | None:
        """Give the message to one target after another until the matter is settled.

        Returns:
            `None` where it is, or no target is left; else places of recipients that may share a transaction, nothing
            sent, and the targets to send them to.
        """
        for number, target in enumerate(targets):
            settled = await self._try_target(attempt, target)
            if isinstance(settled, list):
                return settled, targets[number:]
            if settled:
                break
        return None

    async def _deliver_portions(
        self, attempt: "_Attempt", places: list[list[int]], targets: Sequence[Endpoint]
    ) -> list[Reply]:
        """Send the message once for each portion of its recipients; one that streams can be sent only once."""
        message = attempt.message
        replies = [OurReply.SEPARATELY.value] * len(message.envelope.recipients)
        for place, reply in attempt.decided.items():
            replies[place] = reply
        for portion in places[:1] if attempt.is_streaming else places:
            recipients = tuple(message.envelope.recipients[place] for place in portion)
            envelope = replace(message.envelope, recipients=recipients)
            part = replace(message, envelope=envelope, content=attempt.content)
            try:
                found = await self._deliver(part, targets, attempt.deadline, has_failed=attempt.has_failed)
            except asyncio.CancelledError:
                if all(reply.is_transient for reply in replies):
                    raise
                break  # the relay is stopped: what the others have got stays
            for place, reply in zip(portion, found, strict=True):
                replies[place] = reply
        return replies

    async def _try_target(self, attempt: "_Attempt", target: Endpoint) -> bool | list[list[int]]:
        """Give the message to one target.

        Returns:
            Whether the matter is settled; where the target takes fewer recipients at once, or has decided about some
            of them only, the places of those that may share a transaction, nothing of it taken.
        """
        destination = Destination(target, attempt.message.demand)
        if why := self._destinations.refusal(target):
            attempt.keep(OurReply.UNREACHABLE.value.with_text(f"{maillog.shortened(target)} {why}"))
            return False
        while True:
            try:
                async with self._pool.lease(
                    destination, exclusive=attempt.is_streaming, deadline=attempt.deadline
                ) as lease:
                    places = portions(attempt.message.envelope.recipients, lease.session.extensions)
                    if len(places) > 1 and lease.confirmation is not None and lease.session.is_unconfirmed:
                        async with asyncio.timeout_at(attempt.deadline):
                            await wait_until_known(lease.confirmation)  # the limits are those of another time
                        continue
                    if len(places) > 1:
                        return places
                    settled = await self._send(attempt, target, lease)
            except TemporaryError as error:
                self._failed(attempt, target, error)
                return False
            if settled is not None:
                return settled
            self._pool.drop_idle(destination)

    async def _send(self, attempt: "_Attempt", target: Endpoint, lease: Lease) -> bool | list[list[int]] | None:
        """Send the message on one session.

        Returns:
            Whether the matter is settled; `None` for another try on a new session; see `_try_target` for the places.
        """
        message = attempt.message
        start = time.monotonic()
        outcome = await lease.session.deliver(message.envelope, attempt.content, deadline=attempt.deadline - _MARGIN)
        seconds = time.monotonic() - start
        _transaction_seconds.observe(seconds)
        may_start_tls = lease.session.can_start_tls
        count = len(message.envelope.recipients)
        replies = [for_mta(outcome.answer(index), may_start_tls=may_start_tls) for index in range(count)]
        if outcome.ending is not Ending.UNOPENED:
            attempt.keep(*replies, of_message=outcome.ending is not Ending.UNSUITABLE)
        if await self._is_for_a_new_session(attempt, outcome, lease):
            return None
        if attempt.waits_for_client and outcome.cause == NO_TIME:
            # The onion MX has nothing to do with it.
            attempt.keep(OurReply.CONNECTION_LOST.value.with_text("the client took too long to send the message"))
            return True
        if outcome.ending in {Ending.LOST, Ending.BROKEN} and not outcome.is_decided:
            self._destinations.broke_off(target, message.domain, outcome.cause)
            maillog.target_failed(message.identifier, message.domain, target, outcome.cause)
            return outcome.may_have_been_accepted or attempt.is_spent
        self._destinations.succeeded(target, message.domain)
        metrics.round_trips_saved.inc(max(0, _ROUND_TRIPS_ALONE - outcome.round_trips))
        kind = "reused" if lease.reused else "new" if lease.confirmation is None else "early"
        stages: dict[str, float | str] = {"session": kind, **lease.stages, "transaction": seconds}
        undecided = [] if attempt.is_spent else left_undecided(outcome, lease)
        for place, reply in enumerate(replies):
            if place not in undecided:
                maillog.delivered(message.identifier, message.domain, target, reply, stages)
        if undecided:
            lease.retire()
            attempt.decided = {place: reply for place, reply in enumerate(replies) if place not in undecided}
            return [undecided]
        if outcome.ending is Ending.UNSUITABLE:
            return attempt.is_spent  # another target may take it
        return attempt.is_spent or any(reply.is_positive or reply.is_permanent for reply in replies)

    async def _is_for_a_new_session(self, attempt: "_Attempt", outcome: Outcome, lease: Lease) -> bool:
        """Whether the session failed and not the message.

        Raises:
            TemporaryError: the target cannot be reached, however a session with it is opened.
        """
        if attempt.is_spent:
            return False
        if outcome.ending is Ending.UNOPENED and lease.confirmation is not None:
            await wait_until_known(lease.confirmation)
            return True
        if has_ended(outcome, lease):
            lease.retire()
            return True
        if was_stale(outcome, lease) and not attempt.was_stale:
            attempt.was_stale = True
            return True
        return False

    def _failed(self, attempt: "_Attempt", target: Endpoint, error: OnionmxError) -> None:
        message = attempt.message
        if isinstance(error, SocksError):
            metrics.socks_failures.labels(error.cause.name.lower()).inc()
        self._destinations.failed(target, message.domain, error)
        level = level_of(error)
        maillog.target_failed(message.identifier, message.domain, target, str(error), level=level)
        attempt.keep(reply_to(error), of_message=False)


class _Attempt:
    """What is known so far about the delivery of a message.

    Attributes:
        has_failed: whether a target has, for the moment.
        decided: by place, what was said of recipients before those that are left are sent the message.
    """

    def __init__(self, message: Message, deadline: float, *, has_failed: bool) -> None:
        self.message = message
        self.content = message.content if isinstance(message.content, bytes) else _Pieces(message.content)
        self.deadline = deadline
        self.was_stale = False
        self.decided: dict[int, Reply] = {}
        self._replies: list[Reply] = []
        self.has_failed = False
        self.keep(OurReply.UNREACHABLE.value)
        self.has_failed = has_failed

    @property
    def is_streaming(self) -> bool:
        """Whether the message can be sent only once."""
        return not isinstance(self.message.content, bytes)

    @property
    def is_spent(self) -> bool:
        """Whether pieces of a message that can be sent only once were taken already."""
        return isinstance(self.content, _Pieces) and self.content.is_touched

    @property
    def waits_for_client(self) -> bool:
        """Whether the next piece of the message has not come from the client."""
        return isinstance(self.content, _Pieces) and self.content.is_awaited

    @property
    def replies(self) -> list[Reply]:
        """For each recipient, what is to be answered."""
        return self._replies

    @property
    def last(self) -> str:
        """The last reply in words."""
        return self._replies[0].text

    def keep(self, *replies: Reply, of_message: bool = True) -> None:
        """Remember what is to be answered if nothing better follows.

        Args:
            replies: one for each recipient, or a single one for all of them.
            of_message: the peer has judged sender, recipients or content. Another failure that is permanent for its
                target leaves a message temporary for which another target failed only for the moment.
        """
        if not of_message and self.has_failed and replies[0].is_permanent:
            return
        self.has_failed = self.has_failed or any(reply.is_transient for reply in replies)
        count = len(self.message.envelope.recipients)
        self._replies = list(replies) if len(replies) == count else [replies[0]] * count


class _Pieces:
    """Content that streams in.

    Attributes:
        is_touched: whether a piece was asked for.
        is_awaited: whether a piece was asked for and has not come.
    """

    def __init__(self, pieces: AsyncIterator[bytes]) -> None:
        self.is_touched = False
        self.is_awaited = False
        self._pieces = pieces

    def __aiter__(self) -> AsyncIterator[bytes]:
        if self.is_touched:
            raise MisuseError("a message that can be sent only once was sent already")  # or it were empty now
        return self

    async def __anext__(self) -> bytes:
        self.is_touched = self.is_awaited = True
        try:
            piece = await anext(self._pieces)
        except StopAsyncIteration:
            self.is_awaited = False
            raise
        self.is_awaited = False
        return piece


def fitted(envelope: Envelope, content: bytes) -> Envelope:
    """The envelope with the size of the message, and as 7BIT where it has no 8-bit bytes: any peer takes that."""
    return replace(envelope, body="7BIT" if content.isascii() else "8BITMIME", size=len(content))
