"""From a request to its answer: circuits are counted, everything else passes. No I/O; the caller has the clock."""

import logging
from collections.abc import Callable

from onionmx.config import GuardSection
from onionmx.defaults import HOUR, MINUTE
from onionmx.guard.limits import Circuits, Limit, Limits, Rate
from onionmx.guard.metrics import GuardMetrics
from onionmx.guard.policy import PolicyRequest, write_action
from onionmx.log import fields
from onionmx.serve.protocols.codec import ProtocolFault
from onionmx.smtp.reply import OurReply
from onionmx.tor.client_circuit import circuit_of

PASS = write_action("DUNNO")
"""The MTA goes on as if nobody had been asked; never `OK`, which would grant something (access(5))."""

_logger = logging.getLogger(__name__)


def limits_of(settings: GuardSection) -> Limits:
    """The limits that the configuration has."""
    return {
        Limit.CONNECTIONS: Rate(settings.connections_per_minute, MINUTE),
        Limit.RECIPIENTS: Rate(settings.refused_recipients_per_minute, MINUTE),
        Limit.BYTES: Rate(settings.bytes_per_hour, HOUR),
        Limit.ERRORS: Rate(settings.errors_per_minute, MINUTE),
    }


def circuits_of(settings: GuardSection) -> Circuits:
    """Circuits with the limits that the configuration has; none has been seen yet."""
    return Circuits(limits_of(settings), settings.close_after, settings.max_circuits)


class Guard:
    """Answers requests.

    Args:
        circuits: counts for each.
        metrics: counts.
        close: has a circuit closed; returns at once.
    """

    def __init__(self, circuits: Circuits, metrics: GuardMetrics, close: Callable[[int], None]) -> None:
        self._circuits = circuits
        self._metrics = metrics
        self._close = close

    def use(self, settings: GuardSection) -> None:
        """Judge by other limits from now on; what was counted stays."""
        self._circuits.limits = limits_of(settings)
        self._circuits.close_after = settings.close_after
        self._circuits.capacity = settings.max_circuits

    def answer(self, request: PolicyRequest | ProtocolFault, now: float) -> bytes:
        """The answer to a request; a fault of whatever kind refuses nothing.

        Args:
            now: seconds of a clock that never goes back.
        """
        try:
            return self._answer(request, now)
        except Exception:
            _logger.exception("internal error")
            self._metrics.faults += 1
            return PASS

    def _answer(self, request: PolicyRequest | ProtocolFault, now: float) -> bytes:
        if isinstance(request, ProtocolFault):
            self._metrics.malformed += 1
            return PASS
        circuit = circuit_of(request.client)
        if circuit is None or request.event is None:
            self._metrics.others += 1
            return PASS
        verdict = self._circuits.judge(circuit, request.event, request.size, now)
        if verdict.limit is None:
            self._metrics.passed += 1
            return PASS
        self._metrics.refused[verdict.limit] += 1
        if verdict.is_first:
            extra = fields("circuit_refused", circuit=circuit, limit=verdict.limit.value)
            _logger.warning("circuit %d is over its limit of %s, and is refused", circuit, verdict.limit, extra=extra)
        if verdict.closes:
            self._close(circuit)
        return write_action(str(OurReply.CIRCUIT_LIMIT.value.with_text(_TEXTS[verdict.limit])))


_TEXTS = {
    Limit.CONNECTIONS: "too many connections over this circuit, try again later",
    Limit.RECIPIENTS: "too many refused recipients over this circuit, try again later",
    Limit.BYTES: "too many bytes over this circuit, try again later",
    Limit.ERRORS: "too many errors over this circuit, try again later",
}
