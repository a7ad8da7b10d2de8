"""Which of the authoritative servers serve an onion-MX record, and whether its signature is valid."""

import asyncio
import time
from collections.abc import Iterable
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import cast

import dns.message
import dns.name
import dns.rdatatype
import dns.rdtypes.ANY.SOA
import dns.rrset
import dns.serial

from onionmx.config import DnsSection
from onionmx.dns.response import Records, read_response, read_targets
from onionmx.domain import Domain
from onionmx.errors import DnsError
from onionmx.publish.authority import DNS_PORT, NameServer, World, ask_authority, find, reachable
from onionmx.publish.change import service_name
from onionmx.publish.records import to_srv_text
from onionmx.publish.signatures import DS, Signed, ZoneKeys, check_keys, judge
from onionmx.target import Target, in_order

_AT_ONCE = 50  # questions to name servers under way


class ServerState(StrEnum):
    """What a name server does with the record."""

    SERVES = "serves it"
    DIFFERENT = "serves something else"
    NONE = "has none"
    UNKNOWN = "could not tell"


@dataclass(frozen=True, slots=True)
class ServerView:
    """What one address of a name server says.

    Attributes:
        server: name of the server; empty where that is unknown.
        address: IPv4 or IPv6; empty where it could not be found out.
        state: whether it serves what is expected.
        words: what it serves instead, or why that could not be told; empty where there is nothing to say.
        serial: of the zone there; `None` where it does not say.
        targets: what it serves, in order.
    """

    server: str
    address: str
    state: ServerState
    words: str = ""
    serial: int | None = None
    targets: tuple[Target, ...] = ()


@dataclass(frozen=True, slots=True)
class Verification:
    """What DNS says of the record of a domain.

    Attributes:
        zone: the zone that the record is in, without the final dot; empty where that could not be found out.
        servers: every address of every name server of the zone.
        signed: what a validating resolver makes of the record.
        signed_words: one line of why.
        problem: why the servers could not be found out; empty where they could.
    """

    domain: Domain
    zone: str
    servers: tuple[ServerView, ...]
    signed: Signed
    signed_words: str
    problem: str = ""

    @property
    def complete(self) -> bool:
        """Whether every server serves what is expected."""
        return bool(self.servers) and all(view.state is ServerState.SERVES for view in self.servers)


@dataclass(frozen=True, slots=True)
class _Zone:
    """A zone as it is looked at once for all its domains: addresses with serial, or with why there is none."""

    servers: tuple[tuple[NameServer, int | DnsError], ...]
    behind: ZoneKeys


@dataclass(frozen=True, slots=True)
class _Said:
    """What a server said, with the records for checking their signatures."""

    view: ServerView
    record: dns.rrset.RRset | None = None
    signatures: dns.rrset.RRset | None = None


class Verifier:
    """Looks at the records of many domains; what their zones have in common is asked once.

    Args:
        settings: the resolver that knows the name servers, and the time for one question.
        port: of all name servers.

    Raises:
        ConfigurationError: there is no resolver, or it is to be asked through Tor.
    """

    def __init__(self, settings: DnsSection, port: int = DNS_PORT) -> None:
        self._world = World(settings)
        self._timeout = settings.timeout
        self._port = port
        self._at_once = asyncio.Semaphore(_AT_ONCE)
        self._zones: dict[dns.name.Name, asyncio.Task[_Zone]] = {}

    async def check(
        self, domain: Domain, expected: tuple[Target, ...] | None, zone: dns.name.Name | None = None
    ) -> Verification:
        """Look at one domain; whatever goes wrong is in the result.

        Args:
            expected: what should be there; none to expect no record, `None` to be content with any that works.
            zone: the zone that the record is in, where that is known already.
        """
        name = service_name(domain)
        try:
            zone = zone or await self._world.zone_of(name)
            common = await self._look_at(zone)
        except DnsError as error:
            shown = zone.to_text(omit_final_dot=True) if zone else ""
            return Verification(domain, shown, (), Signed.UNKNOWN, str(error), problem=str(error))
        said = await asyncio.gather(*(self._ask(name, expected, *server) for server in common.servers))
        serves = next((each for each in said if each.view.state is ServerState.SERVES), _Said(said[0].view))
        signed, words = judge(common.behind, serves.record, serves.signatures, time.time())
        if serves.view.state is not ServerState.SERVES and signed is Signed.VALID:
            signed, words = Signed.UNKNOWN, "no server gives the record whose signature could be looked at"
        views = _with_lag(tuple(each.view for each in said))
        return Verification(domain, zone.to_text(omit_final_dot=True), views, signed, words)

    async def _look_at(self, zone: dns.name.Name) -> _Zone:
        """A zone, looked at once for all its domains."""
        if zone not in self._zones:
            self._zones[zone] = asyncio.create_task(self._look(zone))
        # A task that several wait for must not end with the first of them.
        return await asyncio.shield(self._zones[zone])

    async def _look(self, zone: dns.name.Name) -> _Zone:
        servers = await self._world.servers_of(zone)
        serials = await asyncio.gather(*(self._serial(zone, server) for server in servers))
        answering = reachable(zip(servers, serials, strict=True))
        return _Zone(answering, await self._keys(zone, answering))

    async def _serial(self, zone: dns.name.Name, server: NameServer) -> int | DnsError:
        if server.problem:
            return DnsError(server.problem)
        try:
            answer = await self._exchange(server, zone, dns.rdatatype.SOA)
        except DnsError as error:
            return error
        records, _ = find(answer, zone, dns.rdatatype.SOA)
        if not records:
            return DnsError("it does not hold the zone")
        return cast("dns.rdtypes.ANY.SOA.SOA", records[0]).serial

    async def _keys(self, zone: dns.name.Name, servers: Iterable[tuple[NameServer, int | DnsError]]) -> ZoneKeys:
        try:
            server = next(server for server, serial in servers if isinstance(serial, int))
        except StopIteration:
            return ZoneKeys(zone, problem="no name server of the zone could be asked for its keys")
        try:
            answer = await self._exchange(server, zone, dns.rdatatype.DNSKEY)
            ds = await self._world.ds_of(zone)
            verdict = await self._world.verdict_on(zone)
        except DnsError as error:
            return ZoneKeys(zone, problem=f"the keys of the zone: {error}")
        keys, signatures = find(answer, zone, dns.rdatatype.DNSKEY)
        above = tuple(cast("Iterable[DS]", ds or ()))
        return ZoneKeys(zone, keys, check_keys(keys, signatures, above, time.time()), above, verdict)

    async def _exchange(
        self, server: NameServer, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
    ) -> dns.message.Message:
        async with self._at_once:
            return await ask_authority(server.address, self._port, name, rdtype, self._timeout)

    async def _ask(
        self, name: dns.name.Name, expected: tuple[Target, ...] | None, server: NameServer, serial: int | DnsError
    ) -> _Said:
        if isinstance(serial, DnsError):
            return _Said(ServerView(server.name, server.address, ServerState.UNKNOWN, str(serial)))
        try:
            answer = await self._exchange(server, name, dns.rdatatype.SRV)
            state, words, targets = _compare(answer, expected)
        except DnsError as error:
            return _Said(ServerView(server.name, server.address, ServerState.UNKNOWN, str(error), serial))
        view = ServerView(server.name, server.address, state, words, serial, targets)
        return _Said(view, *find(answer, name, dns.rdatatype.SRV))


def _compare(
    answer: dns.message.Message, expected: tuple[Target, ...] | None
) -> tuple[ServerState, str, tuple[Target, ...]]:
    result = read_response(answer)
    if not isinstance(result, Records):
        none_wanted = expected is not None and not expected
        return (ServerState.SERVES if none_wanted else ServerState.NONE), "has none", ()
    targets, notes = read_targets(result.records)
    in_turn = tuple(sorted(targets, key=in_order))
    fits = set(targets) == set(expected) and not notes if expected is not None else bool(targets)
    if fits:
        return ServerState.SERVES, "", in_turn
    words = "; ".join([*(to_srv_text(target) for target in in_turn), *notes])
    return ServerState.DIFFERENT, f"serves {words}", in_turn


def _with_lag(views: tuple[ServerView, ...]) -> tuple[ServerView, ...]:
    """Say of servers without the record that their copy of the zone is older than others'."""
    serials = [dns.serial.Serial(view.serial) for view in views if view.serial is not None]
    if not serials:
        return views
    newest = max(serials)
    return tuple(
        replace(view, words=f"{view.words}; lags behind: serial {view.serial}, the newest is {newest.value}")
        if view.state in {ServerState.NONE, ServerState.DIFFERENT} and dns.serial.Serial(view.serial or 0) < newest
        else view
        for view in views
    )
