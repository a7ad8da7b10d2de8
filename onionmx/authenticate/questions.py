"""Questions for TXT, MX, TLSA and address records, in dnspython's asyncio resolver."""

from dataclasses import dataclass

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.rdata
import dns.resolver
import dns.rrset

from onionmx.config import DnsSection, Resolver
from onionmx.dns.resolver import MAX_ALIASES, is_validated, make_resolver, translated
from onionmx.dns.response import Alias, Nothing, read_chain
from onionmx.dns.stream import Connect, StreamNameserver
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
        self._all = make_resolver(settings, connect)
        # An answer of another resolver would say "insecure" of everything, and so hide what a zone demands.
        self._believed = make_resolver(settings, connect)
        self._believed.nameservers = [each for each in self._believed.nameservers if self._is_believed(each)]

    @property
    def can_validate(self) -> bool:
        """Whether there is a resolver that is believed when it says that DNSSEC has validated an answer."""
        return bool(self._believed.nameservers)

    async def ask(self, name: str, kind: str) -> Answered:
        """Ask any of the resolvers.

        Args:
            name: without the final dot.
            kind: type of the records.

        Raises:
            DnsError: it could not be found out.
        """
        return await self._ask(self._all, name, kind)

    async def ask_validating(self, name: str, kind: str) -> Answered:
        """Ask only resolvers that are believed; see `ask`."""
        return await self._ask(self._believed, name, kind)

    def close(self) -> None:
        """Close the connections to resolvers that stay open."""
        for nameserver in (*self._all.nameservers, *self._believed.nameservers):
            if isinstance(nameserver, StreamNameserver):
                nameserver.close()

    async def _ask(self, resolver: dns.asyncresolver.Resolver, name: str, kind: str) -> Answered:
        try:
            return await self._follow(resolver, dns.name.from_text(f"{name}."), kind)
        except DnsError as error:
            raise DnsError(f"{name} {kind}: {error}") from error
        except dns.exception.DNSException as error:  # the name itself
            raise DnsError(f"{name} {kind}: {type(error).__name__}") from error

    async def _follow(self, resolver: dns.asyncresolver.Resolver, name: dns.name.Name, kind: str) -> Answered:
        secure, ttl = True, _LONGEST
        for _ in range(MAX_ALIASES):
            response, validated = await self._exchange(resolver, name, kind)
            secure = secure and validated
            result = read_chain(response)
            if isinstance(result, Alias):
                name, ttl = result.name, min(ttl, result.ttl)
                continue
            if isinstance(result, Nothing):
                return Answered((), min(ttl, result.ttl), secure, _text(_end_of_aliases(response)))
            return Answered(tuple(result.rrset), min(ttl, result.ttl), secure, _text(result.rrset.name))
        raise DnsError(f"more than {MAX_ALIASES} aliases in a row")

    async def _exchange(
        self, resolver: dns.asyncresolver.Resolver, name: dns.name.Name, kind: str
    ) -> tuple[dns.message.Message, bool]:
        with translated(self._settings):
            try:
                answer = await resolver.resolve(name, kind, raise_on_no_answer=False, search=False)
            except dns.resolver.NXDOMAIN as error:
                response: dns.message.Message = error.kwargs["responses"][name]
                # Who answered is known only where all who are asked are believed.
                return response, resolver is self._believed and bool(response.flags & dns.flags.AD)
        return answer.response, is_validated(answer, self._settings)

    def _is_believed(self, nameserver: str | dns.nameserver.Nameserver) -> bool:
        if isinstance(nameserver, StreamNameserver):
            return self._settings.believes(nameserver.resolver)
        if isinstance(nameserver, str):  # of /etc/resolv.conf
            return self._settings.believes(Resolver(nameserver, self._all.port))
        assert isinstance(nameserver, dns.nameserver.Do53Nameserver)  # noqa: S101 -- make_resolver has no other kind
        return self._settings.believes(Resolver(nameserver.address, nameserver.port))


def _end_of_aliases(response: dns.message.Message) -> dns.name.Name:
    assert isinstance(response, dns.message.QueryMessage)  # noqa: S101 -- `read_chain` has looked
    return response.resolve_chaining().canonical_name


def _text(name: dns.name.Name) -> str:
    return name.to_text(omit_final_dot=True).lower()
