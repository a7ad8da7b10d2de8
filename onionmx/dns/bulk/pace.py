"""How many questions a resolver may be asked now, and whether it still answers; no I/O, and the time is passed in."""

from dataclasses import dataclass

_FIRST_WINDOW = 100  # questions
_MOST_UNHEARD = 100  # questions without a reply in between; a socket of Linux holds some 250, and loses what is more
_UNHEARD = 0.02  # seconds after which they have been read, even where nobody answers them
_SMALLEST_WINDOW = 8
_CAREFUL = 8  # windows until it is twice as large, about, once it was too large; before that, one
_GATHERED = 0.5  # of a window, which lies ready whenever we look: it is we who are slow, and more would be of no use
_TOO_MANY_LOST = 0.25  # of a window; a few domains always hang, and that is no sign of overload
_BURST = 0.05  # seconds of the rate that may be asked at once
_QUIET = 0.1  # of the patience: without any reply for so long, others are asked, and a probe is sent each time
_FAILURES = 1000  # replies in a row that are errors; a list may well hold hundreds of domains of one broken server


@dataclass(frozen=True, slots=True)
class Limits:
    """What one resolver is asked at most.

    Attributes:
        concurrency: questions that are under way at the same time.
        rate: questions a second; 0 for as many as it answers.
        patience: seconds without any reply after which it counts as dead.
    """

    concurrency: int
    rate: float
    patience: float


class Pace:
    """The pace for one resolver.

    The number of questions under way grows while it answers them, unless it is quicker than we are: more would only
    fill its buffer, and what does not fit is lost. It halves when too many are lost. Silence, and nothing but errors,
    are looked into with a probe, a question that every resolver can answer at once: many domains in a row that hang or
    fail speak of themselves, not of the resolver.

    Args:
        limits: what it is asked at most.
        now: the time in seconds, as in all calls.

    Attributes:
        under_way: questions that have neither been answered nor given up.
        is_dead: it gets no question but probes.
        why_dead: in words.
    """

    def __init__(self, limits: Limits, now: float) -> None:
        self.under_way = 0
        self.is_dead = False
        self.why_dead = ""
        self._limits = limits
        self._quiet = limits.patience * _QUIET
        self._window = min(_FIRST_WINDOW, limits.concurrency)
        self._growth = 1
        self._answered = 0
        self._unheard = 0
        self._unheard_since = now
        self._new = 0
        self._gathered = 0
        self._is_waited_for = False
        self._lost = 0
        self._allowance = 1.0
        self._allowed_at = now
        self._silent_since: float | None = None
        self._probed_at = now
        self._failures = 0

    def room(self, now: float) -> int:
        """How many questions it may be asked now."""
        free = min(self._window - self.under_way, _MOST_UNHEARD - self._unheard)
        rate = self._limits.rate
        if free <= 0 or self.is_dead or not rate:
            return 0 if self.is_dead else max(free, 0)
        saved = self._allowance + (now - self._allowed_at) * rate
        self._allowance, self._allowed_at = min(saved, max(1.0, rate * _BURST)), now
        return min(free, int(self._allowance))

    def sent(self, count: int, now: float) -> None:
        """So many questions were sent."""
        if self._silent_since is None and count:
            self._silent_since = now
        self.under_way += count
        self._allowance -= count
        if not self._unheard:
            self._unheard_since = now
        self._unheard += count

    def turn(self, now: float) -> None:
        """We have looked at all replies that were there: the window may change."""
        if self._new or now - self._unheard_since >= _UNHEARD:
            self._unheard = 0
        if not self._is_waited_for and self._new >= self._window * _GATHERED:
            self._gathered += self._new
        self._new = 0
        self._is_waited_for = False
        if self._answered + self._lost >= self._window:
            self._adapt()

    def wait(self) -> None:
        """There is nothing to do now but to wait for replies."""
        self._is_waited_for = True

    def heard(self, answers: int, failures: int, now: float) -> None:
        """So many replies came, and others that are errors."""
        self.under_way -= answers + failures
        self._silent_since = now if self.under_way else None
        self._failures = 0 if answers else self._failures + failures
        self._answered += answers + failures
        self._new += answers + failures

    def lost(self, count: int) -> None:
        """So many questions had no reply in time."""
        self.under_way -= count
        self._lost += count

    def is_quiet(self, now: float) -> bool:
        """Whether it was asked and says nothing, though perhaps not for long enough to be dead."""
        return self.is_dead or self._silence(now) >= self._quiet

    def wants_probe(self, now: float) -> bool:
        """Whether to ask it for something that it must know, which this call takes as done."""
        if now - self._probed_at < self._quiet or not (self.is_quiet(now) or self._failures >= _FAILURES):
            return False
        self._probed_at = now
        return True

    def probe_answered(self, now: float, *, is_failure: bool) -> None:
        """It has answered a probe."""
        self._silent_since = now if self.under_way else None
        if not is_failure:
            self._failures = 0
        self.is_dead = self._failures >= _FAILURES
        self.why_dead = f"answered {self._failures} questions in a row with errors"

    def fail(self, why: str) -> None:
        """It cannot even be asked."""
        self.is_dead, self.why_dead = True, why

    def is_lost(self, now: float) -> bool:
        """Whether it counts as dead from now on, which it did not before."""
        if self.is_dead or self._silence(now) < self._limits.patience:
            return False
        self.is_dead = True
        self.why_dead = f"silent for {self._limits.patience:g} s"
        return True

    def _silence(self, now: float) -> float:
        return 0.0 if self._silent_since is None else now - self._silent_since

    def _adapt(self) -> None:
        if self._lost > self._window * _TOO_MANY_LOST:
            self._window = max(self._window // 2, min(_SMALLEST_WINDOW, self._limits.concurrency))
            self._growth = _CAREFUL
        elif self._gathered < self._answered * _GATHERED:
            self._window = min(self._window + self._window // self._growth, self._limits.concurrency)
        self._answered = self._gathered = self._lost = 0
