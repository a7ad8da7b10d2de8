"""What DANE says of a domain (RFC 7672 section 2.2): signed MX records, and signed TLSA records of their hosts."""

import asyncio
from dataclasses import dataclass
from itertools import islice

import dns.name
import dns.rdtypes.ANY.MX
import dns.rdtypes.ANY.TLSA

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind, NotRequired
from onionmx.authenticate.demand.tlsa import Tlsa
from onionmx.clock import Timestamp
from onionmx.dns.records import DnsAnswer, RecordResolver
from onionmx.domain import MAX_DOMAIN_LENGTH, Domain
from onionmx.errors import DnsError
from onionmx.onion import is_for_tor_alone

PREFIX = "_25._tcp."
"""Where the TLSA records of an MX are: onion MXes show the certificate of the same server."""

MOST_RECORDS = 32
"""TLSA records that are looked at, of all MX hosts together. A host needs two to four, also at a change of its key."""

_NEXT_DAY = 86400.0  # seconds
_HOST_CHARACTERS = frozenset("abcdefghijklmnopqrstuvwxyz0123456789-_.")
_MOST_HOSTS = 32  # bounds the questions that one domain can cause


@dataclass(frozen=True, slots=True)
class _Host:
    """An MX host with what DNS says of it; no records where it has none that count."""

    name: str
    records: tuple[Tlsa, ...]
    look_at: float


async def dane_requirement(
    domain: Domain, questions: RecordResolver, now: Timestamp
) -> EnforcedPolicy | NotRequired | CouldNotTell:
    """Find out whether a domain has TLSA records for its MX.

    One MX with usable records is enough. A question that cannot be answered, as where a signature is wrong, leaves
    the whole undecided (RFC 7672 section 2.1.2).
    """
    if not questions.can_validate:
        return NotRequired(domain, "DANE cannot be seen: no resolver is believed to validate", now + _NEXT_DAY)
    try:
        answer = await questions.ask(domain, "MX")
        if not answer.is_secure:
            return NotRequired(domain, "no DANE: its MX records are not signed", answer.look_at(now))
        names = mx_hosts(domain, answer)[:_MOST_HOSTS]
        hosts = await asyncio.gather(*(_look_at_host(name, questions, now) for name in names))
    except DnsError as error:
        return CouldNotTell(domain, f"DANE: {error}")
    look_at = min([answer.look_at(now), *(host.look_at for host in hosts)])
    protected = [host for host in hosts if host.records]
    if not protected:
        return NotRequired(domain, "no DANE: its MX have no usable TLSA records", look_at)
    # Those of the preferred MX first; and in the same order each time, whatever the order in DNS.
    first = islice(dict.fromkeys(record for host in protected for record in sorted(host.records)), MOST_RECORDS)
    records = tuple(sorted(first))
    protected = [host for host in protected if not set(records).isdisjoint(host.records)]
    # The name of the domain itself counts too, where an authority is named (RFC 7672 section 3.2.2).
    wanted = tuple(dict.fromkeys([*(host.name for host in protected), domain]))
    demand = Demand(Kind.DANE, wanted, records, protected[0].name)
    return EnforcedPolicy(domain, demand, look_at, look_at)


def mx_hosts(domain: Domain, answer: DnsAnswer) -> list[str]:
    """Hosts of the domain's MX records, the preferred ones first; the domain itself where it has none (RFC 5321).

    Args:
        answer: to the question for them.
    """
    found = []
    for record in answer.records:
        assert isinstance(record, dns.rdtypes.ANY.MX.MX)  # noqa: S101 -- the type of the question
        found.append((record.preference, record.exchange))
    if not found:
        return [domain]
    # A host of "." says that the domain takes no mail (RFC 7505); one under .onion has no records outside of Tor.
    names = [host.to_text(omit_final_dot=True).lower() for _, host in sorted(found) if host != dns.name.root]
    return [name for name in dict.fromkeys(names) if _is_host_name(name) and not is_for_tor_alone(name)]


def _is_host_name(name: str) -> bool:
    """Whether a name can be in a certificate: letters, digits and hyphens; many hosts have an underscore too."""
    return _HOST_CHARACTERS.issuperset(name)


async def _look_at_host(name: str, questions: RecordResolver, now: Timestamp) -> _Host:
    # Its address comes first: unsigned zones may have servers that cannot even be asked for TLSA, and an alias of
    # the host has the records under its real name (RFC 7672 section 2.2.2).
    address = await questions.ask(name, "A")
    if not address.is_secure:
        return _Host(name, (), address.look_at(now))
    for base in dict.fromkeys([address.name, name]):
        if len(PREFIX + base) > MAX_DOMAIN_LENGTH or not _is_host_name(base):
            continue
        answer = await questions.ask(PREFIX + base, "TLSA")
        if answer.is_secure and answer.records:
            records = tuple(tlsa for tlsa in map(_tlsa, answer.records) if tlsa.is_usable)
            return _Host(base, records, min(address.look_at(now), answer.look_at(now)))
    return _Host(name, (), address.look_at(now))


def _tlsa(record: object) -> Tlsa:
    assert isinstance(record, dns.rdtypes.ANY.TLSA.TLSA)  # noqa: S101 -- the type of the question
    return Tlsa(record.usage, record.selector, record.mtype, record.cert)
