"""What is known of one domain; values without I/O. All times are seconds since 1970 (UTC).

A run over many domains makes millions of them; msgspec makes one in a fifth of the time that a frozen dataclass takes.
"""

from enum import StrEnum

from msgspec import Struct

from onionmx.onion import Endpoint
from onionmx.target import Trust


class LastAnswer(StrEnum):
    """What DNS said when it was asked last."""

    NEVER = "never asked"
    FOUND = "found"
    NONE = "no onion MX"
    UNKNOWN = "could not tell"


class Proof(Struct, frozen=True, gc=False):
    """An onion MX has shown a certificate that the policy of the domain accepts.

    Attributes:
        endpoints: the onion MXes that showed it.
        policy: what accepted it: `mta-sts` or `dane`.
        names: MX names of the domain that the policy allows, as patterns.
        made_at: when it was shown.
        expires: when it must be shown again: the end of the policy's or the certificate's time.
    """

    endpoints: tuple[Endpoint, ...]
    policy: str
    names: tuple[str, ...]
    made_at: float
    expires: float


class Pending(Struct, frozen=True, gc=False):
    """A change of onions that waits.

    Attributes:
        endpoints: what DNS says now; none where it says that there is no onion MX any more.
        trust: what stands behind it.
        since: when it was first seen; seen steadily since then.
        last_seen: when it was seen last.
        reason: one line of why it waits, and what would end that.
        is_refused: the operator has refused it; another change may come.
        steady: seconds for which it counts as seen: the time between two sightings, of which a long one counts in part.
    """

    endpoints: tuple[Endpoint, ...]
    trust: Trust | None
    since: float
    last_seen: float
    reason: str
    is_refused: bool = False
    steady: float = 0.0


class Established(Struct, frozen=True, gc=False):
    """The route that the map has for a domain.

    Attributes:
        endpoints: onion and port of each target, in order; never empty.
        trust: what stood behind it when it was taken.
        since: when it was taken.
        last_seen: when DNS last said the same.
    """

    endpoints: tuple[Endpoint, ...]
    trust: Trust
    since: float
    last_seen: float


class DomainRecord(Struct, frozen=True, gc=False):
    """Everything that is remembered of a domain.

    Attributes:
        domain: in normal form.
        first_seen: when it was first listed.
        listed: whether it stood in a list of domains in the last run.
        due_at: when to ask again.
        answer: what DNS said last.
        asked_at: when that was; `None` before the first time.
        ttl: seconds, of that answer; `None` where it gave none.
        reason: one line about that answer: why there is nothing, or why it could not be told.
        failures: answers in a row that told nothing.
        established: what the map has, or would have if the policy of the domain did not ask for a proof.
        pending: a change that waits.
        requirement: `mta-sts`, `dane` or empty: whether the domain demands that its MX proves itself.
        requirement_expires: when to look at that again.
        proof: that it did.
        decision: one line of why the map has what it has.
        former: the route that the domain had before it lost it; other onions than these are a change.
        failing_since: when the first of the failures in a row came; 0 where there is none.
    """

    domain: str
    first_seen: float
    listed: bool = True
    due_at: float = 0.0
    answer: LastAnswer = LastAnswer.NEVER
    asked_at: float | None = None
    ttl: int | None = None
    reason: str = ""
    failures: int = 0
    established: Established | None = None
    pending: Pending | None = None
    requirement: str = ""
    requirement_expires: float = 0.0
    proof: Proof | None = None
    decision: str = ""
    former: Established | None = None
    failing_since: float = 0.0


class HistoryLine(Struct, frozen=True, gc=False):
    """One event in the life of a domain's route.

    Attributes:
        domain: in normal form.
        at: when.
        event: one word: `taken`, `changed`, `removed`, `pending`, `withdrawn`, `accepted`, `refused`, `expired`,
            `proven` or `unproven`.
        endpoints: what it was about.
        trust: what stood behind it.
        words: one line.
    """

    domain: str
    at: float
    event: str
    endpoints: tuple[Endpoint, ...]
    trust: Trust | None
    words: str
