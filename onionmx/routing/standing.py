"""Answers that are still valid: what was said once, and may be said again without finding it out.

All times are seconds of `time.monotonic`. An answer is taken back by setting its time to the past, so nobody needs to
know who holds it.
"""

from dataclasses import dataclass
from math import inf

from onionmx.answer import Answer


@dataclass(slots=True)
class HitCount:
    """How often answers of one source were given from memory, in all."""

    number: int = 0


@dataclass(slots=True)
class Validity:
    """Until when nothing outside has to be looked at; it binds all answers given since the last look.

    Attributes:
        until: the time of the next look; for ever in the past when something has changed.
    """

    until: float = -inf


@dataclass(slots=True)
class CachedAnswer:
    """An answer, and how long its source need not be asked for it.

    Attributes:
        answer: for one domain.
        hits: of its source.
        until: the end of its time; in the past where it may be given once only, or is taken back.
        asked_at: when it was given last.
    """

    answer: Answer
    hits: HitCount
    until: float = -inf
    asked_at: float = -inf
