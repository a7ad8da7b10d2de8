"""Who has authority over a zone, and what each of these servers says itself."""

import asyncio
import errno
from collections.abc import Iterable
from dataclasses import dataclass
from ipaddress import ip_address

import dns.asyncquery
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.rcode
import dns.rdataclass
import dns.rdatatype
import dns.resolver
import dns.rrset

from onionmx.config import DnsSection
from onionmx.dns.leaving import check_name, is_for_tor
from onionmx.dns.resolver import DnsResolver, causes, translated
from onionmx.errors import ConfigurationError, DnsError
from onionmx.publish.signatures import SignatureVerdict

DNS_PORT = 53
_UDP_PAYLOAD = 1232  # bytes, the size that DNS flag day 2020 settled on
_ATTEMPTS = 3  # over UDP, where a packet may get lost
_NO_ROUTE = {errno.ENETUNREACH, errno.EADDRNOTAVAIL, errno.EAFNOSUPPORT}


class NoRouteError(DnsError):
    """This host has no network of the address's family."""


@dataclass(frozen=True, slots=True)
class NameServer:
    """One address of an authoritative name server.

    Attributes:
        name: of the server, as the NS record has it, without the final dot.
        address: IPv4 or IPv6; empty where it could not be found out.
        problem: why there is none.
    """

    name: str
    address: str
    problem: str = ""


class World:
    """The configured resolver, asked without validation so that a zone that is signed wrongly can be looked at too.

    Raises:
        ConfigurationError: there is no resolver, or it is to be asked through Tor.
    """

    def __init__(self, settings: DnsSection) -> None:
        if settings.through_tor:
            raise ConfigurationError(
                "dns.through_tor is set, and name servers are asked directly: what they serve is not looked at"
            )
        self._settings = settings
        self._validating = DnsResolver(settings)
        self._plain = DnsResolver(settings)
        self._plain.flags = dns.flags.RD | dns.flags.CD

    async def zone_of(self, name: dns.name.Name) -> dns.name.Name:
        """The zone that a name is in (RFC 2308 section 3).

        Raises:
            DnsError: the resolver does not say.
        """
        while True:
            answer = await self._resolve(name, "SOA")
            if answer.get_rrset(answer.answer, name, dns.rdataclass.IN, dns.rdatatype.SOA):
                return name
            if not answer.answer:  # with an alias, the SOA is that of another zone
                for rrset in answer.authority:
                    if rrset.rdtype == dns.rdatatype.SOA and name.is_subdomain(rrset.name):
                        return rrset.name
            if name == dns.name.root:
                raise DnsError("the resolver names no zone for it")
            name = name.parent()

    async def servers_of(self, zone: dns.name.Name) -> tuple[NameServer, ...]:
        """All addresses of the name servers of a zone.

        Raises:
            DnsError: the resolver does not say who they are.
        """
        names = await self._data(zone, "NS")
        if not names:
            raise DnsError(f"{zone} has no NS records")
        found = await asyncio.gather(*(self._addresses(name) for name in sorted(names)))
        return tuple(server for servers in found for server in servers)

    async def ds_of(self, zone: dns.name.Name) -> dns.rrset.RRset | None:
        """The DS records of a zone.

        Raises:
            DnsError: the resolver does not say.
        """
        answer = await self._resolve(zone, "DS")
        return answer.get_rrset(answer.answer, zone, dns.rdataclass.IN, dns.rdatatype.DS)

    async def verdict_on(self, zone: dns.name.Name) -> SignatureVerdict:
        """What the resolver says of the zone when it validates.

        Raises:
            DnsError: the resolver does not answer.
        """
        with translated(self._settings):
            try:
                answer = await self._validating.resolve(zone, "SOA", raise_on_no_answer=False, search=False)
            except dns.resolver.NoNameservers as error:
                if "SERVFAIL" not in causes(error):
                    raise
                await self._resolve(zone, "SOA")
                return SignatureVerdict.FAILED
        return (
            SignatureVerdict.VALIDATED
            if self._validating.is_validated(answer.response)
            else SignatureVerdict.NOT_VALIDATED
        )

    async def _addresses(self, name: str) -> list[NameServer]:
        shown = name.removesuffix(".")
        if is_for_tor(dns.name.from_text(name)):
            return [NameServer(shown, "", "its name is an onion, which DNS is never asked about (RFC 7686)")]
        try:
            found = await asyncio.gather(*(self._data(dns.name.from_text(name), kind) for kind in ("A", "AAAA")))
        except DnsError as error:
            return [NameServer(shown, "", f"its address could not be found out: {error}")]
        addresses = [NameServer(shown, address) for kind in found for address in sorted(kind, key=ip_address)]
        return addresses or [NameServer(shown, "", "its name has no address")]

    async def _data(self, name: dns.name.Name, kind: str) -> list[str]:
        answer = await self._resolve(name, kind)
        rdtype = dns.rdatatype.from_text(kind)
        return [data.to_text() for rrset in answer.answer if rrset.rdtype == rdtype for data in rrset]

    async def _resolve(self, name: dns.name.Name, kind: str) -> dns.message.Message:
        try:
            with translated(self._settings):
                try:
                    answer = await self._plain.resolve(name, kind, raise_on_no_answer=False, search=False)
                except dns.resolver.NXDOMAIN as error:
                    response: dns.message.Message = error.kwargs["responses"][name]
                    return response
        except DnsError as error:
            raise DnsError(f"{name} {kind}: {error}") from error
        return answer.response


async def ask_authority(
    address: str, port: int, name: dns.name.Name, rdtype: dns.rdatatype.RdataType, seconds: float
) -> dns.message.Message:
    """Ask a name server for what it holds itself, with the signatures.

    Args:
        address: IPv4 or IPv6.
        port: 53 in the world.
        seconds: for all attempts.

    Raises:
        NoRouteError: this host has no network for such addresses.
        DnsError: no answer, or none with authority; or the name is for Tor alone.
    """
    check_name(name)
    query = dns.message.make_query(name, rdtype, flags=0, want_dnssec=True, payload=_UDP_PAYLOAD)
    answer = None
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            answer, _over_tcp = await dns.asyncquery.udp_with_fallback(
                query, address, seconds / _ATTEMPTS, port, ignore_unexpected=True, ignore_errors=True
            )
            break
        except dns.exception.Timeout as error:
            if attempt == _ATTEMPTS:
                raise DnsError("no answer") from error
        except dns.exception.DNSException as error:
            raise DnsError(f"its answer cannot be used, {type(error).__name__}: {error}") from error
        except (OSError, EOFError) as error:
            kind = NoRouteError if getattr(error, "errno", None) in _NO_ROUTE else DnsError
            raise kind(getattr(error, "strerror", None) or "closed the connection") from error
    assert answer is not None  # noqa: S101 -- the last attempt returned or raised
    if answer.rcode() not in {dns.rcode.NOERROR, dns.rcode.NXDOMAIN}:
        raise DnsError(f"answered {dns.rcode.to_text(answer.rcode())}")
    if not answer.flags & dns.flags.AA:
        raise DnsError("lame: it has no authority over the zone")
    return answer


def find(
    answer: dns.message.Message, name: dns.name.Name, rdtype: dns.rdatatype.RdataType
) -> tuple[dns.rrset.RRset | None, dns.rrset.RRset | None]:
    """Records of a name and type in an answer, and the signatures over them."""
    records = answer.get_rrset(answer.answer, name, dns.rdataclass.IN, rdtype)
    signatures = answer.get_rrset(answer.answer, name, dns.rdataclass.IN, dns.rdatatype.RRSIG, rdtype)
    return records, signatures


def reachable(servers: Iterable[tuple[NameServer, int | DnsError]]) -> tuple[tuple[NameServer, int | DnsError], ...]:
    """Leave out addresses of a family that this host has no network for, where the server has another address.

    Args:
        servers: with the serial of the zone there, or with why there is none.
    """
    servers = tuple(servers)
    fine = {server.name for server, serial in servers if not isinstance(serial, NoRouteError)}
    return tuple(each for each in servers if not isinstance(each[1], NoRouteError) or each[0].name not in fine)
