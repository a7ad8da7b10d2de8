"""Whether tor itself answers: one line in the log and one metric when that changes, not one for each message."""

import logging
import time
from collections.abc import Callable

from onionmx.errors import OnionmxError
from onionmx.log import fields
from onionmx.relay import metrics
from onionmx.tor.socks import WITHOUT_TOR, SocksError

_logger = logging.getLogger("onionmx.mail")


class TorState:
    """What the last connections through tor's SOCKS port have shown.

    Args:
        now: seconds of a clock that never goes back.
    """

    def __init__(self, now: Callable[[], float] = time.monotonic) -> None:
        self._now = now
        self._silent_since: float | None = None
        self._failed = 0
        metrics.tor_answers.set(1)

    def answered(self) -> None:
        """Tor has opened a connection, or said what is wrong with an onion."""
        if self._silent_since is None:
            return
        seconds = self._now() - self._silent_since
        _logger.info(
            "tor answers again, after %.0f s and %d connections that failed",
            seconds,
            self._failed,
            extra=fields("tor_answers"),
        )
        self._silent_since = None
        metrics.tor_answers.set(1)

    def failed(self, error: SocksError) -> None:
        """Take why there is no connection."""
        if error.cause not in WITHOUT_TOR:
            self.answered()
            return
        self._failed += 1
        if self._silent_since is not None:
            return
        self._silent_since = self._now()
        self._failed = 1
        _logger.error(
            "no mail can leave: %s; it waits with the MTA. %s",
            error.words,
            error.cause.advice,
            extra=fields("tor_silent", reason=error.words),
        )
        metrics.tor_answers.set(0)


def is_of_tor(error: OnionmxError) -> bool:
    """Whether it is tor itself that fails, by which nothing is known of any onion MX."""
    return isinstance(error, SocksError) and error.cause in WITHOUT_TOR
