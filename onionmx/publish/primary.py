"""The primary name server of some zones: what it holds, and updates to it."""

import asyncio
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import cast

import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.rdtypes.ANY.CNAME
import dns.rdtypes.ANY.RRSIG
import dns.rrset
import dns.tsig

from onionmx.errors import OnionmxError, UpdateError, UpdateRefusedError
from onionmx.publish.change import SRV, ChangeResult, Current, RecordChange, batches, service_name, to_update
from onionmx.publish.exchange import Exchange

_AT_ONCE = 100
"""Domains that are being asked for; BIND takes 23 questions before it answers, the rest waits in the socket."""
_CHANGED_MEANWHILE = "changed on the name server meanwhile; theirs stays: look at it, and publish again"
_PREREQUISITES = {dns.rcode.NXRRSET, dns.rcode.YXRRSET, dns.rcode.NXDOMAIN, dns.rcode.YXDOMAIN}
_TEMPORARY = {dns.rcode.SERVFAIL: "SERVFAIL: the server could not do it, its log says why"}
_REFUSALS = {
    dns.rcode.REFUSED: "REFUSED: it takes no update of zone {zone} from us; allow it for the key (BIND: update-policy "
    "or allow-update; Knot DNS: an acl with action update)",
    dns.rcode.NOTAUTH: "NOTAUTH: it is not the primary of zone {zone}, or takes no update of it from us with this key",
    dns.rcode.NOTZONE: "NOTZONE: a name of the update is not in zone {zone}",
    dns.rcode.NOTIMP: "NOTIMP: it takes no updates at all (RFC 2136)",
}


@dataclass(frozen=True, slots=True)
class Refusal:
    """Why the records of a domain could not be read or changed.

    Attributes:
        outcome: conflict, refused, or could not tell.
        words: one line.
    """

    outcome: ChangeResult
    words: str


class Primary:
    """The name server that takes updates.

    Args:
        exchange: the connection to it.
        key: the key that the connection signs with.
    """

    def __init__(self, exchange: Exchange, key: dns.tsig.Key | None) -> None:
        self._exchange = exchange
        self._key = key
        self.updates = 0
        """Update messages sent so far."""
        # A signature names the zone, which saves a second question where the record is there already. Whether the zones
        # are signed shows at the first such record; signatures of other answers would only cost time.
        self._with_signatures: bool | None = None
        self._at_once = asyncio.Semaphore(_AT_ONCE)

    async def read(self, domains: Iterable[str]) -> dict[str, Current | Refusal]:
        """Ask for what is there now, and in which zone; every domain gets its answer.

        Raises:
            UpdateRefusedError: the server refuses the key.
            UpdateError: the server cannot be asked.
        """
        try:
            async with asyncio.TaskGroup() as tasks:
                running = {domain: tasks.create_task(self._read(domain)) for domain in domains}
        except* OnionmxError as errors:
            raise errors.exceptions[0] from None
        return {domain: task.result() for domain, task in running.items()}

    async def update(self, changes: Iterable[RecordChange]) -> dict[str, ChangeResult | Refusal]:
        """Make the changes, many in one message; every domain gets its outcome.

        A domain whose records were changed since they were read is left out, and the others of its message sent again.
        """
        zones: dict[dns.name.Name, list[RecordChange]] = defaultdict(list)
        for change in changes:
            zones[change.current.zone].append(change)
        outcomes: dict[str, ChangeResult | Refusal] = {}
        for of_zone in zones.values():
            for batch in batches(of_zone):
                outcomes |= await self._send(batch)
        return outcomes

    async def _send(self, batch: Sequence[RecordChange]) -> dict[str, ChangeResult | Refusal]:
        self.updates += 1
        # On a connection of its own: one that rested may be closed by the server just now, and then nobody would know
        # whether the update was made.
        await self._exchange.close()
        try:
            answer = await self._exchange.send(to_update(batch))
        except UpdateRefusedError as error:
            return _for_all(batch, ChangeResult.REFUSED, str(error))
        except UpdateError as error:
            return _for_all(batch, ChangeResult.UNKNOWN, f"{error}; whether the update was made is not known")
        if answer.rcode() in _PREREQUISITES:
            return await self._without_conflicts(batch)
        return self._outcomes(batch, answer)

    def _outcomes(
        self, batch: Sequence[RecordChange], answer: dns.message.Message
    ) -> dict[str, ChangeResult | Refusal]:
        rcode = answer.rcode()
        zone = batch[0].current.zone.to_text(omit_final_dot=True)
        if rcode in _REFUSALS:
            return _for_all(batch, ChangeResult.REFUSED, f"{self._exchange.name}: {_REFUSALS[rcode].format(zone=zone)}")
        if rcode != dns.rcode.NOERROR:
            words = _TEMPORARY.get(rcode, f"{dns.rcode.to_text(rcode)}: it does not make the update of zone {zone}")
            return _for_all(batch, ChangeResult.UNKNOWN, f"{self._exchange.name}: {words}")
        if self._key is not None and not answer.had_tsig:
            words = "its answer to the update is not signed, so whether it was made is not known"
            return _for_all(batch, ChangeResult.UNKNOWN, f"{self._exchange.name}: {words}")
        return {change.wanted.domain: change.outcome for change in batch}

    async def _without_conflicts(self, batch: Sequence[RecordChange]) -> dict[str, ChangeResult | Refusal]:
        """The server holds something else than what was read for a domain of this message, and changed nothing."""
        try:
            now = await self.read(change.wanted.domain for change in batch)
        except OnionmxError as error:
            return _for_all(batch, ChangeResult.UNKNOWN, f"{_CHANGED_MEANWHILE}; {error}")
        outcomes: dict[str, ChangeResult | Refusal] = {}
        unmoved: list[RecordChange] = []
        for change in batch:
            reading = now[change.wanted.domain]
            if reading == change.current:
                unmoved.append(change)
            elif isinstance(reading, Refusal):
                outcomes[change.wanted.domain] = reading
            elif RecordChange(change.wanted, reading).outcome is ChangeResult.SAME:
                outcomes[change.wanted.domain] = ChangeResult.SAME
            else:
                outcomes[change.wanted.domain] = Refusal(ChangeResult.CONFLICT, _CHANGED_MEANWHILE)
        if not unmoved:
            return outcomes
        if outcomes:
            return outcomes | await self._send(unmoved)
        if len(unmoved) > 1:
            middle = len(unmoved) // 2
            return await self._send(unmoved[:middle]) | await self._send(unmoved[middle:])
        return await self._behind_wildcard(unmoved[0])

    async def _behind_wildcard(self, change: RecordChange) -> dict[str, ChangeResult | Refusal]:
        """What was read may have been made from a wildcard, which prerequisites pass over (RFC 2136 section 2.4)."""
        current = change.current
        name = service_name(change.wanted.domain)
        if current.records and await self._wildcard(name, current.zone, dns.rdatatype.SRV):
            return await self._send([RecordChange(change.wanted, Current(current.zone))])
        return {change.wanted.domain: Refusal(ChangeResult.CONFLICT, _CHANGED_MEANWHILE)}

    async def _read(self, domain: str) -> Current | Refusal:
        async with self._at_once:
            return await self._ask_for(domain)

    async def _ask_for(self, domain: str) -> Current | Refusal:
        name = service_name(domain)
        signed = bool(self._with_signatures)
        answer = await self._ask(name, dns.rdatatype.SRV, signed=signed)
        if refusal := self._not_authoritative(answer, domain):
            return refusal
        if aliases := [rrset for rrset in answer.answer if rrset.rdtype in {dns.rdatatype.CNAME, dns.rdatatype.DNAME}]:
            return await self._read_alias(name, aliases)
        found = answer.get_rrset(answer.answer, name, dns.rdataclass.IN, dns.rdatatype.SRV)
        if found:
            zone = _signer(answer, name)
            if zone is None:
                # Asked for and not there: unsigned. Not asked for yet: worth a try from now on.
                self._with_signatures = False if signed else self._with_signatures is not False
                zone = await self._zone(name)
        else:
            zone = _soa_owner(answer)
        if zone is None:
            return Refusal(ChangeResult.UNKNOWN, f"{self._exchange.name}: its answer names no zone for {name}")
        if found is None:
            return Current(zone)
        return Current(zone, tuple(sorted(cast("Iterable[SRV]", found))), found.ttl)

    async def _read_alias(self, name: dns.name.Name, aliases: Sequence[dns.rrset.RRset]) -> Current | Refusal:
        for alias in aliases:
            if alias.rdtype == dns.rdatatype.DNAME:
                return Refusal(ChangeResult.REFUSED, f"a DNAME at {alias.name} covers {name}: publish where it leads")
        zone = await self._zone(name.parent())
        if zone is not None and await self._wildcard(name, zone, dns.rdatatype.CNAME):
            return Current(zone)
        (target,) = cast("Iterable[dns.rdtypes.ANY.CNAME.CNAME]", aliases[0])
        words = f"a CNAME at {name} leads to {target.target}, and no other record can be beside it: remove it first"
        return Refusal(ChangeResult.REFUSED, words)

    async def _wildcard(self, name: dns.name.Name, zone: dns.name.Name, rdtype: dns.rdatatype.RdataType) -> bool:
        """Whether a wildcard above the name has such records (RFC 4592)."""
        for ancestor in _ancestors(name, zone):
            wildcard = dns.name.Name((b"*", *ancestor.labels))
            answer = await self._ask(wildcard, rdtype)
            if answer.get_rrset(answer.answer, wildcard, dns.rdataclass.IN, rdtype):
                return True
        return False

    async def _zone(self, name: dns.name.Name) -> dns.name.Name | None:
        """The zone that a name is in, as the server itself says (RFC 2308 section 3)."""
        for ancestor in (name, *_ancestors(name, dns.name.root)):
            answer = await self._ask(ancestor, dns.rdatatype.SOA)
            if answer.get_rrset(answer.answer, ancestor, dns.rdataclass.IN, dns.rdatatype.SOA):
                return ancestor
            if not answer.answer and (zone := _soa_owner(answer)):
                return zone
        return None

    async def _ask(
        self, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, *, signed: bool = False
    ) -> dns.message.Message:
        # No RD: a server that resolves for others too must not go and ask somebody else.
        return await self._exchange.ask(dns.message.make_query(name, rdtype, flags=0, want_dnssec=signed))

    def _not_authoritative(self, answer: dns.message.Message, domain: str) -> Refusal | None:
        server = self._exchange.name
        rcode = answer.rcode()
        if rcode in _TEMPORARY:
            return Refusal(ChangeResult.UNKNOWN, f"{server}: {_TEMPORARY[rcode]}")
        if rcode not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
            words = f"{dns.rcode.to_text(rcode)}: it does not hold the zone of {domain}, or does not answer us"
            return Refusal(ChangeResult.REFUSED, f"{server}: {words}")
        if not answer.flags & dns.flags.AA:
            referrals = [rrset.name for rrset in answer.authority if rrset.rdtype == dns.rdatatype.NS]
            words = f": {referrals[0]} is delegated to others" if referrals else ""
            return Refusal(ChangeResult.REFUSED, f"{server}: it does not hold the zone of {domain}{words}")
        return None


def _ancestors(name: dns.name.Name, zone: dns.name.Name) -> Iterator[dns.name.Name]:
    while name not in {zone, dns.name.root}:
        name = name.parent()
        yield name


def _signer(answer: dns.message.Message, name: dns.name.Name) -> dns.name.Name | None:
    """The zone that signed the records, by name (RFC 4034 section 3.1.7)."""
    signatures = answer.get_rrset(answer.answer, name, dns.rdataclass.IN, dns.rdatatype.RRSIG, dns.rdatatype.SRV)
    return cast("dns.rdtypes.ANY.RRSIG.RRSIG", signatures[0]).signer if signatures else None


def _soa_owner(answer: dns.message.Message) -> dns.name.Name | None:
    return next((rrset.name for rrset in answer.authority if rrset.rdtype == dns.rdatatype.SOA), None)


def _for_all(batch: Iterable[RecordChange], outcome: ChangeResult, words: str) -> dict[str, ChangeResult | Refusal]:
    return {change.wanted.domain: Refusal(outcome, words) for change in batch}
