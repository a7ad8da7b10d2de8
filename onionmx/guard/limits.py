"""How much may come by one circuit: token buckets, each circuit's own. No I/O; the caller has the clock.

A bucket that is used up fills again all the time. One that is overdrawn, by a large message or by clients that go on
trying, is so by one filling at most: a client that stops is let in again after the time of the limit.
"""

from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import Enum, StrEnum


class Limit(StrEnum):
    """What is limited; the values are the label `limit` of the metrics."""

    CONNECTIONS = "connections"
    RECIPIENTS = "refused_recipients"
    BYTES = "bytes"
    ERRORS = "errors"


@dataclass(frozen=True, slots=True)
class Rate:
    """A limit.

    Attributes:
        number: tokens of a full bucket; 0 for no limit.
        seconds: in which an empty bucket is full again.
    """

    number: float
    seconds: float


Limits = Mapping[Limit, Rate]
"""All limits of a circuit."""


class Event(Enum):
    """What comes by a circuit."""

    CONNECTION = "a connection begins"
    RECIPIENT = "a recipient is asked for, and refused unless ACCEPTED follows"
    ACCEPTED = "the MTA accepts a recipient that was asked for"
    MESSAGE = "a message has arrived"
    ERROR = "a session ends by an error"


_COSTS = {
    Event.CONNECTION: (Limit.CONNECTIONS, 1),
    Event.RECIPIENT: (Limit.RECIPIENTS, 1),
    Event.ACCEPTED: (Limit.RECIPIENTS, -1),
    Event.MESSAGE: (Limit.BYTES, 1),
    Event.ERROR: (Limit.ERRORS, 1),
}
_MAY_BE_REFUSED = frozenset({Event.CONNECTION, Event.RECIPIENT})
"""A message that has arrived is taken: to refuse it would make its sender send it again."""


@dataclass(slots=True)
class Bucket:
    """Tokens of one limit.

    Attributes:
        used: tokens that are missing; above the number of the rate it is overdrawn.
        time: when that was so, in seconds of the caller's clock.
    """

    used: float = 0.0
    time: float = 0.0

    def take(self, number: float, rate: Rate, now: float) -> None:
        """Take tokens out, or put some back.

        Args:
            number: of tokens; negative to put back.
        """
        if not rate.number:
            return
        filled = max(0.0, now - self.time) * rate.number / rate.seconds
        self.used = min(max(0.0, max(0.0, self.used - filled) + number), 2 * rate.number)
        self.time = max(self.time, now)

    def is_overdrawn(self, rate: Rate) -> bool:
        """Whether more was taken than there was."""
        return bool(rate.number) and self.used > rate.number


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be done.

    Attributes:
        limit: the one that is exceeded; the client is refused. `None` to let it pass.
        is_first: whether the circuit was within its limits until now.
        closes: whether the circuit is to be closed.
    """

    limit: Limit | None = None
    is_first: bool = False
    closes: bool = False


_PASSES = Verdict()


@dataclass(slots=True)
class _Circuit:
    last: float
    refusals: int = 0
    is_over: bool = False
    buckets: dict[Limit, Bucket] = field(default_factory=dict)


class Circuits:
    """The circuits by which something has come, as many as are remembered.

    Args:
        limits: of each circuit.
        close_after: refusals after which a circuit is closed.
        capacity: circuits that are remembered; the one that was silent longest gives way.

    Attributes:
        limits: as given; may be replaced.
        close_after: the same.
        capacity: the same.
    """

    def __init__(self, limits: Limits, close_after: int, capacity: int) -> None:
        self.limits = limits
        self.close_after = close_after
        self.capacity = capacity
        self._circuits: OrderedDict[int, _Circuit] = OrderedDict()

    def __len__(self) -> int:
        """Circuits that are remembered."""
        return len(self._circuits)

    def judge(self, number: int, event: Event, size: float, now: float) -> Verdict:
        """Count an event, and judge it.

        Args:
            number: of the circuit.
            size: bytes of a message; 1 for everything else.
            now: seconds of a clock that never goes back.
        """
        circuit = self._circuit(number, now)
        limit, cost = _COSTS[event]
        circuit.buckets.setdefault(limit, Bucket(time=now)).take(cost * size, self.limits[limit], now)
        if event not in _MAY_BE_REFUSED:
            return _PASSES
        exceeded = self._exceeded(circuit, now)
        if exceeded is None:
            circuit.is_over, circuit.refusals = False, 0
            return _PASSES
        is_first, circuit.is_over = not circuit.is_over, True
        circuit.refusals += 1
        closes = circuit.refusals >= self.close_after
        if closes:
            circuit.refusals = 0
        return Verdict(exceeded, is_first, closes)

    def forget(self, number: int) -> None:
        """Forget a circuit that is gone: after a restart tor may give its number to another."""
        self._circuits.pop(number, None)

    def _circuit(self, number: int, now: float) -> _Circuit:
        circuit = self._circuits.setdefault(number, _Circuit(now))
        circuit.last = now
        self._circuits.move_to_end(number)
        silence = max(rate.seconds for rate in self.limits.values())
        while len(self._circuits) > 1:
            oldest = next(iter(self._circuits.values()))
            # After so long an overdrawn bucket is full again, and there is nothing to remember.
            if len(self._circuits) <= self.capacity and now - oldest.last <= 2 * silence:
                break
            self._circuits.popitem(last=False)
        return circuit

    def _exceeded(self, circuit: _Circuit, now: float) -> Limit | None:
        for limit, bucket in circuit.buckets.items():
            rate = self.limits[limit]
            bucket.take(0, rate, now)
            if bucket.is_overdrawn(rate):
                return limit
        return None
