"""Connections of MTAs to the guard: every request is answered in the turn of the loop in which it has arrived."""

import time

from onionmx.guard.judge import Guard
from onionmx.guard.metrics import GuardMetrics
from onionmx.guard.policy import PolicyParser
from onionmx.serve.connections import Connections, CountedConnection
from onionmx.serve.protocols.codec import ProtocolFault

_LINGER = 2.0  # seconds for a client to read the last answers before the connection is cut


class PolicyConnection(CountedConnection):
    """One connection.

    Args:
        guard: answers.
        metrics: counts.
        connections: all of them, shared.
    """

    def __init__(self, guard: Guard, metrics: GuardMetrics, connections: Connections) -> None:
        super().__init__(metrics.tally, connections)
        self._guard = guard
        self._parser = PolicyParser()

    def data_received(self, data: bytes) -> None:
        """asyncio: something has arrived."""
        if self._is_ending:
            return
        now = time.monotonic()
        self.client.heard(now)
        self._parser.feed(data)
        answers = []
        while (request := self._parser.next_request()) is not None:
            answers.append(self._guard.answer(request, now))
            if isinstance(request, ProtocolFault) and request.is_fatal:
                self._is_ending = True
                break
        if answers:
            self._transport.write(b"".join(answers))
        self.client.wait(now)
        if self._is_ending:
            self._close()

    def eof_received(self) -> bool:
        """asyncio: the client sends no more; Exim says so behind its request, and reads to the end."""
        self.stop()
        return True

    def pause_writing(self) -> None:
        """asyncio: the client does not read."""
        if not self._transport.is_closing():
            self._transport.pause_reading()

    def resume_writing(self) -> None:
        """asyncio: the client reads again."""
        if not self._transport.is_closing():
            self._transport.resume_reading()

    def stop(self) -> None:
        """Take no more requests, and close; nothing is ever under way."""
        self._is_ending = True
        self._close()

    def _close(self) -> None:
        if not self._transport.is_closing():
            self._transport.close()
            self._end_after(_LINGER)

    def _time_is_over(self) -> None:
        self.cut()
