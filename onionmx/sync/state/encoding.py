"""Records and history as bytes, the same in every store.

What decides where mail goes carries a checksum, over the domain too: a flipped bit in a store is noticed before it
becomes a route. Fields at the end that have their default take no space, and a domain about which nothing is known
takes none at all; a field that comes with a later version is added at the end.
"""

from collections.abc import Iterable
from zlib import crc32

import msgspec

from onionmx.errors import OnionError
from onionmx.onion import Endpoint, format_endpoint, parse_endpoint
from onionmx.sync.state.record import DomainRecord, Doubt, Established, HistoryLine, LastAnswer, Pending, Proof, Removal
from onionmx.target import Trust

HISTORY_LENGTH = 100
"""Events that are kept of a domain; anyone who controls its DNS could fill the store otherwise."""
LONGEST_WAIT = 31 * 86400.0
"""Seconds, a little above the longest `sync.max_interval`. What is due later than that from now was written by a clock
that was ahead, and is due now."""
_CHECKSUM_LENGTH = 4  # bytes


class UnreadableError(Exception):
    """Not what was written: the store is damaged."""


class _Detail(msgspec.Struct, array_like=True, frozen=True):
    """Everything of a record but its name, the first time it was seen, and what the indexes hold."""

    answer: LastAnswer = LastAnswer.NEVER
    asked_at: float | None = None
    ttl: int | None = None
    reason: str = ""
    decision: str = ""
    failures: int = 0
    requirement: str = ""
    requirement_expires: float = 0.0
    established: Established | None = None
    pending: Pending | None = None
    proof: Proof | None = None
    former: Established | None = None
    failing_since: float = 0.0
    removal: Removal | None = None
    rivals: tuple[Pending, ...] = ()
    told_at: float = 0.0
    refused: tuple[tuple[Endpoint, ...], ...] = ()
    doubt: Doubt | None = None
    unknown: str = ""
    unknown_since: float = 0.0
    defers_until: float = 0.0
    keeps_unproven: bool = False


class _Event(msgspec.Struct, array_like=True, frozen=True):
    at: float
    event: str
    endpoints: tuple[Endpoint, ...]
    trust: Trust | None
    words: str


_DEFAULTS = tuple(getattr(_Detail(), field) for field in _Detail.__struct_fields__)
_encoder = msgspec.msgpack.Encoder()
_detail_decoder = msgspec.msgpack.Decoder(_Detail)
_event_decoder = msgspec.msgpack.Decoder(_Event)


def is_routed(record: DomainRecord) -> bool:
    """Whether the record is one of `Store.routed`."""
    return record.established is not None or record.pending is not None or bool(record.refused)


def is_waiting(record: DomainRecord) -> bool:
    """Whether the record is one of `Counts.pending`."""
    waits = record.pending or (record.doubt if record.established else None)
    return waits is not None and not waits.is_refused


def encode_record(record: DomainRecord) -> bytes:
    """Write everything of a record but `domain`, `first_seen`, `listed` and `due_at`."""
    values = (
        record.answer,
        record.asked_at,
        record.ttl,
        record.reason,
        record.decision,
        record.failures,
        record.requirement,
        record.requirement_expires,
        record.established,
        record.pending,
        record.proof,
        record.former,
        record.failing_since,
        record.removal,
        record.rivals,
        record.told_at,
        record.refused,
        record.doubt,
        record.unknown,
        record.unknown_since,
        record.defers_until,
        record.keeps_unproven,
    )
    length = len(values)
    while length and values[length - 1] == _DEFAULTS[length - 1]:
        length -= 1
    return _seal(record.domain, _encoder.encode(values[:length])) if length else b""


def decode_record(domain: str, detail: bytes, *, first_seen: float, listed: bool, due_at: float) -> DomainRecord:
    """Read what `encode_record` wrote.

    Raises:
        UnreadableError: this is something else.
    """
    try:
        known = _detail_decoder.decode(_unseal(domain, detail)) if detail else _Detail()
        established, refused = _of_older_version(known)
        return DomainRecord(
            domain,
            float(first_seen),
            listed,
            float(due_at),
            known.answer,
            known.asked_at,
            known.ttl,
            known.reason,
            known.failures,
            established,
            known.pending,
            known.requirement,
            known.requirement_expires,
            known.proof,
            known.decision,
            known.former,
            known.failing_since,
            known.rivals,
            known.told_at,
            refused,
            known.removal,
            known.doubt,
            known.unknown,
            known.unknown_since,
            known.defers_until,
            known.keeps_unproven,
        )
    # Columns in a damaged file can have any type, whatever the schema says.
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, ValueError, AttributeError) as error:
        raise UnreadableError(f"the record of {domain!r} is not readable: {error}") from error


def _of_older_version(known: _Detail) -> tuple[Established | None, tuple[tuple[Endpoint, ...], ...]]:
    """The route and the refusals of a record, where an older version wrote it, which did not note them so."""
    established = known.established
    if established and established.is_routed is None:
        established = msgspec.structs.replace(established, is_routed=_was_routed(established, known))
    pending = known.pending
    is_refused = pending is not None and pending.is_refused and not known.refused
    return established, (pending.endpoints,) if pending and is_refused else known.refused


def _was_routed(established: Established, known: _Detail) -> bool | None:
    """It had been in the map, but where a proof was demanded and is not there; `None` where that cannot be told."""
    if established.trust is not Trust.UNSIGNED or known.proof is not None:
        return True
    if known.requirement:
        return False
    return True if known.requirement_expires else None  # else it was in the map where no proofs are asked for


def encode_event(line: HistoryLine) -> bytes:
    """Write an event but for its domain."""
    return _seal(line.domain, _encoder.encode((line.at, line.event, line.endpoints, line.trust, line.words)))


def decode_events(domain: str, sealed: Iterable[bytes]) -> list[HistoryLine]:
    """Read what `encode_event` wrote.

    Raises:
        UnreadableError: one of them is something else.
    """
    try:
        events = [_event_decoder.decode(_unseal(domain, event)) for event in sealed]
    except (msgspec.MsgspecError, UnicodeDecodeError, TypeError, AttributeError) as error:
        raise UnreadableError(f"the history of {domain!r} is not readable: {error}") from error
    return [HistoryLine(domain, event.at, event.event, event.endpoints, event.trust, event.words) for event in events]


def encode_pin(endpoints: Iterable[Endpoint]) -> str:
    """Write what a domain is pinned to, as the map does; empty for none."""
    return " ".join(map(format_endpoint, endpoints))


def decode_pin(domain: str, text: str) -> tuple[Endpoint, ...]:
    """Read what `encode_pin` wrote.

    Raises:
        UnreadableError: this is something else.
    """
    try:
        return tuple(map(parse_endpoint, text.split()))
    except (OnionError, AttributeError) as error:
        raise UnreadableError(f"the pin of {domain!r} is not readable: {error}") from error


def _seal(domain: str, body: bytes) -> bytes:
    return _checksum(domain, body) + body


def _unseal(domain: str, sealed: bytes) -> bytes:
    body = sealed[_CHECKSUM_LENGTH:]
    if sealed[:_CHECKSUM_LENGTH] != _checksum(domain, body):
        raise UnreadableError(f"the checksum of {domain!r} is wrong")
    return body


def _checksum(domain: str, body: bytes) -> bytes:
    return crc32(body, crc32(domain.encode())).to_bytes(_CHECKSUM_LENGTH, "big")
