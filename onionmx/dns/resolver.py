"""dnspython's asyncio resolver, asking those whom the configuration names in the way that it says."""

import ssl
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any, Generic, Protocol, TypeVar

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.resolver

from onionmx.config import DnsSection, Resolver
from onionmx.dns.choice import choose
from onionmx.dns.datagram import Datagrams
from onionmx.dns.leaving import check_name
from onionmx.dns.nameserver import PlainNameserver, noting_failures
from onionmx.dns.response import Alias, Nothing
from onionmx.dns.stream import Connect, StreamNameserver
from onionmx.dns.wire import UDP_PAYLOAD
from onionmx.errors import ConfigurationError, DnsError
from onionmx.net.tls import verifying_context

MAX_ALIASES = 8
"""In a row; as many as unbound and BIND follow, about. A loop is found by this too."""
_ATTEMPTS = 3  # of a question at one resolver within the time for it


class _Read(Protocol):
    """What a response says."""

    @property
    def ttl(self) -> int:
        """Seconds."""


R = TypeVar("R", bound=_Read)


@dataclass(frozen=True, slots=True)
class Followed(Generic[R]):
    """What is found at the end of aliases.

    Attributes:
        result: what the last response says.
        ttl: seconds, the smallest on the way.
        is_secure: whether DNSSEC has validated each step, as far as a resolver that is believed says.
        response: the last one.
    """

    result: R | Nothing
    ttl: int
    is_secure: bool
    response: dns.message.Message


class DnsResolver(dns.asyncresolver.Resolver):
    """Asks whom `choose` has chosen, for DNSSEC's verdict, and for no name that only Tor may hear.

    Args:
        connect: opens connections through Tor; must be given where `dns.through_tor` is set.

    Attributes:
        choice: who is asked, and whether they are believed.

    Raises:
        ConfigurationError: no resolver is configured, here or in /etc/resolv.conf, or the CAs cannot be read.
    """

    def __init__(self, settings: DnsSection, connect: Connect | None = None) -> None:
        if settings.through_tor and connect is None:
            raise ConfigurationError("dns.through_tor is set, and this command has no way to ask DNS through tor")
        super().__init__(configure=False)
        self._settings = settings
        self.choice = choose(settings)
        self.nameservers = [self._nameserver(each, settings, connect) for each in self.choice.resolvers]
        self.timeout = settings.timeout / _ATTEMPTS
        self.lifetime = settings.timeout
        # AD in a question asks for AD in the answer without the weight of the signatures (RFC 6840 section 5.7).
        self.flags = dns.flags.RD | dns.flags.AD
        self.use_edns(0, 0, UDP_PAYLOAD)

    async def resolve(self, *arguments: Any, **options: Any) -> dns.resolver.Answer:  # noqa: ANN401 -- dnspython's
        """Ask; see dnspython.

        Raises:
            DnsError: the name, which may come from an answer, is for Tor alone (RFC 7686 section 2); or one who is
                believed failed, as where a signature is wrong, and another says what nobody vouches for.
        """
        check_name(arguments[0])
        with noting_failures() as failures:
            try:
                answer = await super().resolve(*arguments, **options)
            except dns.resolver.NXDOMAIN as error:
                self._check(error.kwargs["responses"].values(), failures)
                raise
        self._check((answer.response,), failures)
        return answer

    def _check(self, responses: Iterable[dns.message.Message], failures: list[str]) -> None:
        is_asked = self.choice.are_believed and not (self.flags or 0) & dns.flags.CD
        if failures and is_asked and not all(map(self.is_validated, responses)):
            raise DnsError(f"{failures[0]} answered SERVFAIL, and what another says is not validated")

    async def follow(
        self, name: dns.name.Name, kind: str, read: Callable[[dns.message.Message], R | Nothing | Alias]
    ) -> Followed[R]:
        """Ask for records, and again where a response ends in an alias.

        Args:
            name: the first one.
            kind: type of the records.
            read: decides what a response says; raises `DnsError` where it says nothing that can be relied on.

        Raises:
            DnsError: it could not be found out.
        """
        secure, ttls = True, []
        for _ in range(MAX_ALIASES):
            response = await self._exchange(name, kind)
            secure = secure and self.is_validated(response)
            result = read(response)
            ttls.append(result.ttl)
            if not isinstance(result, Alias):
                return Followed(result, min(ttls), secure, response)
            name = result.name
        raise DnsError(f"more than {MAX_ALIASES} aliases in a row")

    async def _exchange(self, name: dns.name.Name, kind: str) -> dns.message.Message:
        with translated(self._settings):
            try:
                return (await self.resolve(name, kind, raise_on_no_answer=False, search=False)).response
            except dns.resolver.NXDOMAIN as error:
                response: dns.message.Message = error.kwargs["responses"][name]
                return response

    def ask_first_alone(self) -> Datagrams | None:
        """Make this ask the others first, as the first resolver is asked once already, and plainly.

        Returns:
            What asks it; `None` where that is no plain UDP. Then nothing changes.
        """
        first = self.choice.resolvers[0]
        if self._settings.through_tor or first.tls_name:
            return None
        self.lifetime -= self.timeout
        if not self.choice.are_believed:  # whose failure must be heard with the others' answers
            self.nameservers = [*self.nameservers[1:], self.nameservers[0]]
        return Datagrams(first, self.choice)

    def is_validated(self, response: dns.message.Message) -> bool:
        """Whether a resolver that is believed says that DNSSEC has validated a response."""
        return self.choice.are_believed and bool(response.flags & dns.flags.AD)

    def _nameserver(
        self, resolver: Resolver, settings: DnsSection, connect: Connect | None
    ) -> dns.nameserver.Nameserver:
        if not resolver.tls_name and not settings.through_tor:
            return PlainNameserver(resolver, self.choice)
        tls = _tls_context(settings.tls_ca_file) if resolver.tls_name else None
        return StreamNameserver(resolver, tls, connect if settings.through_tor else None, settings.timeout)

    def close(self) -> None:
        """Close the connections that stay open."""
        for nameserver in self.nameservers:
            if isinstance(nameserver, StreamNameserver):
                nameserver.close()


def causes(error: dns.resolver.LifetimeTimeout | dns.resolver.NoNameservers) -> str:
    """The last thing that went wrong at each resolver, in words, for the end of a message."""
    found = {}
    for server, tcp, _port, cause, _response in error.kwargs.get("errors", ()):
        where = server
        if server.startswith("Do53:"):
            where = server.removeprefix("Do53:").replace("@", " port ") + (" over TCP" if tcp else "")
        if isinstance(cause, dns.exception.Timeout):
            found[server] = f"{where}: no answer"
        elif isinstance(cause, str):
            found[server] = f"{where}: answered {cause}"
        else:
            found[server] = f"{where}: {str(cause).rstrip('.') or type(cause).__name__}"
    return "; " + "; ".join(found.values()) if found else ""


@contextmanager
def translated(settings: DnsSection) -> Iterator[None]:
    """Turn what goes wrong while dnspython asks into a `DnsError` that says who did not answer, and how.

    NXDOMAIN is an answer, and is for the caller to catch inside.
    """
    try:
        yield
    except dns.resolver.LifetimeTimeout as error:
        raise DnsError(f"no valid answer within {settings.timeout:g} s{causes(error)}") from error
    except dns.resolver.NoNameservers as error:
        raise DnsError(f"no resolver could answer{causes(error)}") from error
    except dns.exception.DNSException as error:
        raise DnsError(f"{type(error).__name__}: {error}") from error


def _tls_context(ca_file: str) -> ssl.SSLContext:
    context = verifying_context(ca_file, "dns.tls_ca_file")
    context.set_alpn_protocols(["dot"])
    return context
