"""Everything behind the daemon's sockets, wired: protocol -> connection -> answers -> router."""

import asyncio
from dataclasses import fields
from functools import partial
from pathlib import Path

from onionmx.config import Configuration, parse_socket
from onionmx.parts import Parts
from onionmx.routing.router import Router
from onionmx.routing.troubles import Troubles
from onionmx.serve.answers import ReadsocketAnswers, Routes, TableAnswers
from onionmx.serve.connection import LookupConnection
from onionmx.serve.connections import Connections
from onionmx.serve.http.connection import MAX_CONNECTIONS, HttpConnection
from onionmx.serve.http.domain_lists import DomainLists
from onionmx.serve.http.domains import DomainPages
from onionmx.serve.http.health import Health
from onionmx.serve.http.pages import ControlPages, Pages
from onionmx.serve.listeners import Protocol
from onionmx.serve.metrics import LookupMetrics
from onionmx.serve.page.gather import StatusSource
from onionmx.serve.page.page import StatusPage
from onionmx.serve.protocols.result import ResultTemplate
from onionmx.serve.protocols.socketmap import SOCKETMAP
from onionmx.serve.protocols.tcp_table import TCP_TABLE


class LookupService:
    """What one daemon serves. Belongs to one event loop.

    Args:
        parts: what it is made of; the service does not close them.
    """

    def __init__(self, parts: Parts) -> None:
        configuration, router = parts.configuration, parts.router
        self.routes = _routes(configuration, router)
        self.metrics = LookupMetrics(router, Path(configuration.map.path))
        tally = self.metrics.tally
        troubles = Troubles()
        self._connections = Connections(configuration.serve.max_connections)
        self._http_connections = Connections(MAX_CONNECTIONS)
        self._table_answers = {
            Protocol.SOCKETMAP: TableAnswers(SOCKETMAP, self.routes, tally(SOCKETMAP.name), troubles),
            Protocol.TCP_TABLE: TableAnswers(TCP_TABLE, self.routes, tally(TCP_TABLE.name), troubles),
        }
        self._readsocket_answers = ReadsocketAnswers(self.routes, tally("readsocket"), troubles)
        self._health = Health(parts, lambda: self._readsocket_answers.has_asked_dnsport)
        self._http = tally("http")
        self._names = configuration.serve.http_names
        self._status = StatusSource(configuration, self._health.parts)
        self._page = StatusPage(self._status, configuration.doctor.map_max_age)
        counts, names = (partial(self._page.respond, with_names=with_names) for with_names in (False, True))
        self._lists = DomainLists()
        made_of = (self.routes, self.metrics, self._health, DomainPages(self.routes, self._lists, self._http))
        self._pages = {
            (Protocol.HTTP, False): Pages(*made_of, counts),
            (Protocol.HTTP, True): Pages(*made_of, names),
            (Protocol.CONTROL, False): ControlPages(*made_of, counts),
            (Protocol.CONTROL, True): ControlPages(*made_of, names),
        }

    def connection(self, protocol: Protocol, *, is_unix: bool = False) -> asyncio.Protocol:
        """The asyncio protocol for a new connection.

        Args:
            is_unix: it came over a unix socket, whose mode has let the client in.
        """
        if (pages := self._pages.get((protocol, is_unix))) is not None:
            respond = pages.respond
            return HttpConnection(respond, self._http, self._http_connections, self._names)
        if protocol is Protocol.READSOCKET:
            return LookupConnection(self._readsocket_answers, self._connections)
        return LookupConnection(self._table_answers[protocol], self._connections)

    def use(self, parts: Parts) -> None:
        """Answer from another configuration from now on; connections stay."""
        configuration, router = parts.configuration, parts.router
        new = _routes(configuration, router)
        self.routes.router.retract()
        for field in fields(new):
            setattr(self.routes, field.name, getattr(new, field.name))
        self.metrics.follow(router, Path(configuration.map.path))
        self._connections.limit = configuration.serve.max_connections
        self._names = configuration.serve.http_names
        self._health.use(parts)
        self._status.use(configuration)
        self._page.max_age = configuration.doctor.map_max_age

    async def close(self) -> None:
        """Take no more requests, answer what is under way, and end all connections."""
        grace = self.routes.timeout
        await asyncio.gather(self._connections.close(grace), self._http_connections.close(grace))
        await self._status.close()
        await self._health.close()
        await self._lists.close()


def _routes(configuration: Configuration, router: Router) -> Routes:
    serve = configuration.serve
    tor = configuration.tor
    return Routes(router, ResultTemplate(serve.result), serve.timeout, parse_socket(tor.dnsport), tor.user)
