"""The core, the stream and the clock joined: reading, writing, waiting, and limits for the peer's silence."""

import asyncio
import logging
import ssl
from collections.abc import Callable

from onionmx.net.stream import Stream
from onionmx.net.tls import unverified_context
from onionmx.smtp.client.core import ClientConnection
from onionmx.smtp.client.events import Answered, Closed, Ended, Fault, Ready, Refused
from onionmx.smtp.client.outcome import Outcome
from onionmx.smtp.client.pipeline import Stage
from onionmx.smtp.client.states import State
from onionmx.smtp.client.timeouts import Timeouts
from onionmx.smtp.client.transaction import ClientTransaction
from onionmx.smtp.client.writing import Writer
from onionmx.smtp.faults import Obstacle, OpeningError, StreamError, UnreachedError

_log = logging.getLogger(__name__)


class Driver:
    """Drives a core over a stream; a task reads as long as the session lives.

    Call `dispatch` right after each call of the core.

    Attributes:
        core: the session without I/O.
        refused: the event that said so, if the peer refused the session.
        closed: the event that said so, once the session is over.
        on_broken: called if the session comes out of step.
        was_accepted: whether a RCPT got 2xx, so that TLS is not demanded.
        was_ready: whether the session came about.

    Args:
        core: before its greeting.
        stream: connected.
        timeouts: how long the peer may be silent.
        tls_context: what to start TLS with; `None` checks no certificate.
    """

    def __init__(
        self, core: ClientConnection, stream: Stream, timeouts: Timeouts, tls_context: ssl.SSLContext | None
    ) -> None:
        self.core = core
        self.refused: Refused | None = None
        self.closed: Closed | None = None
        self.on_broken: Callable[[], None] = lambda: None
        self.was_accepted = False
        self.was_ready = False
        self._stream = stream
        self._timeouts = timeouts
        self._tls_context = tls_context
        self._writer = Writer(stream, self._progressed, self.lose)
        self._outcomes: dict[ClientTransaction, asyncio.Future[Outcome]] = {}
        self._watchers: list[asyncio.Future[None]] = []
        self._progress: tuple[int, int] | None = None
        self._patience_ends: float | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._loop = asyncio.get_running_loop()
        self._reader = self._loop.create_task(self._read(), name="smtp session reader")
        self._renew_patience()

    @property
    def backlog(self) -> int:
        """Bytes that the connection has not taken yet."""
        return self._writer.backlog

    def dispatch(self) -> None:
        """Act on what happened in the core, send what it has to send, and wake who waits."""
        for event in self.core.events():
            match event:
                case Answered(stage=Stage.RCPT, reply=reply):
                    self.was_accepted = self.was_accepted or reply.is_positive
                case Ended(transaction, outcome):
                    waiter = self._outcomes.get(transaction)
                    if waiter is not None and not waiter.done():  # who waited for it may have been cancelled
                        waiter.set_result(outcome)
                case Ready():
                    self.was_ready = True
                case Refused():
                    self.refused = event
                case Closed():
                    self._take_closed(event)
                case _:
                    pass
        self._writer.send(self.core.data_to_send())
        self._progressed()

    def why_not_open(self) -> OpeningError:
        """Why no session came about, once that is so."""
        if self.refused:
            return OpeningError(self.refused.cause, self.refused.reply, self.refused.own)
        cause, reply = (self.closed.cause, self.closed.reply) if self.closed else ("no session", None)
        at = self.core.ended_in
        is_tls = self.core.is_encrypted or at in {State.STARTTLS, State.HANDSHAKE}
        obstacle = Obstacle.CHUNKS if at is State.ASKING else Obstacle.TLS if is_tls else Obstacle.OTHER
        return OpeningError(cause, reply, obstacle=obstacle)

    async def until(self, condition: Callable[[], bool]) -> None:
        """Wait until the condition holds, or the session is over."""
        while not self.closed and not condition():
            watcher = self._loop.create_future()
            self._watchers.append(watcher)
            await watcher

    def expect_outcome(self, transaction: ClientTransaction) -> None:
        """Keep the outcome of this transaction for `outcome`, until `forget`."""
        self._outcomes[transaction] = self._loop.create_future()

    async def outcome(self, transaction: ClientTransaction) -> Outcome:
        """Wait for the outcome of a transaction."""
        return await self._outcomes[transaction]

    def forget(self, transaction: ClientTransaction) -> None:
        """Nobody will ask for this outcome any more."""
        del self._outcomes[transaction]

    def lose(self, cause: str) -> None:
        """End the connection at once; what is in flight ends as lost."""
        self.measure()
        self.core.receive_eof(cause)
        self.dispatch()

    def measure(self) -> None:
        """Tell the core how much of its output has not left yet."""
        self.core.set_unwritten(self._writer.backlog + self._stream.unsent)

    async def wait_closed(self) -> None:
        """Wait until nothing of the session is left."""
        await self._stream.wait_closed()
        if self._reader is not asyncio.current_task():
            await asyncio.wait([self._reader])

    async def _read(self) -> None:
        try:
            while not self.closed:
                data = await self._stream.read()
                if data:
                    self.measure()
                    self.core.receive_data(data)
                else:
                    self.core.receive_eof()
                self.dispatch()
                if self.core.state is State.HANDSHAKE:
                    await self._shake_hands()
        except UnreachedError as error:
            self.core.receive_unreached(str(error))
            self.dispatch()
        except StreamError as error:
            self.lose(str(error))
        except Exception:  # noqa: BLE001 -- a bug of ours must not leave those who wait without an answer
            _log.exception("the SMTP session ends because of an internal error")
            self.lose("internal error")

    async def _shake_hands(self) -> None:
        try:
            async with asyncio.timeout(self._timeouts.greeting):
                await self._stream.start_tls(self._tls_context or unverified_context())
        except TimeoutError:
            self.lose("the TLS handshake takes too long")
            return
        if not self.closed:
            self.core.tls_started()
            self.dispatch()

    def _take_closed(self, event: Closed) -> None:
        self.closed = event
        if event.fault is not Fault.NONE:
            self.on_broken()
        self._writer.stop()
        self._stream.abort()

    def _progressed(self) -> None:
        self.measure()
        self._renew_patience()
        watchers, self._watchers = self._watchers, []
        for watcher in watchers:
            if not watcher.done():
                watcher.set_result(None)

    def _renew_patience(self) -> None:
        """Give the peer its time from now on, if it answered or took bytes since the last time."""
        stage, busy = self.core.awaiting, bool(self._writer.backlog)
        if self.closed or (stage is None and not busy):
            self._patience_ends = self._progress = None
            if self.closed and self._timer:
                self._timer.cancel()
            return
        progress = (self.core.replies, self._writer.written)
        if progress == self._progress:
            return
        self._progress = progress
        limit = self._timeouts.block if busy or stage is None else self._timeouts.for_stage(stage)
        self._patience_ends = self._loop.time() + limit
        # Setting a timer for each reply would cost more than the reply, so one is only moved when it would be late.
        if self._timer is None or self._timer.when() > self._patience_ends:
            self._set_timer(self._patience_ends)

    def _set_timer(self, when: float) -> None:
        if self._timer:
            self._timer.cancel()
        self._timer = self._loop.call_at(when, self._check_patience)

    def _check_patience(self) -> None:
        self._timer = None
        if self._patience_ends is None:
            return
        if self._loop.time() < self._patience_ends:
            self._set_timer(self._patience_ends)
            return
        stage = self.core.awaiting
        if stage is None or self._writer.backlog:
            self.lose("the peer takes no more of the message")
        else:
            self.lose(f"no reply to {stage.value} in time")
