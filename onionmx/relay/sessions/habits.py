"""What is remembered of onion MXes, so that the next session with them takes fewer round trips and no second try."""

import asyncio
import logging
import time
from collections.abc import Callable
from pathlib import Path

import msgspec

from onionmx.clock import Timestamp
from onionmx.onion import Endpoint
from onionmx.relay.sessions.announced import LASTING, Announced, read_announced, write_announced
from onionmx.relay.sessions.recent import Recent
from onionmx.saved import SavedError
from onionmx.smtp.client.states import Chunks, Early, TlsPolicy
from onionmx.smtp.extensions import Extensions
from onionmx.smtp.faults import Obstacle, OpeningError

UNABLE = 3600.0
"""Seconds after which an onion MX is tried again in a way in which it failed: its software changes."""

_logger = logging.getLogger(__name__)


class Habits:
    """How to open the next session with each onion MX.

    Args:
        tls: what the operator wants.
        is_early: whether a transaction may be sent on the strength of what is remembered.
    """

    def __init__(self, tls: TlsPolicy, *, is_early: bool = True, now: Callable[[], Timestamp] = time.time) -> None:
        self._tls = tls
        self._is_early = is_early
        self._now = now
        self._announced: Recent[Endpoint, Announced] = Recent()
        self._changed: set[Endpoint] = set()  # since it was written
        self._unable: Recent[tuple[Endpoint, Obstacle], float] = Recent()
        self._file: Path | None = None

    def keep_in(self, file: Path) -> None:
        """Take over what is in a file, and write there what is found out, with `save`.

        A file that cannot be read is a warning in the log, and no more.
        """
        self._file = file
        try:
            for endpoint, announced in read_announced(file, self._now()).items():
                self._announced.setdefault(endpoint, announced)
        except SavedError as error:
            _logger.warning("%s; what onion MXes announce is found out anew", error)

    async def save(self) -> None:
        """Write what has changed; where that fails, a warning in the log, and another try the next time."""
        if self._file is None or not self._changed:
            return
        changed, self._changed = self._changed, set()
        try:
            known = {endpoint: self._announced.get(endpoint) for endpoint in changed}
            await asyncio.to_thread(write_announced, self._file, known, self._now())
        except SavedError as error:
            self._changed |= changed
            _logger.warning("%s", error)
        except Exception:
            _logger.exception("internal error")

    def inherit(self, former: "Habits") -> None:
        """Take over what another one has learnt, as when the configuration is read again."""
        self._announced, self._unable = former._announced, former._unable  # noqa: SLF001 -- of the same class
        self._changed |= former._changed  # noqa: SLF001

    def remembered(self, endpoint: Endpoint) -> Extensions | None:
        """What an onion MX announced that was seen to swallow a refused BDAT; `None` where that is not known."""
        known = self._known(endpoint)
        return known.extensions if known is not None else None

    def chunks(self, endpoint: Endpoint) -> Chunks:
        """Whether to use BDAT there; it is not asked where it announces what is remembered."""
        return Chunks.AVOID if self._is_unable(endpoint, Obstacle.CHUNKS) else Chunks.ASK

    def tls(self, endpoint: Endpoint) -> TlsPolicy:
        """When to start TLS there, where no certificate is demanded."""
        if self._tls is TlsPolicy.OPPORTUNISTIC and self._is_unable(endpoint, Obstacle.TLS):
            return TlsPolicy.NEVER
        return self._tls

    def early(self, endpoint: Endpoint) -> Early:
        """What may be sent there before it has said anything, where no certificate is demanded."""
        known = self._known(endpoint)
        if not self._is_early or known is None or not known.extensions.one_flight:
            return Early.NOTHING
        if self._tls is not TlsPolicy.NEVER or self._is_unable(endpoint, Obstacle.CHUNKS):
            return Early.NOTHING
        if known.refuses_early:
            return Early.NOTHING
        return Early.AT_ONCE if known.extensions.pipe_connect else Early.AFTER_GREETING

    def opened(self, endpoint: Endpoint, extensions: Extensions) -> None:
        """A session has come about; where its peer offers CHUNKING, it was seen to swallow a refused BDAT."""
        if not extensions.chunking:
            self.forget(endpoint)
            return
        extensions, known = extensions.without_starttls(), self._known(endpoint)
        until = self._now() + LASTING
        # That it refuses early sessions is found out anew each week; all else is written once a day.
        is_same = known is not None and known.extensions == extensions
        if known is not None and is_same and (known.refuses_early or until - known.until < LASTING / 7):
            return
        self._put(endpoint, Announced(*endpoint, extensions, until))

    def refused_early(self, endpoint: Endpoint) -> None:
        """What was sent early did not lead to a session: nothing is, until this is forgotten."""
        known = self._announced.get(endpoint)
        if known is not None:
            self._put(endpoint, msgspec.structs.replace(known, refuses_early=True))

    def forget(self, endpoint: Endpoint) -> None:
        """What was announced is not so any more."""
        if self._announced.pop(endpoint, None) is not None:
            self._changed.add(endpoint)

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
            self._unable[endpoint, error.obstacle] = self._now() + UNABLE
        return may_do_without

    def broken(self, endpoint: Endpoint) -> None:
        """A session came out of step: nothing of a message may follow commands there before they are answered."""
        self.forget(endpoint)
        self._unable[endpoint, Obstacle.CHUNKS] = self._now() + UNABLE

    def _known(self, endpoint: Endpoint) -> Announced | None:
        known = self._announced.get(endpoint)
        return known if known is not None and self._now() < known.until else None

    def _put(self, endpoint: Endpoint, announced: Announced) -> None:
        self._announced[endpoint] = announced
        self._changed.add(endpoint)

    def _is_unable(self, endpoint: Endpoint, obstacle: Obstacle) -> bool:
        until = self._unable.get((endpoint, obstacle))
        if until is not None and until <= self._now():
            del self._unable[endpoint, obstacle]
            return False
        return until is not None
