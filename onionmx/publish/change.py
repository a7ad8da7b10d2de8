"""What is to become of the onion-MX records of a domain, and the update messages that do it (RFC 2136); no I/O.

An update touches the SRV records at `_onion-mx._tcp.DOMAIN` and nothing else. Its prerequisites say what was read there
before: where somebody changed it since, the server refuses the whole message and changes nothing.
"""

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from enum import StrEnum
from functools import lru_cache
from typing import cast

import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.IN.SRV
import dns.update

from onionmx.publish.records import OnionMxRecords, owner_of, to_srv_text
from onionmx.target import Target

SRV = dns.rdtypes.IN.SRV.SRV
MAX_MESSAGE = 65535
"""Bytes of a message over TCP (RFC 1035 section 4.2.2)."""
_MAX_POINTED_AT = 0x4000  # bytes from the start; a compression pointer has 14 bits (RFC 1035 section 4.1.4)
_POINTER = 2  # bytes
_RECORD = 10  # bytes of type, class, TTL and length
_HEADER = 12  # bytes (RFC 1035 section 4.1.1)
_SIGNATURE = 600  # bytes: the longest name, algorithm and MAC that a TSIG record may have (RFC 8945 section 4.2)
_REMEMBERED = 20_000  # names and targets; each is needed several times in one run


@dataclass(frozen=True, slots=True)
class Current:
    """What the primary holds at the name.

    Attributes:
        zone: the zone that the name is in.
        records: data of the SRV records, sorted; none if there are none.
        ttl: seconds; 0 where there are no records.
    """

    zone: dns.name.Name
    records: tuple[SRV, ...] = ()
    ttl: int = 0


class ChangeResult(StrEnum):
    """What became of the records of a domain."""

    SAME = "same"
    ADDED = "added"
    CHANGED = "changed"
    REMOVED = "removed"
    CONFLICT = "conflict"
    """Somebody changed them between the question and the update; theirs stay."""
    REFUSED = "refused"
    """They are unchanged, and another try changes nothing until something else is fixed."""
    UNKNOWN = "could not tell"
    """No answer; they may or may not have been changed."""


@dataclass(frozen=True, slots=True)
class RecordChange:
    """What is there and what is to be there.

    Attributes:
        wanted: the records, without targets to remove them.
        current: what was read.
    """

    wanted: OnionMxRecords
    current: Current

    @property
    def outcome(self) -> ChangeResult:
        """What this change does when it is made."""
        if not self.current.records:
            return ChangeResult.ADDED if self.wanted.targets else ChangeResult.SAME
        if not self.wanted.targets:
            return ChangeResult.REMOVED
        same = self.current.ttl == self.wanted.ttl and self.current.records == srv_data(self.wanted.targets)
        return ChangeResult.SAME if same else ChangeResult.CHANGED

    def lines(self) -> Iterator[str]:
        """The difference, a line for each record that goes or comes."""
        old = [f"{self.wanted.name} {self.current.ttl} IN SRV {data.to_text()}" for data in self.current.records]
        wanted = srv_data(self.wanted.targets)
        new = [f"{self.wanted.name} {self.wanted.ttl} IN SRV {data.to_text()}" for data in wanted]
        yield from (f"-{line}" for line in old if line not in new)
        yield from (f"+{line}" for line in new if line not in old)


@lru_cache(_REMEMBERED)
def srv_data(targets: tuple[Target, ...]) -> tuple[SRV, ...]:
    """The data of SRV records for targets, sorted."""
    made = (dns.rdata.from_text(dns.rdataclass.IN, dns.rdatatype.SRV, to_srv_text(target)) for target in targets)
    return tuple(sorted(cast("Iterable[SRV]", made)))


@lru_cache(_REMEMBERED)
def service_name(domain: str) -> dns.name.Name:
    """The name of the records of a domain."""
    return dns.name.from_text(owner_of(domain))


def batches(changes: Sequence[RecordChange]) -> Iterator[tuple[RecordChange, ...]]:
    """Divide the changes of one zone into as few messages as hold them, in their order."""
    batch: list[RecordChange] = []
    for change in changes:
        if not batch:
            size = _Size(change.current.zone)
        if not size.add(change) and batch:
            yield tuple(batch)
            batch = []
            size = _Size(change.current.zone)
            size.add(change)
        batch.append(change)
    if batch:
        yield tuple(batch)


class _Size:
    """Bytes that a message will have at most, without making it.

    Names end in a pointer to the zone's. A name in the update section is a pointer as well, if it comes early enough
    among the prerequisites.
    """

    def __init__(self, zone: dns.name.Name) -> None:
        self._zone = zone
        self._prerequisites = _HEADER + len(zone.to_wire() or b"") + 4
        self._updates = _SIGNATURE

    def add(self, change: RecordChange) -> bool:
        """Add a domain; whether it still fits."""
        first = service_name(change.wanted.domain).relativize(self._zone)
        pointed_at = self._prerequisites < _MAX_POINTED_AT
        spelled = sum(len(label) + 1 for label in first.labels) + _POINTER
        again = _POINTER if pointed_at else spelled
        old = [_RECORD + _length(data) for data in change.current.records] or [_RECORD, _RECORD]
        new = [_RECORD + _length(data) for data in srv_data(change.wanted.targets)]
        if change.current.records:
            new.append(_RECORD)
        self._prerequisites += spelled + (len(old) - 1) * again + sum(old)
        self._updates += len(new) * again + sum(new)
        return self._prerequisites + self._updates <= MAX_MESSAGE


def _length(data: SRV) -> int:
    return len(data.to_wire() or b"")


def to_update(changes: Iterable[RecordChange]) -> dns.update.UpdateMessage:
    """The message that makes the changes, all or none, if what was read is still there (RFC 2136 section 2.4)."""
    changes = tuple(changes)
    message = dns.update.UpdateMessage(changes[0].current.zone)
    for change in changes:
        name = service_name(change.wanted.domain)
        if change.current.records:
            message.present(name, *change.current.records)
        else:
            message.absent(name, dns.rdatatype.SRV)
            # Beside a CNAME the server would pass over the record in silence (RFC 2136 section 3.4.2.2).
            message.absent(name, dns.rdatatype.CNAME)
    for change in changes:
        name = service_name(change.wanted.domain)
        if change.current.records:
            message.delete(name, dns.rdatatype.SRV)
        for data in srv_data(change.wanted.targets):
            message.add(name, change.wanted.ttl, data)
    return message


def to_script(changes: Sequence[RecordChange], server: tuple[str, int]) -> str:
    """The same messages as a script for nsupdate(1), to be looked at and run by hand."""
    lines = [f"server {server[0]} {server[1]}"]
    for zone in dict.fromkeys(change.current.zone for change in changes):
        in_zone = [change for change in changes if change.current.zone == zone]
        for batch in batches(in_zone):
            lines.append(f"zone {zone}")
            lines += [line for change in batch for line in _prerequisites(change)]
            lines += [line for change in batch for line in _updates(change)]
            lines.append("send")
    return "".join(f"{line}\n" for line in lines)


def _prerequisites(change: RecordChange) -> Iterator[str]:
    name = change.wanted.name
    if change.current.records:
        yield from (f"prereq yxrrset {name} IN SRV {data.to_text()}" for data in change.current.records)
    else:
        yield f"prereq nxrrset {name} IN SRV"
        yield f"prereq nxrrset {name} IN CNAME"


def _updates(change: RecordChange) -> Iterator[str]:
    name = change.wanted.name
    if change.current.records:
        yield f"update delete {name} IN SRV"
    yield from (f"update add {name} {change.wanted.ttl} IN SRV {to_srv_text(each)}" for each in change.wanted.targets)
