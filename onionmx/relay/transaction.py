"""A message on its way through the relay: from MAIL of the MTA to the replies for it.

With LMTP, and with a single recipient, the relay accepts recipients by itself and sends the whole transaction to the
onion MX in one flight. With SMTP and several recipients each RCPT is answered by the onion MX, one at a time: once one
was asked there, all that follow are.
"""

import asyncio
import secrets
from collections import deque
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any, TypeVar

from msgspec.structs import replace

from onionmx.answer import Ask, CouldNotTell, Found, NoRoute, Unroutable
from onionmx.authenticate.demand.requirement import Demand
from onionmx.domain import Domain, normalize
from onionmx.errors import DomainError, TemporaryError
from onionmx.onion import Endpoint, is_for_tor_alone
from onionmx.relay import maillog
from onionmx.relay.delivery import Courier, Message, fitted
from onionmx.relay.received import received_header
from onionmx.relay.scrub import MOST_HEADER, scrubbed
from onionmx.relay.sessions.member import Destination
from onionmx.relay.stepwise import Stepwise
from onionmx.relay.turns import Turns
from onionmx.smtp.content import ReceivedCounter
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.reply import OurReply, Reply
from onionmx.smtp.server.seam import Client
from onionmx.target import Route

T = TypeVar("T")

_HEADER_SEARCHED = 65536  # bytes of a message that is too large to be kept; each server adds its Received on top


@dataclass(frozen=True, slots=True)
class TransactionContext:
    """What all transactions share.

    Attributes:
        route: finds the route of a domain.
        is_released: whether MTAs are told that a domain has no route; see `onionmx.relay.fallback`.
        demand: finds what the domain of a route demands of its onion MXes; raises `TemporaryError`.
        courier: takes messages to onion MXes.
        stepwise: begins a transaction whose recipients the onion MX answers one by one.
        turns: whose turn it is where a message comes again by SMTP.
        hostname: of this relay.
        no_route: what to say of a domain without a route.
        keep_limit: bytes up to which a message is kept until the final reply.
        max_received: Received headers from which on a message is in a mail loop.
        scrub: names of header fields that messages are sent without, in lower case.
        log_addresses: whether addresses may be logged.
    """

    route: Ask
    is_released: Callable[[Domain], bool]
    demand: Callable[[Route], Awaitable[Demand | None]]
    courier: Courier
    stepwise: Callable[[Domain, Envelope, Sequence[Destination]], Awaitable[Stepwise | Reply]]
    turns: Turns
    hostname: str
    no_route: Reply
    keep_limit: int
    max_received: int
    scrub: frozenset[bytes]
    log_addresses: bool


@dataclass(slots=True)
class _Group:
    """Recipients that share a route.

    Attributes:
        domain: of the first of them.
        targets: of the route.
        demand: what they have to prove; `None` for nothing.
        recipients: with their places among the accepted recipients of the transaction.
    """

    domain: str
    targets: tuple[Endpoint, ...]
    demand: Demand | None
    recipients: list[tuple[int, Recipient]] = field(default_factory=list)

    @property
    def destinations(self) -> list[Destination]:
        """The targets with what they have to prove."""
        return [Destination(target, self.demand) for target in self.targets]


class RelayTransaction:
    """One transaction; see `onionmx.smtp.server.seam.Transaction`.

    Args:
        handling: what all transactions share.
        envelope: without recipients.
        client: who hands the message over.
    """

    def __init__(self, handling: TransactionContext, envelope: Envelope, client: Client) -> None:
        self._handling = handling
        self._envelope = envelope
        self._client = client
        self._identifier = secrets.token_hex(5)
        self._groups: list[_Group] = []
        self._accepted = 0
        self._stepwise: Stepwise | None = None
        self._first_refusal: Reply | None = None
        self._turns = handling.turns.of(envelope)

    async def recipient(self, recipient: Recipient, *, more_follow: bool) -> Reply:
        """Judge one recipient: by its route, and with SMTP and several of them by the onion MX."""
        found = await self._find_route(recipient)
        if isinstance(found, Reply):
            maillog.refused(self._identifier, _domain_of(recipient), found)
            self._turns.had_turn(recipient.address)
            return found
        if self._first_refusal is not None:
            return self._sent_back(recipient, OurReply.SEPARATELY)
        if not self._client.is_lmtp and self._turns.is_sent_back(recipient.address):
            return OurReply.AFTER_OTHERS.value
        group = await self._group_for(found)
        if group is None:
            return self._sent_back(recipient, OurReply.OTHER_ROUTE)
        reply = OurReply.RECIPIENT_OK.value
        if not self._client.is_lmtp and (more_follow or self._must_ask(group)):
            reply = await self._ask_onion_mx(group, recipient)
            if reply == OurReply.SEPARATELY.value:
                return self._sent_back(recipient, OurReply.SEPARATELY)
            if not reply.is_positive:
                self._handling.courier.answered([reply])
                self._turns.had_turn(recipient.address)
        if reply.is_positive:
            if not self._accepted and self._stepwise is None:
                self._handling.courier.prepare(group.targets[0], group.demand)
            group.recipients.append((self._accepted, recipient))
            self._accepted += 1
        return reply

    def _must_ask(self, group: _Group) -> bool:
        """Whether the onion MX answers for a recipient of this group, by SMTP."""
        return bool(group.recipients) or self._stepwise is not None or self._turns.must_ask

    def _sent_back(self, recipient: Recipient, reply: OurReply) -> Reply:
        """The reply for a recipient that has to come in another transaction."""
        self._turns.send_back(recipient.address)
        return reply.value

    async def content(self, chunks: AsyncIterator[bytes]) -> Sequence[Reply]:
        """Deliver the message."""
        were_asked = self._stepwise is not None and self._first_refusal is None
        final = OurReply.CONNECTION_LOST.value  # an MTA that has gone without its reply comes again
        try:
            replies = await self._content(chunks)
            final = replies[0]
        except BaseException:
            await self.abandon()
            raise
        finally:
            if not self._client.is_lmtp:
                accepted = (recipient.address for group in self._groups for _, recipient in group.recipients)
                self._turns.end(accepted, is_transient=final.is_transient, were_asked=were_asked)
        return replies

    async def _content(self, chunks: AsyncIterator[bytes]) -> Sequence[Reply]:
        if self._handling.log_addresses:
            recipients = (recipient.address for group in self._groups for _, recipient in group.recipients)
            maillog.addresses(self._identifier, self._envelope.sender, recipients)
        head, is_whole = await _read_up_to(chunks, self._kept)
        counter = ReceivedCounter()
        for piece in head:
            counter.feed(piece)
        if self._handling.scrub and not is_whole:
            is_whole = await _read_header(head, chunks, counter)
        if counter.count >= self._handling.max_received:
            await self.abandon()
            return [OurReply.LOOP.value] * self._replies_expected
        removed = self._scrub(head) if self._handling.scrub else 0
        header = received_header(self._handling.hostname, self._client.protocol, self._identifier, datetime.now(tz=UTC))
        head.appendleft(header)
        whole = b"".join(head) if is_whole else None
        if is_whole:
            head.clear()  # or the message would be held twice
        pieces = _joined(head, chunks)
        if self._first_refusal is not None:
            await self.abandon()
            return self._answered(self._first_refusal)
        if self._stepwise is not None:
            stepwise, self._stepwise = self._stepwise, None
            return self._answered(await stepwise.send(whole if whole is not None else pieces))
        if whole is not None:
            return await self._deliver_to_all(whole)
        return await self._deliver_to_first(pieces, len(header) - removed)

    def _answered(self, reply: Reply) -> list[Reply]:
        """One reply for all accepted recipients."""
        self._handling.courier.answered([reply] * self._accepted)
        return [reply]

    async def abandon(self) -> None:
        """Forget the transaction."""
        if self._stepwise is not None:
            await self._stepwise.abandon()
            self._stepwise = None

    def _scrub(self, head: deque[bytes]) -> int:
        """Take header fields out of the beginning of the message; how many bytes they had."""
        content = b"".join(head)
        found = scrubbed(content, self._handling.scrub)
        if found.trouble:
            maillog.not_scrubbed(self._identifier, found.trouble)
        head.clear()
        head.append(found.content)
        return len(content) - len(found.content)

    @property
    def _kept(self) -> int:
        """Bytes to read before the message is sent: all of it if that can be kept, or as much as shows a loop."""
        limit = self._handling.keep_limit
        return limit if self._envelope.size is None or self._envelope.size <= limit else min(limit, _HEADER_SEARCHED)

    @property
    def _replies_expected(self) -> int:
        return self._accepted if self._client.is_lmtp else 1

    async def _find_route(self, recipient: Recipient) -> tuple[Route, Demand | None] | Reply:
        written = _domain_of(recipient)
        try:
            domain = normalize(written)
        except DomainError as error:
            return self._no_domain(written).with_text(str(error))
        match await self._handling.route(domain):
            case Found() if self._handling.is_released(domain):
                return OurReply.RELEASED.value
            case Found(route):
                return await self._with_demand(route)
            case Unroutable(_, reason):
                return OurReply.NO_SUCH_ONION.value.with_text(f"{domain}: {reason}")
            case NoRoute(_, reason):
                return self._handling.no_route.with_text(f"{domain}: {reason}")
            case CouldNotTell(_, reason):
                return OurReply.ROUTE_UNKNOWN.value.with_text(f"{domain}: {reason}")

    def _no_domain(self, written: str) -> Reply:
        """What to say of what is no domain; that a name cannot be converted does not tell that it has no route."""
        if is_for_tor_alone(written):
            return OurReply.NO_SUCH_ONION.value
        return self._handling.no_route if written.isascii() else OurReply.ROUTE_UNKNOWN.value

    async def _with_demand(self, route: Route) -> tuple[Route, Demand | None] | Reply:
        try:
            return route, await self._handling.demand(route)
        except TemporaryError as error:
            return OurReply.PROOF_UNKNOWN.value.with_text(f"{route.domain}: {error}")

    async def _group_for(self, found: tuple[Route, Demand | None]) -> _Group | None:
        """The recipients with this route; `None` where SMTP has one for another route already."""
        route, demand = found
        for group in self._groups:
            if (group.targets, group.demand) == (route.endpoints, demand):
                return group
        if self._groups and not self._client.is_lmtp:
            if self._accepted:
                return None
            # All before were refused, so the message may still go this way.
            await self.abandon()
            self._groups.clear()
        self._groups.append(_Group(route.domain, route.endpoints, demand))
        return self._groups[-1]

    async def _ask_onion_mx(self, group: _Group, recipient: Recipient) -> Reply:
        """Let the onion MX answer for this recipient, and first for one that was accepted without asking."""
        if self._stepwise is None:
            begun = await self._handling.stepwise(group.domain, self._envelope, group.destinations)
            if isinstance(begun, Reply):
                return begun
            self._stepwise = begun
            for _, earlier in group.recipients:
                reply = await begun.add_recipient(earlier)
                if not reply.is_positive:
                    # It was told 250 already: the whole message gets its answer, and the others come again alone.
                    self._first_refusal = reply
                    return OurReply.SEPARATELY.value
        return await self._stepwise.add_recipient(recipient)

    async def _deliver_to_all(self, content: bytes) -> list[Reply]:
        """One delivery for each route, all at the same time."""
        groups = [group for group in self._groups if group.recipients]
        results = await _results([self._deliver(group, content) for group in groups])
        by_place: dict[int, Reply] = {}
        for group, result in zip(groups, results, strict=True):
            if isinstance(result, Exception):
                # A fault of ours on one route takes away no reply that another route has got.
                maillog.failed(self._identifier, group.domain, result)
                by_place |= dict.fromkeys((place for place, _ in group.recipients), OurReply.INTERNAL.value)
            elif isinstance(result, BaseException):
                if all(isinstance(other, BaseException) for other in results):
                    raise result
                # The relay is stopped. Another route has an answer, which its recipients must not lose.
                why = "the relay was stopped before the final reply"
                by_place |= dict.fromkeys(
                    (place for place, _ in group.recipients), OurReply.CONNECTION_LOST.value.with_text(why)
                )
            else:
                by_place |= dict(result)
        return [by_place[place] for place in range(self._accepted)]

    async def _deliver_to_first(self, pieces: AsyncIterator[bytes], growth: int) -> list[Reply]:
        """A message that is not kept can go one way only; recipients with other routes come again.

        Args:
            growth: bytes that it is larger than what the client has sent.
        """
        first, *others = (group for group in self._groups if group.recipients)
        by_place = {place: OurReply.OTHER_ROUTE.value for group in others for place, _ in group.recipients}
        size = self._envelope.size
        self._envelope = replace(self._envelope, size=None if size is None else max(0, size + growth))
        by_place.update(await self._deliver(first, pieces))
        return [by_place[place] for place in range(self._accepted)]

    async def _deliver(self, group: _Group, content: bytes | AsyncIterator[bytes]) -> list[tuple[int, Reply]]:
        envelope = replace(self._envelope, recipients=tuple(recipient for _, recipient in group.recipients))
        if isinstance(content, bytes):
            envelope = fitted(envelope, content)
        message = Message(self._identifier, group.domain, envelope, content, group.demand)
        replies = await self._handling.courier.deliver(message, group.targets)
        return [(place, reply) for (place, _), reply in zip(group.recipients, replies, strict=True)]


async def _results(deliveries: Sequence[Coroutine[Any, Any, T]]) -> list[T | BaseException]:
    """What came of each; where this is cancelled, of those that had ended, and that the others were cancelled."""
    if len(deliveries) == 1:  # nearly always: no task of its own for it
        try:
            return [await deliveries[0]]
        except Exception as error:  # noqa: BLE001 -- given back
            return [error]
    tasks = [asyncio.create_task(delivery) for delivery in deliveries]
    try:
        await asyncio.wait(tasks)
    except asyncio.CancelledError:
        for task in tasks:
            task.cancel()
    return await asyncio.gather(*tasks, return_exceptions=True)


def _domain_of(recipient: Recipient) -> str:
    return recipient.address.rpartition("@")[2]


async def _read_up_to(chunks: AsyncIterator[bytes], limit: int) -> tuple[deque[bytes], bool]:
    """The beginning of a message, and whether it is the whole of it."""
    pieces: deque[bytes] = deque()
    size = 0
    async for piece in chunks:
        pieces.append(piece)
        size += len(piece)
        if size > limit:
            return pieces, False
    return pieces, True


async def _read_header(head: deque[bytes], chunks: AsyncIterator[bytes], counter: ReceivedCounter) -> bool:
    """Read on to the end of the header, if it is not larger than is looked at; whether that is the whole message.

    Args:
        head: what was read.
        counter: has seen it.
    """
    size = sum(map(len, head))
    while counter.in_header and size <= MOST_HEADER:
        piece = await anext(chunks, None)
        if piece is None:
            return True
        head.append(piece)
        counter.feed(piece)
        size += len(piece)
    return False


async def _joined(head: deque[bytes], rest: AsyncIterator[bytes]) -> AsyncIterator[bytes]:
    """The whole message; what was given is not held any longer."""
    while head:
        yield head.popleft()
    async for piece in rest:
        yield piece
