"""What is decided of a domain, and in which words."""

from msgspec import Struct
from msgspec.structs import replace

from onionmx.defaults import DAY
from onionmx.onion import Endpoint
from onionmx.sync.state.record import DomainRecord, Established, HistoryLine, How, Removal
from onionmx.target import Trust


class Verdict(Struct, frozen=True, gc=False):
    """What is known of a domain from now on.

    Attributes:
        record: what replaces the record kept so far.
        history: what happened to its route.
    """

    record: DomainRecord
    history: tuple[HistoryLine, ...] = ()


def taken(record: DomainRecord, endpoints: tuple[Endpoint, ...], trust: Trust, now: float, words: str) -> Verdict:
    """These are the onions of the domain from now on."""
    event = "taken" if record.established is None else "changed"
    established = Established(endpoints, trust, now, now)
    # A proof is of the onions that made it.
    proof = record.proof if record.proof and set(endpoints) & set(record.proof.endpoints) else None
    record = replace_route(record, established)
    # That nothing was demanded is no word for other onions: it is asked anew, and not known until then.
    known_until = record.requirement_expires if record.requirement else 0.0
    refused = tuple(other for other in record.refused if set(other) != set(endpoints))
    return Verdict(
        replace(
            record,
            requirement_expires=known_until,
            proof=proof,
            refused=refused,
            removal=None,
            unknown="",
            decision=words,
        ),
        (HistoryLine(record.domain, now, event, endpoints, trust, words),),
    )


def replace_route(record: DomainRecord, established: Established) -> DomainRecord:
    """A record with another route, and with nothing that waits."""
    return replace(
        record,
        established=established,
        former=None,
        pending=None,
        rivals=(),
        told_at=0.0,
        doubt=None,
        removal=None,
        keeps_unproven=False,
    )


def removed(record: DomainRecord, how: How, now: float, decision: str) -> DomainRecord:
    """A record without a route from now on."""
    former = record.established or record.former
    return replace(
        record,
        established=None,
        former=former,
        pending=None,
        rivals=(),
        told_at=0.0,
        proof=None,
        doubt=None,
        keeps_unproven=False,
        removal=Removal(how, now),
        defers_until=0.0,
        decision=decision,
    )


def dropped(record: DomainRecord, decision: str) -> DomainRecord:
    """A record without a route that has never been in the map: its end blocks no later record."""
    return replace(
        record,
        established=None,
        pending=None,
        rivals=(),
        told_at=0.0,
        proof=None,
        defers_until=0.0,
        decision=decision,
    )


def kept(record: DomainRecord, why: str) -> str:
    """The words for a route, or none, that stays as it is."""
    return f"{'the route stays' if record.established else 'no route'}: {why}"


def days(seconds: float) -> str:
    """A time in days, as messages have it."""
    return f"{seconds / DAY:.3g}"
