"""HTTP/1.1 for the daemon (RFC 9112), parsed by h11: small requests, small answers, connections that stay open."""

import asyncio
import logging
import socket
import time
from collections.abc import Awaitable, Callable, Collection
from dataclasses import dataclass
from http import HTTPStatus
from typing import Any

import h11
import msgspec

from onionmx import __version__
from onionmx.serve.connections import Connections, CountedConnection
from onionmx.serve.http.host import is_for_this_machine
from onionmx.serve.http.origin import is_from_another_site
from onionmx.serve.metrics import Tally
from onionmx.text import printable_ascii

_MISDIRECTED = (
    "ask for localhost, an IP address, this machine's name, or one of serve.http_names or relay.metrics_names"
)
_FROM_ANOTHER_SITE = "another web page asks for this, and none may: type the address into the browser"
JSON = "application/json"
PLAIN = "text/plain; charset=utf-8"
MAX_HEADER = 16_384
"""Bytes of a request's head; more is answered by 431."""
MAX_BODY = 65_536
"""Bytes of a request's body, which nobody reads."""
MAX_CONNECTIONS = 100
IDLE = 30.0
"""Seconds for a request to arrive, and between two of them."""
_WITH_HEAD = 65_536  # bytes of a body that is copied behind the head; a longer one is written as it is
_LINGER = 2.0  # seconds for a client to read the last answer before the connection is cut

_logger = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True)
class Request:
    """A question.

    Attributes:
        target: path and query.
        headers: names in lower case, and values.
    """

    method: str
    target: str
    headers: tuple[tuple[str, str], ...] = ()

    @property
    def path(self) -> str:
        """The target without the query."""
        return self.target.partition("?")[0]

    @property
    def query(self) -> str:
        """What follows the question mark."""
        return self.target.partition("?")[2]

    def field(self, name: str) -> str:
        """The value of a header field; several lines are one list (RFC 9110 section 5.3).

        Args:
            name: in lower case.
        """
        return ", ".join(value for written, value in self.headers if written == name)


@dataclass(frozen=True, slots=True)
class Response:
    """An answer.

    Attributes:
        status: of HTTP.
        body: the content.
        content_type: its media type.
        allow: methods to name, for 405.
        cache_control: whether it may be kept.
        headers: further ones, of a page.
    """

    status: HTTPStatus
    body: bytes
    content_type: str = PLAIN
    allow: str = ""
    cache_control: str = "no-store"
    headers: tuple[tuple[str, str], ...] = ()

    @classmethod
    def plain(cls, status: HTTPStatus, text: str, allow: str = "") -> "Response":
        """One line of text."""
        return cls(status, f"{text}\n".encode(), allow=allow)

    @classmethod
    def json(cls, status: HTTPStatus, value: Any, headers: tuple[tuple[str, str], ...] = ()) -> "Response":  # noqa: ANN401 -- anything that JSON can hold
        """Indented JSON."""
        body = msgspec.json.format(msgspec.json.encode(value), indent=2) + b"\n"
        return cls(status, body, JSON, headers=headers)


Respond = Callable[[Request], Awaitable[Response]]
"""Answers a request."""


class HttpConnection(CountedConnection):
    """One connection; its requests are answered one after the other.

    Args:
        tally: counts; `malformed` are requests that are none.
        connections: all of them, shared.
        names: further ones of this machine; see `is_for_this_machine`.
    """

    def __init__(self, respond: Respond, tally: Tally, connections: Connections, names: Collection[str] = ()) -> None:
        super().__init__(tally, connections)
        self._respond = respond
        self._names = names
        self._http = h11.Connection(h11.SERVER, max_incomplete_event_size=MAX_HEADER)
        self._request: h11.Request | None = None
        self._body = 0
        self._task: asyncio.Task[Response] | None = None
        self._start = 0.0
        self._is_full = False
        """The client does not read: its next request waits, or answers without end would be in memory."""

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection is there."""
        super().connection_made(transport)
        self._end_after(IDLE)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        super().connection_lost(exc)
        if self._task is not None:
            self._task.cancel()

    def data_received(self, data: bytes) -> None:
        """asyncio: something has arrived."""
        if not self._is_ending:
            self._http.receive_data(data)
            self._work()

    def eof_received(self) -> bool:
        """asyncio: the client sends no more, but may still read."""
        if self._is_ending and self._task is None:
            self._transport.close()
        elif not self._is_ending:
            self._http.receive_data(b"")
            self._work()
        return True

    def pause_writing(self) -> None:
        """asyncio: too much is waiting for the client to read it."""
        self._is_full = True

    def resume_writing(self) -> None:
        """asyncio: the client has read."""
        self._is_full = False
        if self._task is None and not self._is_ending:
            self._go_on()

    def stop(self) -> None:
        """Take no more requests, answer the one that is under way, and close."""
        self._is_ending = True
        self.client.heard(time.monotonic())
        if self._task is None:
            self._transport.close()

    def _work(self) -> None:
        try:
            while self._may_take and self._take(self._http.next_event()):
                pass
        except h11.RemoteProtocolError as error:
            self._refuse(HTTPStatus(error.error_status_hint), printable_ascii(str(error)))

    @property
    def _may_take(self) -> bool:
        return not self._is_ending and self._task is None and not self._is_full

    def _take(self, event: object) -> bool:
        """Deal with an event; whether there may be more."""
        match event:
            case h11.Request():
                self._request, self._body, self._start = event, 0, time.perf_counter()
            case h11.Data():
                self._body += len(event.data)
                if self._body > MAX_BODY:
                    self._refuse(HTTPStatus.REQUEST_ENTITY_TOO_LARGE, "the request has too much content")
            case h11.EndOfMessage() if self._request is not None and not self._is_for_us(self._request):
                self._refuse(HTTPStatus.MISDIRECTED_REQUEST, _MISDIRECTED)
            case h11.EndOfMessage() if self._request is not None and is_from_another_site(self._request.headers):
                self._refuse(HTTPStatus.FORBIDDEN, _FROM_ANOTHER_SITE)
            case h11.EndOfMessage() if self._request is not None:
                self.client.heard(time.monotonic())
                self._task = asyncio.get_running_loop().create_task(self._answer(_received(self._request)))
                self._task.add_done_callback(self._answered)
                self._transport.pause_reading()
            case h11.ConnectionClosed():
                self.stop()
            case _:  # NEED_DATA, PAUSED
                return False
        return True

    def _is_for_us(self, request: h11.Request) -> bool:
        connection = self._transport.get_extra_info("socket")
        if connection is not None and connection.family == socket.AF_UNIX:
            return True  # no browser gets there
        hosts = [value.decode("latin-1") for name, value in request.headers if name == b"host"]
        return all(is_for_this_machine(host, self._names) for host in hosts)

    async def _answer(self, request: Request) -> Response:
        try:
            return await self._respond(request)
        except Exception:
            _logger.exception("internal error")
            return Response.plain(HTTPStatus.INTERNAL_SERVER_ERROR, "internal error, which the log describes")

    def _answered(self, task: asyncio.Task[Response]) -> None:
        self._task = None
        if task.cancelled() or self._transport.is_closing():
            return
        self._send(task.result())
        self._tally.answered(time.perf_counter() - self._start)
        if self._is_ending or self._http.our_state is not h11.DONE or self._http.their_state is not h11.DONE:
            self.stop()
            return
        self._http.start_next_cycle()
        self._request = None
        self.client.wait(time.monotonic())
        self._end_after(IDLE)
        if not self._is_full:
            self._go_on()

    def _go_on(self) -> None:
        self._transport.resume_reading()
        self._work()

    def _send(self, response: Response) -> None:
        headers = [
            ("Server", f"onionmx/{__version__}"),
            *_content_headers(response),
            ("Cache-Control", response.cache_control),
            ("X-Content-Type-Options", "nosniff"),
            ("Cross-Origin-Resource-Policy", "same-origin"),
            *response.headers,
        ]
        if response.allow:
            headers.append(("Allow", response.allow))
        if self._is_ending:
            headers.append(("Connection", "close"))
        head = h11.Response(status_code=response.status, reason=response.status.phrase, headers=headers)
        has_body = self._request is None or self._request.method != b"HEAD"
        pieces = [self._http.send(head)]
        if has_body:
            pieces.append(self._http.send(h11.Data(data=response.body)))
        pieces.append(self._http.send(h11.EndOfMessage()))
        if len(response.body) <= _WITH_HEAD:
            pieces = [b"".join(piece for piece in pieces if piece)]
        for piece in filter(None, pieces):
            self._transport.write(piece)

    def _refuse(self, status: HTTPStatus, why: str) -> None:
        self._tally.malformed += 1
        self._is_ending = True
        self.client.heard(time.monotonic())
        if self._http.our_state in {h11.IDLE, h11.SEND_RESPONSE}:
            self._send(Response.plain(status, why))
        if self._transport.can_write_eof():
            # Closing with unread input would reset the connection, and the client might never see the answer.
            self._transport.write_eof()
        self._end_after(_LINGER)

    def _time_is_over(self) -> None:
        if self._transport.is_closing():
            self.cut()
        else:
            self.stop()
            self._end_after(_LINGER)


def _received(request: h11.Request) -> Request:
    headers = tuple((name.decode("ascii"), value.decode("latin-1")) for name, value in request.headers)
    return Request(request.method.decode("ascii"), request.target.decode("ascii"), headers)


def _content_headers(response: Response) -> list[tuple[str, str]]:
    if response.status is HTTPStatus.NOT_MODIFIED:
        return []  # they would be those of the body that is not sent (RFC 9110 section 15.4.5)
    return [("Content-Type", response.content_type), ("Content-Length", str(len(response.body)))]
