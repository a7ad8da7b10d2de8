"""The log of lookups that failed, which nobody who asks for many domains can fill."""

import logging
import time
from collections import OrderedDict

from onionmx.log import fields
from onionmx.text import printable_ascii

_logger = logging.getLogger(__name__)


class Troubles:
    """One line for a domain and minute, and not more than some domains a minute."""

    _INTERVAL = 60.0  # seconds
    _DOMAINS = 100

    def __init__(self) -> None:
        self._reported: OrderedDict[str, float] = OrderedDict()
        self._not_written = 0

    def report(self, domain: str, reason: str) -> None:
        """Write a line, unless there was one for this domain, or too many for others, within the last minute."""
        now = time.monotonic()
        while self._reported and next(iter(self._reported.values())) <= now - self._INTERVAL:
            self._reported.popitem(last=False)
        if domain in self._reported:
            return
        if len(self._reported) >= self._DOMAINS:
            self._not_written += 1
            return
        if self._not_written:
            _logger.warning("%d more lookups failed, of domains not named here", self._not_written)
            self._not_written = 0
        self._reported[domain] = now
        why = printable_ascii(reason)
        _logger.warning("%s: %s", domain, why, extra=fields("lookup_failed", domain=domain, reason=why))
