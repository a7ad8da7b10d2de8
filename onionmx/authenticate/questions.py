"""Questions for TXT, MX, TLSA and address records, in dnspython's asyncio resolver."""

from dataclasses import dataclass

import dns.exception
import dns.message
import dns.name
import dns.rdata
import dns.resolver
import dns.rrset

from onionmx.config import DnsSection
from onionmx.dns.resolver import MAX_ALIASES, DnsResolver, translated
from onionmx.dns.response import Alias, Nothing, read_chain
from onionmx.dns.stream import Connect
from onionmx.errors import DnsError

_SHORTEST, _LONGEST = 300, 86400  # seconds for which an answer is kept, whatever its TTL


@dataclass(frozen=True, slots=True)
class Answered:
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


class Questions:
    """Asks the configured resolvers.

    Args:
        settings: resolvers and timeouts.
        connect: opens connections through Tor; must be given where `dns.through_tor` is set.

    Raises:
        ConfigurationError: no resolver is configured, or the CAs cannot be read.
    """

    def __init__(self, settings: DnsSection, connect: Connect | None = None) -> None:
        self._settings = settings
        self._resolver = DnsResolver(settings, connect)

    @property
    def can_validate(self) -> bool:
        """Whether there is a resolver that is believed when it says that DNSSEC has validated an answer."""
        return self._resolver.choice.are_believed

    async def ask(self, name: str, kind: str) -> Answered:
        """Ask.

        Args:
            name: without the final dot.
            kind: type of the records.

        Raises:
            DnsError: it could not be found out.
        """
        try:
            return await self._follow(dns.name.from_text(f"{name}."), kind)
        except DnsError as error:
            raise DnsError(f"{name} {kind}: {error}") from error
        except dns.exception.DNSException as error:  # the name itself
            raise DnsError(f"{name} {kind}: {type(error).__name__}") from error

    def close(self) -> None:
        """Close the connections to resolvers that stay open."""
        self._resolver.close()

    async def _follow(self, name: dns.name.Name, kind: str) -> Answered:
        secure, ttl = True, _LONGEST
        for _ in range(MAX_ALIASES):
            response, validated = await self._exchange(name, kind)
            secure = secure and validated
            result = read_chain(response)
            if isinstance(result, Alias):
                name, ttl = result.name, min(ttl, result.ttl)
                continue
            if isinstance(result, Nothing):
                return Answered((), min(ttl, result.ttl), secure, _text(_end_of_aliases(response)))
            return Answered(tuple(result.rrset), min(ttl, result.ttl), secure, _text(result.rrset.name))
        raise DnsError(f"more than {MAX_ALIASES} aliases in a row")

    async def _exchange(self, name: dns.name.Name, kind: str) -> tuple[dns.message.Message, bool]:
        with translated(self._settings):
            try:
                answer = await self._resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
            except dns.resolver.NXDOMAIN as error:
                response: dns.message.Message = error.kwargs["responses"][name]
                return response, self._resolver.is_validated(response)
        return answer.response, self._resolver.is_validated(answer.response)


def _end_of_aliases(response: dns.message.Message) -> dns.name.Name:
    assert isinstance(response, dns.message.QueryMessage)  # noqa: S101 -- `read_chain` has looked
    return response.resolve_chaining().canonical_name


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
