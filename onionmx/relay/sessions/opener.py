"""Opening a session with an onion MX in the way that suits it."""

import asyncio
import socket
import time
from collections.abc import Callable
from dataclasses import replace
from functools import partial

from onionmx.authenticate.demand.authorities import Authorities
from onionmx.authenticate.demand.requirement import Demand
from onionmx.authenticate.proof.stream import NotProvenError, ProvingStream
from onionmx.isolation import isolated
from onionmx.net.stream import SocketStream
from onionmx.onion import Endpoint, format_endpoint
from onionmx.relay import metrics
from onionmx.relay.sessions.habits import Habits
from onionmx.relay.sessions.member import Destination, Opened
from onionmx.relay.sessions.tor_state import TorState
from onionmx.smtp.client.opening_session import begin_early, open_session
from onionmx.smtp.client.pipeline import Stage
from onionmx.smtp.client.session import ClientSession
from onionmx.smtp.client.states import Early, TlsPolicy
from onionmx.smtp.client.timeouts import Timeouts
from onionmx.smtp.faults import OpeningError
from onionmx.tor.early import NOT_REACHED, EarlyStream
from onionmx.tor.socks import SocksConnector, SocksError


class Opener:
    """Opens sessions.

    Args:
        connector: tor's SOCKS port.
        authorities: those that vouch for onion MXes.
        habits: what is remembered of onion MXes; what comes of a session is told to it.
        hostname: the name for EHLO.
        silence: seconds for which an onion MX may say nothing.
        connect_timeout: `tor.connect_timeout`.
    """

    def __init__(  # noqa: PLR0913 -- each of them is a part of its own
        self,
        connector: SocksConnector,
        authorities: Authorities,
        habits: Habits,
        *,
        hostname: str,
        silence: float,
        connect_timeout: float,
    ) -> None:
        self._connector = connector
        self._authorities = authorities
        self._habits = habits
        self._hostname = hostname
        self._timeouts = Timeouts(greeting=silence, command=silence)
        self._connect_timeout = connect_timeout
        self._tor = TorState()

    async def open(self, destination: Destination) -> Opened:
        """Open a session; see `pool.Open`."""
        # Nothing of a message was sent: whatever comes up, the next target can have it.
        with isolated(format_endpoint(destination.endpoint)):
            early = Early.NOTHING if destination.demand else self._habits.early(destination.endpoint)
            try:
                if early is not Early.NOTHING:
                    return await self._begin_early(destination.endpoint, early)
                return await self._open_as_it_can(destination)
            except SocksError as error:
                self._tor.failed(error)
                raise

    async def _begin_early(self, endpoint: Endpoint, early: Early) -> Opened:
        remembered = self._habits.remembered(endpoint)
        assert remembered is not None  # noqa: S101 -- otherwise nothing would be sent early
        start = time.monotonic()
        if early is Early.AT_ONCE:
            request = await self._connector.request(endpoint)
            renew = request.renew
            stream: SocketStream = await EarlyStream.over(request)
            timeouts = replace(self._timeouts, greeting=self._timeouts.greeting + self._connect_timeout)
        else:
            renew = self._renewing(endpoint)
            stream = await SocketStream.from_socket(await self._connector.connect(endpoint))
            timeouts = self._timeouts
        session = begin_early(
            stream,
            hello=self._hostname,
            remembered=remembered,
            early=early,
            timeouts=timeouts,
            on_broken=partial(self._habits.broken, endpoint),
        )
        confirmation = asyncio.create_task(self._confirm(session, stream, endpoint, early))
        confirmation.add_done_callback(lambda done: _renew_after(done, renew))
        stages = {"connect": time.monotonic() - start}
        metrics.stage_seconds.labels("connect").observe(stages["connect"])
        return Opened(session, stages, renew, confirmation)

    async def _confirm(self, session: ClientSession, stream: SocketStream, endpoint: Endpoint, early: Early) -> bool:
        """Whether a session that began early has come about; `False` where it is to be opened without."""
        try:
            await session.opened()
        except OpeningError as error:
            if isinstance(stream, EarlyStream) and stream.failure is not None:
                self._tor.failed(stream.failure)
                if stream.failure.cause not in NOT_REACHED:
                    self._habits.forget(endpoint)  # the next message can go to the next target then
                raise stream.failure from error
            is_greeting = session.refused_at is Stage.GREETING
            if is_greeting and early is Early.AFTER_GREETING:
                raise  # nothing was sent early
            if is_greeting and error.answer.is_transient:
                self._habits.forget(endpoint)  # it is busy
            else:
                self._habits.refused_early(endpoint)
            if session.refused_at is None:
                raise
            return False
        if session.is_misled:
            self._habits.forget(endpoint)
            return False
        self._tor.answered()
        self._habits.opened(endpoint, session.extensions)
        return True

    async def _open_as_it_can(self, destination: Destination) -> Opened:
        while True:
            tls = TlsPolicy.REQUIRE if destination.demand else self._habits.tls(destination.endpoint)
            try:
                opened = await self._open_once(destination, tls)
            except OpeningError as error:
                if not self._habits.failed(destination.endpoint, error, tls=tls):
                    raise
            else:
                self._habits.opened(destination.endpoint, opened.session.extensions)
                return opened

    async def _open_once(self, destination: Destination, tls: TlsPolicy) -> Opened:
        start = time.monotonic()
        renew = self._renewing(destination.endpoint)
        connection = await self._connector.connect(destination.endpoint)
        self._tor.answered()
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
        return await open_session(
            stream,
            hello=self._hostname,
            tls=tls,
            chunks=self._habits.chunks(endpoint),
            remembered=self._habits.remembered(endpoint),
            timeouts=self._timeouts,
            on_broken=partial(self._habits.broken, endpoint),
        )

    def _renewing(self, endpoint: Endpoint) -> Callable[[], None]:
        onion, _ = endpoint
        return partial(self._connector.renew, onion, self._connector.isolation(onion))


def _renew_after(confirmation: asyncio.Task[bool], renew: Callable[[], None]) -> None:
    if confirmation.cancelled() or confirmation.exception() is not None:
        renew()
