"""What is remembered of onion MXes so that the next session with them needs no second try."""

import time
from collections.abc import Callable

from onionmx.onion import Endpoint
from onionmx.relay.sessions.recent import Recent
from onionmx.smtp.client.states import Chunks, TlsPolicy
from onionmx.smtp.faults import Obstacle, OpeningError

LASTING = 3600.0  # seconds after which an onion MX is asked again what it can do: its software changes


class Habits:
    """How to open the next session with each onion MX.

    Args:
        tls: what the operator wants.
        now: seconds of a clock that never goes back.
    """

    def __init__(self, tls: TlsPolicy, now: Callable[[], float] = time.monotonic) -> None:
        self._tls = tls
        self._now = now
        self._swallows: Recent[Endpoint, float] = Recent()
        self._unable: Recent[tuple[Endpoint, Obstacle], float] = Recent()

    def chunks(self, endpoint: Endpoint) -> Chunks:
        """Whether to use BDAT there."""
        if self._is_unable(endpoint, Obstacle.CHUNKS):
            return Chunks.AVOID
        return Chunks.USE if self._does_swallow(endpoint) else Chunks.ASK

    def tls(self, endpoint: Endpoint) -> TlsPolicy:
        """When to start TLS there, where no certificate is demanded."""
        if self._tls is TlsPolicy.OPPORTUNISTIC and self._is_unable(endpoint, Obstacle.TLS):
            return TlsPolicy.NEVER
        return self._tls

    def opened(self, endpoint: Endpoint, *, chunking: bool) -> None:
        """A session has come about; with `chunking` its peer was seen to swallow a refused BDAT, now or lately."""
        if chunking and not self._does_swallow(endpoint):
            self._swallows[endpoint] = self._now() + LASTING

    def failed(self, endpoint: Endpoint, error: OpeningError, *, tls: TlsPolicy) -> bool:
        """No session came about.

        Args:
            endpoint: onion and port.
            error: why.
            tls: when TLS was to be started.

        Returns:
            Whether the next one is opened in another way, so that it may succeed.
        """
        may_do_without = error.obstacle is Obstacle.CHUNKS or (
            error.obstacle is Obstacle.TLS and tls is TlsPolicy.OPPORTUNISTIC
        )
        if may_do_without:
            self._unable[endpoint, error.obstacle] = self._now() + LASTING
        return may_do_without

    def broken(self, endpoint: Endpoint) -> None:
        """A session came out of step: nothing of a message may follow commands there before they are answered."""
        self._swallows.pop(endpoint, None)
        self._unable[endpoint, Obstacle.CHUNKS] = self._now() + LASTING

    def _does_swallow(self, endpoint: Endpoint) -> bool:
        until = self._swallows.get(endpoint)
        return until is not None and self._now() < until

    def _is_unable(self, endpoint: Endpoint, obstacle: Obstacle) -> bool:
        until = self._unable.get((endpoint, obstacle))
        if until is not None and until <= self._now():
            del self._unable[endpoint, obstacle]
            return False
        return until is not None
