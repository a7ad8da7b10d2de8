"""Questions for TXT, MX, TLSA and address records, in dnspython's asyncio resolver."""

from dataclasses import dataclass
from struct import Struct

import dns.exception
import dns.message
import dns.name
import dns.rdata
import dns.rdataclass
import dns.rdatatype
import dns.rrset

from onionmx.config import DnsSection
from onionmx.dns.leaving import check_name
from onionmx.dns.resolver import DnsResolver, Followed
from onionmx.dns.response import Alias, Chain, Nothing, read_chain
from onionmx.dns.stream import Connect
from onionmx.errors import DnsError

_TYPE_AND_CLASS = Struct("!2H")
_SHORTEST, _LONGEST = 300, 86400  # seconds for which an answer is kept, whatever its TTL


@dataclass(frozen=True, slots=True)
class DnsAnswer:
    """What DNS says; no records where there are none.

    Attributes:
        records: in the order of the answer.
        ttl: seconds.
        is_secure: whether DNSSEC has validated it, as far as a resolver that is believed says.
        name: at the end of aliases.
    """

    records: tuple[dns.rdata.Rdata, ...]
    ttl: int
    is_secure: bool
    name: str

    def look_at(self, now: float) -> float:
        """When to ask again, in seconds since 1970."""
        return now + min(max(self.ttl, _SHORTEST), _LONGEST)


class RecordResolver:
    """Asks the configured resolvers.

    Args:
        connect: opens connections through Tor; must be given where `dns.through_tor` is set.

    Raises:
        ConfigurationError: no resolver is configured, or the CAs cannot be read.
    """

    def __init__(self, settings: DnsSection, connect: Connect | None = None) -> None:
        self._resolver = DnsResolver(settings, connect)
        self._datagrams = self._resolver.ask_first_alone()

    @property
    def can_validate(self) -> bool:
        """Whether there is a resolver that is believed when it says that DNSSEC has validated an answer."""
        return self._resolver.choice.are_believed

    async def ask(self, name: str, kind: str) -> DnsAnswer:
        """Ask.

        Args:
            name: without the final dot.
            kind: type of the records.

        Raises:
            DnsError: it could not be found out.
        """
        try:
            wanted = dns.name.from_text(f"{name}.")
            found = await self._ask_plainly(wanted, kind) or await self._resolver.follow(wanted, kind, read_chain)
        except DnsError as error:
            raise DnsError(f"{name} {kind}: {error}") from error
        except dns.exception.DNSException as error:  # the name itself
            raise DnsError(f"{name} {kind}: {type(error).__name__}") from error
        ttl = min(found.ttl, _LONGEST)
        if isinstance(found.result, Nothing):
            return DnsAnswer((), ttl, found.is_secure, _text(_end_of_aliases(found.response)))
        return DnsAnswer(tuple(found.result.rrset), ttl, found.is_secure, _text(found.result.rrset.name))

    async def _ask_plainly(self, name: dns.name.Name, kind: str) -> Followed[Chain] | None:
        """Ask the first resolver once; `None` where the reply, or that there is none, needs a closer look.

        dnspython's resolver does the same at four times the price.
        """
        if self._datagrams is None:
            return None
        check_name(name)
        wire = name.to_wire()
        assert wire is not None  # noqa: S101 -- it is, where a file is given to write to
        question = wire + _TYPE_AND_CLASS.pack(dns.rdatatype.from_text(kind), dns.rdataclass.IN)
        packet = await self._datagrams.ask(question, self._resolver.timeout)
        try:
            response = packet and dns.message.from_wire(packet)
            if not response:
                return None
            result = read_chain(response)
        except (dns.exception.DNSException, DnsError, ValueError):
            return None
        if isinstance(result, Alias):
            return None
        return Followed(result, result.ttl, self._resolver.is_validated(response), response)

    def close(self) -> None:
        """Close the connections to resolvers that stay open."""
        self._resolver.close()


def _end_of_aliases(response: dns.message.Message) -> dns.name.Name:
    assert isinstance(response, dns.message.QueryMessage)  # noqa: S101 -- `read_chain` has looked
    return response.resolve_chaining().canonical_name


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
