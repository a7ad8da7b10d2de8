"""What a DNS response says about an onion-MX record; no I/O.

A response is believed to say "there is none" only when it plainly says so (RFC 2308 section 2): everything else
that is not a record is an error, because mail that is sent another way cannot be called back.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdatatype
import dns.rdtypes.IN.SRV
import dns.rrset

from onionmx.errors import DnsError, OnionError
from onionmx.onion import format_endpoint, parse_onion
from onionmx.target import MOST_TARGETS, Target, preferred

NO_SUCH_NAME = "no such name in DNS"
"""NXDOMAIN in words."""
_NO_RECORD = "no {} record"
NO_RECORD = _NO_RECORD.format("SRV")
"""NODATA in words."""

_MOST_NOTES = 20
"""Records that are named where they are left out; DNS could have 800."""
_REMEMBERED = 1000  # records; those of a provider are at all its domains


class Record(NamedTuple):
    """An SRV record as it is in DNS (RFC 2782)."""

    priority: int
    weight: int
    port: int
    host: str
    """The target without the final dot; empty for ".", which says that there is no such service."""


@dataclass(frozen=True, slots=True)
class Records:
    """The SRV records that were asked for.

    Attributes:
        records: what was asked for.
        ttl: seconds, the smallest on the way through aliases.
    """

    records: tuple[Record, ...]
    ttl: int


@dataclass(frozen=True, slots=True)
class Chain:
    """The records that were asked for, of any type.

    Attributes:
        rrset: they, under the name at the end of aliases.
        ttl: seconds, the smallest on the way through aliases.
    """

    rrset: dns.rrset.RRset
    ttl: int


@dataclass(frozen=True, slots=True)
class Nothing:
    """There is no SRV record, and the server is in a position to know.

    Attributes:
        reason: NXDOMAIN or NODATA, in words.
        ttl: seconds for which this may be kept (RFC 2308 section 5).
    """

    reason: str
    ttl: int


@dataclass(frozen=True, slots=True)
class Alias:
    """The name is an alias, and the response does not say what is at its end.

    Attributes:
        name: where to ask next.
        ttl: seconds.
    """

    name: dns.name.Name
    ttl: int


def read_response(message: dns.message.Message) -> Records | Nothing | Alias:
    """Decide what a response to an SRV question says.

    Args:
        message: a response whose id and question match what was asked.

    Raises:
        DnsError: it says nothing that can be relied on.
    """
    result = read_chain(message)
    if isinstance(result, Nothing | Alias):
        return result
    return Records(tuple(_records(result.rrset)), result.ttl)


def read_chain(message: dns.message.Message) -> Chain | Nothing | Alias:
    """Decide what a response says, whatever was asked for.

    Args:
        message: a response whose id and question match what was asked.

    Raises:
        DnsError: it says nothing that can be relied on.
    """
    if not isinstance(message, dns.message.QueryMessage):
        raise DnsError("the response is not one to a query")
    if message.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        raise DnsError(f"answered {dns.rcode.to_text(message.rcode())}")
    if message.flags & dns.flags.TC:
        raise DnsError("the answer is truncated even over TCP")
    try:
        chain = message.resolve_chaining()
    except dns.exception.DNSException as error:
        raise DnsError(f"the answer contradicts itself: {type(error).__name__}") from error
    if isinstance(chain.answer, dns.rrset.RRset):
        return Chain(chain.answer, chain.minimum_ttl)
    _check_no_strangers(message, chain.cnames)
    return _read_negative(message, chain)


def read_targets(records: Iterable[Record]) -> tuple[list[Target], list[str]]:
    """Take the usable targets out of SRV records.

    Returns:
        The targets, at most `MOST_TARGETS` and not yet ordered, and lines about records that were left out. A target of
        "." says that the service is decidedly not available (RFC 2782).
    """
    targets: list[Target] = []
    notes: list[str] = []
    for record in records:
        target = _target(record)
        if isinstance(target, Target):
            targets.append(target)
        else:
            notes.append(target)
    if len(notes) > _MOST_NOTES:
        notes[_MOST_NOTES:] = [f"left out: {len(notes) - _MOST_NOTES} more records that cannot be used"]
    kept, others = preferred(targets)
    if others:
        names = ", ".join(format_endpoint(target.endpoint) for target in others[:_MOST_NOTES])
        more = f" and {len(others) - _MOST_NOTES} more" if len(others) > _MOST_NOTES else ""
        notes.append(f"left out, as a domain has at most {MOST_TARGETS} onion MXes: {names}{more}")
    return kept, notes


@lru_cache(_REMEMBERED)
def _target(record: Record) -> Target | str:
    """The target of a record, or why it was left out."""
    if not record.host:
        return "target . says: no service"
    try:
        onion = parse_onion(record.host)
    except OnionError as error:
        return f"left out: {error}"
    if not record.port:
        return f"left out: {onion} with port 0"
    return Target(onion, record.port, record.priority, record.weight)


def _records(rrset: dns.rrset.RRset) -> Iterator[Record]:
    for rdata in rrset:
        assert isinstance(rdata, dns.rdtypes.IN.SRV.SRV)  # noqa: S101 -- the type of the set
        host = "" if rdata.target == dns.name.root else rdata.target.to_text(omit_final_dot=True)
        yield Record(rdata.priority, rdata.weight, rdata.port, host)


def _read_negative(message: dns.message.QueryMessage, chain: dns.message.ChainingResult) -> Nothing | Alias:
    """Tell the kinds of RFC 2308 section 2 apart: NXDOMAIN, NODATA, and a referral, which answers nothing."""
    if not message.flags & (dns.flags.AA | dns.flags.RA):
        raise DnsError("lame: the server is not authoritative and does not resolve for us")
    ttl = _negative_ttl(message, chain)
    if message.rcode() == dns.rcode.NXDOMAIN:
        return Nothing(NO_SUCH_NAME, ttl)
    kinds = {rrset.rdtype for rrset in message.authority}
    if dns.rdatatype.SOA not in kinds:
        if chain.cnames:
            return Alias(chain.canonical_name, chain.minimum_ttl)
        if dns.rdatatype.NS in kinds:
            raise DnsError("lame: the server refers to others instead of answering")
    return Nothing(_NO_RECORD.format(dns.rdatatype.to_text(message.question[0].rdtype)), ttl)


def _negative_ttl(message: dns.message.QueryMessage, chain: dns.message.ChainingResult) -> int:
    """What the SOA of the zone allows (RFC 2308 section 5); without it, the answer is good for nobody else."""
    has_soa = any(
        rrset.rdtype == dns.rdatatype.SOA and chain.canonical_name.is_subdomain(rrset.name)
        for rrset in message.authority
    )
    return chain.minimum_ttl if has_soa else 0


def _check_no_strangers(message: dns.message.QueryMessage, aliases: Iterable[dns.rrset.RRset]) -> None:
    """Refuse an answer that has records, none of them of the type and name that were asked for."""
    known = list(aliases)
    asked = message.question[0]
    names = {asked.name, *(rrset.name for rrset in known), *(rdata.target for rrset in known for rdata in rrset)}
    for rrset in message.answer:
        if rrset in known or _is_of_alias(rrset, known):
            continue
        if rrset.name not in names:
            raise DnsError(f"the answer is for another name, {rrset.name}")
        kinds = f"{dns.rdatatype.to_text(rrset.rdtype)} instead of {dns.rdatatype.to_text(asked.rdtype)}"
        raise DnsError(f"the answer has a record of another type: {kinds}")


def _is_of_alias(rrset: dns.rrset.RRset, aliases: Iterable[dns.rrset.RRset]) -> bool:
    """Whether it is the DNAME that an alias comes from (RFC 6672 section 3.1), or a signature of one of the two.

    A DNAME without the alias that it makes, or the signature of a record that is not there, says that there is more.
    """
    kind = rrset.covers if rrset.rdtype == dns.rdatatype.RRSIG else rrset.rdtype
    if kind == dns.rdatatype.DNAME:
        return any(alias.name != rrset.name and alias.name.is_subdomain(rrset.name) for alias in aliases)
    return kind == dns.rdatatype.CNAME and any(alias.name == rrset.name for alias in aliases)
