"""Connections of MTAs: each served on its own, its answers in the order of its requests.

What the router knows is answered in the same turn of the loop, all answers of one packet in one write. What has to be
asked waits in a queue of the connection; when the queue is full, or the client does not read, nothing more is read.
"""

import asyncio
import logging
import time
from collections import deque
from functools import partial
from typing import Generic, cast

from onionmx.serve.answers import Answers
from onionmx.serve.connections import Connections, CountedConnection
from onionmx.serve.protocols.codec import SHORT, ProtocolFault, Request

QUEUE = 128
"""Requests of one connection that are under way at the same time, and answers that leave in one write."""
_LINGER = 2.0  # seconds for a client to read the last answer before the connection is cut

_logger = logging.getLogger(__name__)


class LookupConnection(CountedConnection, Generic[Request]):
    """One connection."""

    def __init__(self, answers: Answers[Request], connections: Connections) -> None:
        super().__init__(answers.tally, connections)
        self._answers = answers
        self._parser = answers.language.parser()
        self._sole_domain = answers.language.sole_domain
        self._pending: deque[bytes | asyncio.Future[bytes]] = deque()
        self._is_reading = True
        self._may_write = True
        self._is_complete = False
        """The client sends no more."""
        self._lingers = False
        self._one_exchange = answers.language.one_exchange
        self._is_answered = False

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """asyncio: the connection is there."""
        super().connection_made(transport)
        if self._one_exchange:
            self._end_after(self._answers.timeout)

    def connection_lost(self, exc: Exception | None) -> None:
        """asyncio: the connection is gone."""
        super().connection_lost(exc)
        for answer in self._pending:
            if isinstance(answer, asyncio.Future):
                answer.cancel()
        self._pending.clear()

    def data_received(self, data: bytes) -> None:
        """asyncio: something has arrived."""
        if self._is_ending:
            return
        if self._parser.is_empty and not self._pending and self._may_write and len(data) <= SHORT:
            # The usual case, at a third of the price: one whole request about a domain whose answer is valid.
            now = time.monotonic()
            reply = self._answers.again(self._sole_domain(data), now)
            if reply is not None:
                self._transport.write(reply)
                self.client.heard(now)
                self.client.wait(now)
                self._tally.answered(time.monotonic() - now)
                return
        self._parser.feed(data)
        self._work()

    def eof_received(self) -> bool:
        """asyncio: the client sends no more, but may still read."""
        self._is_complete = True
        self._lingers = False
        self._work()
        return True

    def pause_writing(self) -> None:
        """asyncio: the client does not read."""
        self._may_write = False

    def resume_writing(self) -> None:
        """asyncio: the client reads again."""
        self._may_write = True
        self._work()

    def stop(self) -> None:
        """Take no more requests, answer those that are under way, and close."""
        self._is_ending = True
        self._note_wait()
        self._close_when_answered()

    def _work(self) -> None:
        """Answer what has arrived, as far as the queue and the client allow."""
        while self._may_write and self._answer_some():
            pass
        self._note_wait()
        if self._pending or self._is_ending or not (self._may_write and self._is_reading):
            self._read_on()
            self._close_when_answered()

    def _note_wait(self) -> None:
        """Note whether the client has the next word; half a request is none."""
        if self._pending or self._is_ending:
            self.client.heard(time.monotonic())
        elif self.client.waits_since is None:
            self.client.wait(time.monotonic())

    def _answer_some(self) -> bool:
        """Answer a piece of what has arrived; whether there is more for which there is room."""
        start = time.monotonic()
        parser, pending = self._parser, self._pending
        number = 0
        replies: list[bytes] = []
        is_drained = False
        while not (is_drained or self._is_ending) and number < QUEUE and len(pending) < QUEUE:
            request = parser.next_request()
            if request is None:
                is_drained = True
                request = self._last_request()
                if request is None:
                    break
            self.client.heard(start)
            reply = self._reply(request, start)
            if reply is None:
                pending.append(self._begin(cast("Request", request), start))
            elif pending:
                pending.append(reply)
                number += 1
            else:
                replies.append(reply)
                number += 1
            is_drained = parser.is_empty and not self._is_complete
        if replies:
            self._transport.write(b"".join(replies))
        if number:
            self._tally.answered(time.monotonic() - start, number)
            self._is_answered = True
        if self._one_exchange and self._is_answered and is_drained and not pending:
            self._is_ending = True
        return not (is_drained or self._is_ending) and len(pending) < QUEUE

    def _last_request(self) -> Request | ProtocolFault | None:
        """What is left when the client has sent everything."""
        if not self._is_complete:
            return None
        self._is_ending = True
        return self._parser.end()

    def _reply(self, request: Request | ProtocolFault, now: float) -> bytes | None:
        """The reply where it needs no waiting."""
        try:
            if not isinstance(request, ProtocolFault):
                return self._answers.at_once(request, now)
        except Exception:
            _logger.exception("internal error")
            return self._answers.internal_error()
        if request.is_fatal:
            self._is_ending = self._lingers = True
        return self._answers.malformed(request.reason)

    def _begin(self, request: Request, start: float) -> asyncio.Future[bytes]:
        reply = self._answers.later(request)
        reply.add_done_callback(partial(self._answered, start))
        return reply

    def _answered(self, start: float, _reply: asyncio.Future[bytes]) -> None:
        if self._transport.is_closing():
            return
        self._tally.answered(time.monotonic() - start)
        replies = []
        while self._pending:
            first = self._pending[0]
            if isinstance(first, asyncio.Future):
                if not first.done():
                    break
                first = self._answers.internal_error() if first.cancelled() else first.result()
            replies.append(first)
            self._pending.popleft()
        if replies:
            self._is_answered = True
            self._transport.write(b"".join(replies))
            self._work()

    def _read_on(self) -> None:
        wanted = self._lingers or (self._may_write and len(self._pending) < QUEUE)
        if wanted != self._is_reading and not self._is_complete and not self._transport.is_closing():
            self._is_reading = wanted
            (self._transport.resume_reading if wanted else self._transport.pause_reading)()

    def _close_when_answered(self) -> None:
        if not self._is_ending or self._pending or self._transport.is_closing():
            return
        if self._lingers:
            # Closing with unread input would reset the connection, and the client might never see the last answer.
            self._transport.write_eof()
            self._end_after(_LINGER)
        else:
            self._transport.close()
            if self._transport.get_write_buffer_size():
                self._end_after(_LINGER)

    def _time_is_over(self) -> None:
        self._lingers = False
        if self._transport.is_closing():
            self.cut()
        else:
            self.stop()
