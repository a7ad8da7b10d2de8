"""Questions for TXT, MX, TLSA and address records, in dnspython's asyncio resolver."""

from dataclasses import dataclass

import dns.exception
import dns.message
import dns.name
import dns.rdata
import dns.rrset

from onionmx.config import DnsSection
from onionmx.dns.resolver import DnsResolver
from onionmx.dns.response import Nothing, read_chain
from onionmx.dns.stream import Connect
from onionmx.errors import DnsError

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
        settings: resolvers and timeouts.
        connect: opens connections through Tor; must be given where `dns.through_tor` is set.

    Raises:
        ConfigurationError: no resolver is configured, or the CAs cannot be read.
    """

    def __init__(self, settings: DnsSection, connect: Connect | None = None) -> None:
        self._resolver = DnsResolver(settings, connect)

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
            found = await self._resolver.follow(dns.name.from_text(f"{name}."), kind, read_chain)
        except DnsError as error:
            raise DnsError(f"{name} {kind}: {error}") from error
        except dns.exception.DNSException as error:  # the name itself
            raise DnsError(f"{name} {kind}: {type(error).__name__}") from error
        ttl = min(found.ttl, _LONGEST)
        if isinstance(found.result, Nothing):
            return DnsAnswer((), ttl, found.is_secure, _text(_end_of_aliases(found.response)))
        return DnsAnswer(tuple(found.result.rrset), ttl, found.is_secure, _text(found.result.rrset.name))

    def close(self) -> None:
        """Close the connections to resolvers that stay open."""
        self._resolver.close()


def _end_of_aliases(response: dns.message.Message) -> dns.name.Name:
    assert isinstance(response, dns.message.QueryMessage)  # noqa: S101 -- `read_chain` has looked
    return response.resolve_chaining().canonical_name


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
