"""The server as a whole: sockets, sessions, limits and the end of it."""

from __future__ import annotations

import asyncio
import logging
import math
import socket
import sys
import time
from collections import Counter
from ipaddress import IPv6Address, ip_address
from typing import TYPE_CHECKING, Any

from onionmx.log import fields
from onionmx.net.clients import Door
from onionmx.smtp.reply import OurReply, Reply
from onionmx.smtp.server.commands import LmtpSession, ServerSession
from onionmx.smtp.server.settings import BACKLOG, FULL_TOLD_EVERY, LINGER, MAX_LINGERING

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from onionmx.smtp.server.connection import SmtpConnection
    from onionmx.smtp.server.listener import SmtpListener
    from onionmx.smtp.server.seam import Begin
    from onionmx.smtp.server.settings import ServerSettings

_logger = logging.getLogger(__name__)


class SmtpServer:
    """Sessions on any number of sockets. Made by `serve`."""

    def __init__(self, settings: ServerSettings, begin: Begin) -> None:
        self._settings = settings
        self._begin = begin
        self._sessions: set[SmtpConnection] = set()
        self._leaving: set[SmtpConnection] = set()  # refused, or making room
        self._door = Door()
        self._full_told = -math.inf
        self._deliveries: set[asyncio.Task[Sequence[Reply]]] = set()
        self._listening: list[tuple[SmtpListener, asyncio.Server]] = []

    @property
    def open_sessions(self) -> int:
        """Sessions at the moment."""
        return len(self._sessions)

    @property
    def open_deliveries(self) -> int:
        """Messages being taken or delivered at the moment."""
        return len(self._deliveries)

    async def listen(self, listener: SmtpListener) -> None:
        """Take connections from one more socket."""
        loop = asyncio.get_running_loop()
        session = self.lmtp_session if listener.is_lmtp else self.smtp_session
        if listener.socket.family == socket.AF_UNIX:
            # From Python 3.13 on the path would go with the first of several workers that ends.
            keep: dict[str, Any] = {"cleanup_socket": False} if sys.version_info >= (3, 13) else {}
            server = await loop.create_unix_server(session, sock=listener.socket, backlog=BACKLOG, **keep)
        else:
            server = await loop.create_server(session, sock=listener.socket, backlog=BACKLOG)
        self._listening.append((listener, server))

    def smtp_session(self) -> ServerSession:
        """The protocol for a connection that speaks SMTP."""
        return ServerSession(self._settings, self._begin, self._deliveries, self._opened, self._closed)

    def lmtp_session(self) -> LmtpSession:
        """The protocol for a connection that speaks LMTP."""
        return LmtpSession(self._settings, self._begin, self._deliveries, self._opened, self._closed)

    async def close(self, grace: float) -> None:
        """Stop: take no connection more, end idle sessions with 421, let transactions in flight finish.

        Args:
            grace: seconds for the transactions; what is not done then is broken off: its delivery is cancelled, and
                the client hears what is final by then, or 421. It keeps the rest of those messages.
        """
        for _, server in self._listening:
            server.close()
        for session in self._sessions:
            session.stop()
        if at_work := self._at_work():
            await asyncio.wait(at_work, timeout=grace)
        if late := self._at_work():
            _logger.warning("%d sessions and deliveries broken off after %g s", len(late), grace)
            await self._break_off()
        await asyncio.gather(*(server.wait_closed() for _, server in self._listening))

    async def _break_off(self) -> None:
        """End the deliveries, and the sessions once they have given on what each recipient has got."""
        for session in self._sessions | self._leaving:
            session.break_off()
        for delivery in (deliveries := set(self._deliveries)):
            delivery.cancel()
        await asyncio.gather(*deliveries, return_exceptions=True)
        if late := self._at_work():
            await asyncio.wait(late, timeout=LINGER)
        for task in (late := self._at_work()):
            task.cancel()
        await asyncio.gather(*late, return_exceptions=True)

    def _at_work(self) -> set[asyncio.Task[None] | asyncio.Task[Sequence[Reply]]]:
        return {*self._deliveries, *(session.task for session in self._sessions | self._leaving)}

    def _opened(self, session: SmtpConnection) -> Reply:
        refusal = self._refusal(session)
        (self._leaving if refusal else self._sessions).add(session)
        if refusal:
            session.lingers = len(self._leaving) < MAX_LINGERING
        return refusal or Reply(220, "", (f"{self._settings.hostname} {session.greeting}",))

    def _closed(self, session: SmtpConnection) -> None:
        self._sessions.discard(session)
        self._leaving.discard(session)

    def _refusal(self, session: SmtpConnection) -> Reply | None:
        if not self._is_allowed(session):
            refusal = OurReply.CLIENT_REFUSED.value
            extra = fields("client_refused", connection=session.number, reply=str(refusal))
            _logger.warning("session %d: refused: %s", session.number, refusal, extra=extra)
            return refusal
        return None if self._has_room(session) else OurReply.TOO_MANY_CONNECTIONS.value

    def _has_room(self, session: SmtpConnection) -> bool:
        limit = self._settings.max_connections
        if len(self._sessions) < limit:
            return True
        now = time.monotonic()
        leaver = self._door.leaver(self._sessions, session, limit, now)
        self._tell_full(now)
        if leaver is not None and leaver is not session:
            self._sessions.discard(leaver)
            leaver.lingers = len(self._leaving) < MAX_LINGERING
            self._leaving.add(leaver)
            leaver.make_room()
        return leaver is not session

    def _tell_full(self, now: float) -> None:
        """Say now and then who has all the connections."""
        if now - self._full_told < FULL_TOLD_EVERY:
            return
        self._full_told = now
        ((user, number),) = Counter(session.client.user for session in self._sessions).most_common(1)
        owner = f"user {user}" if isinstance(user, int) else user or "users that cannot be told"
        _logger.warning(
            "%d connections: idle ones are closed for others, then those that are waited for longest; %s: %d",
            len(self._sessions),
            owner,
            number,
        )

    def _is_allowed(self, session: SmtpConnection) -> bool:
        if session.is_unix:
            return True  # its mode has let the client in
        if not isinstance(session.peer, tuple):
            return False  # gone already
        address = ip_address(session.peer[0])
        if isinstance(address, IPv6Address) and address.ipv4_mapped:
            address = address.ipv4_mapped
        return any(address in network for network in self._settings.clients)


async def serve(settings: ServerSettings, begin: Begin, listeners: Iterable[SmtpListener]) -> SmtpServer:
    """Serve SMTP and LMTP.

    Args:
        begin: opens a transaction at MAIL.
        listeners: sockets, from `listen_tcp`, `listen_unix` or systemd; the server closes them.

    Returns:
        The server, taking connections.
    """
    # aiosmtpd logs peers at INFO. Addresses of messages would follow if any of its own commands were ever called.
    logging.getLogger("mail.log").setLevel(logging.WARNING)
    server = SmtpServer(settings, begin)
    for listener in listeners:
        await server.listen(listener)
    return server
