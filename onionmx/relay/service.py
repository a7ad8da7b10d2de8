"""The relay of one process, wired: route -> transaction -> pool -> SMTP session -> SOCKS."""

import asyncio
import socket
import time
from collections.abc import AsyncIterator, Callable, Sequence
from functools import partial
from ipaddress import ip_network
from pathlib import Path
from random import SystemRandom

from onionmx.authenticate.demand.requirement import Demand
from onionmx.authenticate.proof.published import PublishedDemands
from onionmx.authenticate.proof.stream import NotProvenError, ProvingStream
from onionmx.config import Configuration, RelaySection
from onionmx.isolation import isolated
from onionmx.net.stream import SocketStream
from onionmx.onion import Endpoint, format_endpoint
from onionmx.parts import Parts
from onionmx.relay import metrics
from onionmx.relay.delivery import Courier
from onionmx.relay.demands import Demands
from onionmx.relay.sessions.backoff import Backoff
from onionmx.relay.sessions.habits import Habits
from onionmx.relay.sessions.pool import Destination, Opened, SessionPool
from onionmx.relay.stepwise import Stepwise, begin_stepwise
from onionmx.relay.transaction import RelayTransaction, TransactionContext
from onionmx.smtp.client.session import ClientSession
from onionmx.smtp.client.states import TlsPolicy
from onionmx.smtp.client.timeouts import Timeouts
from onionmx.smtp.envelope import Envelope, Recipient
from onionmx.smtp.faults import OpeningError
from onionmx.smtp.reply import OurReply, Reply
from onionmx.smtp.server import Client, ServerSettings, Transaction

_PEER_TIMEOUT = 120.0  # seconds of silence before the next target is tried, while the deadline leaves time for it


class RelayCore:
    """Everything behind the server, from one version of the configuration.

    Args:
        configuration: settings.

    Attributes:
        parts: what it is made of.

    Raises:
        ConfigurationError: a file that the configuration names cannot be used.
    """

    def __init__(self, configuration: Configuration) -> None:
        settings = configuration.relay
        self._settings = settings
        self._hostname = settings.ehlo_name
        self.parts = Parts(configuration)
        self._authorities = self.parts.authorities  # now: a file with mistakes is refused at start and at a reload
        silence = min(_PEER_TIMEOUT, settings.deadline / 2)
        self._timeouts = Timeouts(greeting=silence, command=silence)
        self._pool = SessionPool(settings, self._open_session)
        self._open_transactions = 0
        self._all_ended = asyncio.Event()
        self._all_ended.set()
        self._backoff = Backoff(SystemRandom())
        self._habits = Habits(TlsPolicy(settings.tls))
        is_checked = configuration.authenticate.mode != "off"
        published = PublishedDemands(Path(configuration.map.path)) if is_checked else None
        self._demands = Demands(published, self.parts.inquiry)
        self._handling = TransactionContext(
            route=self.parts.router.route,
            demand=self._demands.of,
            courier=Courier(self._pool, self._backoff, settings.deadline),
            stepwise=self._begin_stepwise,
            hostname=self._hostname,
            no_route=(OurReply.NO_ROUTE_REJECTED if settings.unrouted == "reject" else OurReply.NO_ROUTE).value,
            keep_limit=settings.keep_limit,
            max_received=settings.max_received,
            log_addresses=settings.log_addresses,
        )

    def begin(self, envelope: Envelope, client: Client) -> Transaction:
        """Open a transaction at MAIL."""
        self._open_transactions += 1
        self._all_ended.clear()
        return _Counted(RelayTransaction(self._handling, envelope, client), self._transaction_ended)

    def inherit(self, former: "RelayCore") -> None:
        """Take over what a former one has learnt from DNS and of onion MXes."""
        self.parts.inherit(former.parts)
        if former._settings.tls == self._settings.tls:  # noqa: SLF001 -- of the same class
            self._habits = former._habits  # noqa: SLF001

    async def finish(self) -> None:
        """Close it once its transactions have ended, however long they take; no further one may begin."""
        await self._all_ended.wait()
        await self.close()

    async def close(self) -> None:
        """Close all sessions with onion MXes, and end all questions."""
        self.parts.socks.close()
        await self._pool.close()
        await self.parts.close()
        self._demands.close()

    def _transaction_ended(self) -> None:
        self._open_transactions -= 1
        if not self._open_transactions:
            self._all_ended.set()

    async def _open_session(self, destination: Destination) -> Opened:
        # Nothing of a message was sent: whatever comes up, the next target can have it.
        with isolated(format_endpoint(destination.endpoint)):
            return await self._open_as_it_can(destination)

    async def _open_as_it_can(self, destination: Destination) -> Opened:
        while True:
            tls = TlsPolicy.REQUIRE if destination.demand else self._habits.tls(destination.endpoint)
            try:
                opened = await self._open_once(destination, tls)
            except OpeningError as error:
                if not self._habits.failed(destination.endpoint, error, tls=tls):
                    raise
            else:
                self._habits.opened(destination.endpoint, chunking=opened.session.extensions.chunking)
                return opened

    async def _open_once(self, destination: Destination, tls: TlsPolicy) -> Opened:
        start = time.monotonic()
        onion, _ = destination.endpoint
        renew = partial(self.parts.socks.renew, onion, self.parts.socks.isolation(onion))
        connection = await self.parts.socks.connect(destination.endpoint)
        connected = time.monotonic()
        try:
            if destination.demand is None:
                session = await self._open(await SocketStream.from_socket(connection), destination.endpoint, tls)
            else:
                session = await self._open_proven(connection, destination.endpoint, destination.demand)
        except BaseException:
            renew()
            raise
        stages = {"connect": connected - start, "open": time.monotonic() - connected}
        for stage, seconds in stages.items():
            metrics.stage_seconds.labels(stage).observe(seconds)
        return Opened(session, stages, renew)

    async def _open_proven(self, connection: socket.socket, endpoint: Endpoint, demand: Demand) -> ClientSession:
        """A session with a peer that has shown the certificate before anything of a message is said to it."""
        stream = await ProvingStream.over(connection, demand, self._authorities)
        try:
            return await self._open(stream, endpoint, TlsPolicy.REQUIRE)
        except OpeningError as error:
            if stream.refusal:
                raise NotProvenError(stream.refusal) from error
            if stream.accepted is None and error.answer.is_permanent:
                # Only an onion MX that has proven itself decides about mail for good.
                raise NotProvenError(f"it refuses mail before it has shown a certificate: {error}") from error
            raise

    async def _open(self, stream: SocketStream, endpoint: Endpoint, tls: TlsPolicy) -> ClientSession:
        return await ClientSession.open(
            stream,
            hello=self._hostname,
            tls=tls,
            chunks=self._habits.chunks(endpoint),
            timeouts=self._timeouts,
            on_broken=partial(self._habits.broken, endpoint),
        )

    async def _begin_stepwise(self, envelope: Envelope, targets: Sequence[Destination]) -> Stepwise | Reply:
        return await begin_stepwise(self._pool, self._backoff, envelope, targets, self._settings.deadline)


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
