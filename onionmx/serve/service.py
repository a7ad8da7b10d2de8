"""Everything behind the daemon's sockets, wired: protocol -> connection -> answers -> router."""

import asyncio
from dataclasses import fields
from pathlib import Path

from onionmx.config import Configuration, parse_socket
from onionmx.parts import Parts
from onionmx.routing.router import Router
from onionmx.routing.troubles import Troubles
from onionmx.serve.answers import ReadsocketAnswers, Routes, TableAnswers
from onionmx.serve.connection import LookupConnection
from onionmx.serve.connections import Connections
from onionmx.serve.http.connection import MAX_CONNECTIONS, HttpConnection
from onionmx.serve.http.health import Health
from onionmx.serve.http.pages import ControlPages, Pages
from onionmx.serve.listeners import Protocol
from onionmx.serve.metrics import LookupMetrics
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
        self._pages = {
            Protocol.HTTP: Pages(self.routes, self.metrics, self._health, self._http),
            Protocol.CONTROL: ControlPages(self.routes, self.metrics, self._health, self._http),
        }

    def connection(self, protocol: Protocol) -> asyncio.Protocol:
        """The asyncio protocol for a new connection."""
        if protocol in self._pages:
            respond = self._pages[protocol].respond
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

    async def close(self) -> None:
        """Take no more requests, answer what is under way, and end all connections."""
        grace = self.routes.timeout
        await asyncio.gather(self._connections.close(grace), self._http_connections.close(grace))
        await self._health.close()


def _routes(configuration: Configuration, router: Router) -> Routes:
    serve = configuration.serve
    tor = configuration.tor
    return Routes(router, ResultTemplate(serve.result), serve.timeout, parse_socket(tor.dnsport), tor.user)
