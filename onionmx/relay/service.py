"""The relay of one process, wired: route -> transaction -> pool -> SMTP session -> SOCKS."""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from ipaddress import ip_network
from pathlib import Path
from random import SystemRandom

from onionmx.answer import Answer
from onionmx.authenticate.proof.published import PublishedDemands
from onionmx.config import Configuration, RelaySection
from onionmx.domain import Domain
from onionmx.parts import Parts
from onionmx.relay.delivery import Courier
from onionmx.relay.demands import Demands
from onionmx.relay.destinations import Destinations
from onionmx.relay.fallback import Fallback
from onionmx.relay.record import DeliveryRecord
from onionmx.relay.sessions.announced import announced_file
from onionmx.relay.sessions.backoff import Backoff
from onionmx.relay.sessions.habits import Habits
from onionmx.relay.sessions.member import Destination
from onionmx.relay.sessions.opener import Opener
from onionmx.relay.sessions.pool import SessionPool
from onionmx.relay.sessions.warm import EVERY
from onionmx.relay.stepwise import Stepwise, StepwiseReach, begin_stepwise
from onionmx.relay.transaction import RelayTransaction, TransactionContext
from onionmx.relay.turns import Turns
from onionmx.smtp.client.states import TlsPolicy
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.reply import OurReply, Reply
from onionmx.smtp.server import Client, ServerSettings, Transaction

_PEER_TIMEOUT = 120.0  # seconds of silence before the next target is tried, while the deadline leaves time for it


class RelayCore:
    """Everything behind the server, from one version of the configuration.

    Args:
        record: of deliveries, which outlives it; `None` for one of its own.
        fallback: hears what becomes of onion MXes, and outlives it too; `None` where nobody watches.

    Attributes:
        parts: what it is made of.

    Raises:
        ConfigurationError: a file that the configuration names cannot be used.
    """

    def __init__(
        self, configuration: Configuration, record: DeliveryRecord | None = None, fallback: Fallback | None = None
    ) -> None:
        settings = configuration.relay
        self._settings = settings
        self._hostname = settings.ehlo_name
        self._fallback = fallback or Fallback()
        self.parts = Parts(configuration, may_release=False)
        self._habits = Habits(TlsPolicy(settings.tls), is_early=settings.early_pipelining)
        self._opener = Opener(
            self.parts.socks,
            self.parts.authorities,  # now: a file with mistakes is refused at start and at a reload
            self._habits,
            hostname=self._hostname,
            silence=min(_PEER_TIMEOUT, settings.deadline / 2),
            connect_timeout=configuration.tor.connect_timeout,
        )
        self._pool = SessionPool(settings, self._opener.open)
        self._open_transactions = 0
        self._all_ended = asyncio.Event()
        self._all_ended.set()
        backoff = Backoff(SystemRandom(), on_failed=self._fallback.failed, on_succeeded=self._fallback.answered)
        self._destinations = Destinations(backoff, record or DeliveryRecord())
        is_checked = configuration.authenticate.mode != "off"
        published = PublishedDemands(Path(configuration.map.path)) if is_checked else None
        self._demands = Demands(published, self.parts.policy_lookup)
        self._upkeep = asyncio.get_running_loop().create_task(self._keep_up())
        self._turns = Turns()
        self._handling = TransactionContext(
            route=self._route,
            is_released=self._fallback.is_released,
            demand=self._demands.of,
            courier=Courier(self._pool, self._destinations, settings.deadline),
            stepwise=self._begin_stepwise,
            turns=self._turns,
            hostname=self._hostname,
            no_route=(OurReply.NO_ROUTE_REJECTED if settings.unrouted == "reject" else OurReply.NO_ROUTE).value,
            keep_limit=settings.keep_limit,
            max_received=settings.max_received,
            scrub=frozenset(name.lower().encode("ascii") for name in settings.scrub),
            log_addresses=settings.log_addresses,
        )

    def keep_announced(self) -> None:
        """Take over what onion MXes announced before a restart, and keep what they announce now; for daemons."""
        self._habits.keep_in(announced_file(self.parts.configuration))

    def start_fallback(self) -> None:
        """Begin to watch onion MXes, for daemons."""
        self._fallback.start(self.parts.configuration, self.parts.router.route, self._demands.of)

    def begin(self, envelope: Envelope, client: Client) -> Transaction:
        """Open a transaction at MAIL."""
        self._open_transactions += 1
        self._all_ended.clear()
        return _Counted(RelayTransaction(self._handling, envelope, client), self._transaction_ended)

    def inherit(self, former: "RelayCore") -> None:
        """Take over what a former one has learnt from DNS and of onion MXes."""
        self.parts.inherit(former.parts)
        if former._settings.tls == self._settings.tls:  # noqa: SLF001 -- of the same class
            self._habits.inherit(former._habits)  # noqa: SLF001
        self._pool.warmth = former._pool.warmth  # noqa: SLF001
        self._turns.inherit(former._turns)  # noqa: SLF001

    def lead_fallback(self) -> None:
        """Let what watches onion MXes go on with this configuration."""
        self._fallback.use(self.parts.configuration, self.parts.router.route, self._demands.of)

    async def finish(self) -> None:
        """Close it once its transactions have ended, however long they take; no further one may begin."""
        await self._all_ended.wait()
        await self.close()

    async def close(self) -> None:
        """Close all sessions with onion MXes, and end all questions."""
        self._upkeep.cancel()
        self.parts.socks.close()
        await self._pool.close()
        await self.parts.close()
        self._demands.close()
        await self._habits.save()

    async def _keep_up(self) -> None:
        while True:
            await asyncio.sleep(EVERY)
            await self.tend()

    async def tend(self) -> None:
        """Save what was announced, and open sessions with the busiest onion MXes; done every `EVERY` seconds."""
        await self._habits.save()
        for destination in self._pool.warmth.busiest(self._settings.warm):
            if not self._destinations.is_failing(destination.endpoint):
                self._pool.prepare(destination)

    async def _route(self, domain: str) -> Answer:
        answer = await self.parts.router.route(domain)
        self._fallback.found(answer)
        return answer

    def _transaction_ended(self) -> None:
        self._open_transactions -= 1
        if not self._open_transactions:
            self._all_ended.set()

    async def _begin_stepwise(
        self, domain: Domain, envelope: Envelope, targets: Sequence[Destination]
    ) -> Stepwise | Reply:
        reach = StepwiseReach(self._pool, self._destinations, domain, envelope)
        return await begin_stepwise(reach, targets, self._settings.deadline)


class _Counted:
    """A transaction whose end is told; see `onionmx.smtp.server.seam.Transaction`."""

    def __init__(self, transaction: RelayTransaction, ended: Callable[[], None]) -> None:
        self._transaction = transaction
        self._ended = ended

    async def recipient(self, recipient: Recipient, *, more_follow: bool) -> Reply:
        """Judge one recipient."""
        return await self._transaction.recipient(recipient, more_follow=more_follow)

    async def content(self, chunks: AsyncIterator[bytes]) -> Sequence[Reply]:
        """Deliver the message."""
        try:
            return await self._transaction.content(chunks)
        finally:
            self._ended()

    async def abandon(self) -> None:
        """Forget the transaction."""
        try:
            await self._transaction.abandon()
        finally:
            self._ended()


def server_settings(settings: RelaySection) -> ServerSettings:
    """The part of the configuration that the server half reads."""
    return ServerSettings(
        hostname=f"relay.{settings.ehlo_name}",
        clients=tuple(map(ip_network, settings.clients)),
        max_connections=settings.max_connections,
        max_message_size=settings.message_size_limit,
        bare_newline=settings.bare_newline,
    )
