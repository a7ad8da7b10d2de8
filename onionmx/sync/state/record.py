"""What is known of one domain; values without I/O. All times are seconds since 1970 (UTC).

A run over many domains makes millions of them; msgspec makes one in a fifth of the time that a frozen dataclass takes.
"""

from enum import StrEnum

from msgspec import Struct

from onionmx.domain import Domain
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
        trust: what vouches for it.
        since: when it was first seen; seen steadily since then.
        last_seen: when it was seen last.
        reason: one line of why it waits, and what would end that.
        is_refused: the operator has refused it.
        steady: seconds for which it counts as seen: the times between two sightings in a row, less those before an
            answer that said something else; a long time counts in part.
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
        trust: what vouched for it when it was taken.
        since: when it was taken.
        last_seen: when DNS last said the same.
        is_routed: it has been in the map; `None` where that was not noted yet.
    """

    endpoints: tuple[Endpoint, ...]
    trust: Trust
    since: float
    last_seen: float
    is_routed: bool | None = None


class Doubt(Struct, frozen=True, gc=False):
    """The onion MX of a route does not show what the domain demands.

    Attributes:
        since: when that was seen first.
        last_seen: when it was seen last.
        reason: one line of why it counts for nothing.
        requirement: what the domain demands now, as a text; the one that was met stays in the record until then.
        is_refused: the operator keeps the route.
        steady: seconds for which it was so; of a long time between two looks a part.
    """

    since: float
    last_seen: float
    reason: str
    requirement: str = ""
    is_refused: bool = False
    steady: float = 0.0


class How(StrEnum):
    """On whose word a domain has no route."""

    SIGNED = "signed"
    """A validated answer said that there is no record."""
    OPERATOR = "operator"
    UNSIGNED = "unsigned"
    """Unsigned answers said so for long enough."""
    SILENCE = "silence"
    """DNS has not answered for too long."""


class Removal(Struct, frozen=True, gc=False):
    """Why a domain has no route, which decides what may bring one.

    Attributes:
        how: on whose word.
        at: since when; of a signed denial the last time.
    """

    how: How
    at: float


class DomainRecord(Struct, frozen=True, gc=False):
    """Everything that is remembered of a domain.

    Attributes:
        first_seen: when it was first listed.
        listed: whether it was in a list of domains in the last run.
        due_at: when to ask again.
        answer: what DNS said last.
        asked_at: when that was; `None` before the first time.
        ttl: seconds, of that answer; `None` where it gave none.
        reason: one line about that answer: why there is nothing, or why it could not be told.
        failures: answers in a row that told nothing.
        established: what the map has, or would have if the policy of the domain did not ask for a proof.
        pending: a change that waits; of several the one that was seen most.
        requirement: `mta-sts`, `dane` or empty: whether the domain demands that its MX proves itself.
        requirement_expires: when to look at that again.
        proof: that it did.
        decision: one line of why the map has what it has.
        former: the route that the domain had before it lost it; other onions than these are a change.
        failing_since: when the first of the failures in a row came; 0 where there is none.
        rivals: other changes that wait, seen less.
        told_at: when DNS last said anything at all, where something waits; 0 where that was not noted.
        refused: changes that the operator has refused, until he takes that back.
        removal: why there is no route; `None` where there is one, or never was.
        doubt: the onion MX that had been routed does not show what the domain demands; its end waits as a change does.
        unknown: why it could not be told what the domain demands, or whether its onion MX has it; empty where it could.
        unknown_since: when that was first so; kept when it is known, so that it does not begin anew soon.
        defers_until: until when mail waits because of it; 0 where it does not.
        keeps_unproven: the operator has refused that this route ends for want of a proof, until he takes that back.
    """

    domain: Domain
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
    rivals: tuple[Pending, ...] = ()
    told_at: float = 0.0
    refused: tuple[tuple[Endpoint, ...], ...] = ()
    removal: Removal | None = None
    doubt: Doubt | None = None
    unknown: str = ""
    unknown_since: float = 0.0
    defers_until: float = 0.0
    keeps_unproven: bool = False


class HistoryLine(Struct, frozen=True, gc=False):
    """One event in the life of a domain's route.

    Attributes:
        at: when.
        event: one word: `taken`, `changed`, `removed`, `pending`, `withdrawn`, `accepted`, `refused`, `allowed`,
            `expired`, `proven`, `doubted` or `unproven`.
        endpoints: what it was about.
        trust: what vouched for it.
        words: one line.
    """

    domain: Domain
    at: float
    event: str
    endpoints: tuple[Endpoint, ...]
    trust: Trust | None
    words: str
