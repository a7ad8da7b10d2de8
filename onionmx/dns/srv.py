"""Asking for onion-MX records through dnspython's asyncio resolver.

No question for the address of a target is ever asked: targets are onions, and their names are for Tor alone
(RFC 7686 section 2).
"""

from collections.abc import Callable
from ipaddress import ip_address
from random import Random
from socket import gethostname

import dns.asyncresolver
import dns.exception
import dns.flags
import dns.message
import dns.name
import dns.nameserver
import dns.resolver

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.config import DnsSection, parse_nameserver
from onionmx.dns.response import Alias, Nothing, read_response, read_targets
from onionmx.domain import MAX_SRV_DOMAIN_LENGTH, SRV_PREFIX
from onionmx.errors import ConfigurationError, DnsError, OnionError
from onionmx.onion import DEFAULT_PORT, SUFFIX, parse_onion
from onionmx.target import Route, Source, Target, Trust, order

_MAX_ALIASES = 8  # as many as unbound and BIND follow, about; a loop is found by this too
_UDP_PAYLOAD = 1232  # bytes, the size that DNS flag day 2020 settled on
_ATTEMPTS = 3  # of a question at one resolver within the time for it


def chance_for(domain: str) -> Random:
    """The source of chance for the order of a domain's targets.

    It is the same at each run on one host, so that a map does not change while DNS does not, and another on other
    hosts, so that the load is spread as the weights say.
    """
    return Random(f"{gethostname()} {domain}")  # noqa: S311 -- load sharing, not a secret


class SrvResolver:
    """Asks the configured resolvers for onion-MX records.

    Args:
        settings: resolvers and timeouts.
        chance: gives the source of chance for the order of a domain's targets.

    Raises:
        ConfigurationError: no resolver is configured, here or in /etc/resolv.conf.
    """

    def __init__(self, settings: DnsSection, chance: Callable[[str], Random] = chance_for) -> None:
        self._settings = settings
        self._chance = chance
        try:
            self._resolver = dns.asyncresolver.Resolver(configure=not settings.nameservers)
        except (dns.resolver.NoResolverConfiguration, OSError) as error:
            raise ConfigurationError(
                "no resolver: /etc/resolv.conf cannot be read, and dns.nameservers is empty"
            ) from error
        if settings.nameservers:
            self._resolver.nameservers = [
                dns.nameserver.Do53Nameserver(host, port) for host, port in map(parse_nameserver, settings.nameservers)
            ]
        self._resolver.timeout = settings.timeout / _ATTEMPTS
        self._resolver.lifetime = settings.timeout
        # AD in a question asks for AD in the answer without the weight of the signatures (RFC 6840 section 5.7).
        self._resolver.flags = dns.flags.RD | dns.flags.AD
        self._resolver.use_edns(0, 0, _UDP_PAYLOAD)

    async def ask(self, domain: str) -> Answer:
        """Find the onion MXes of a domain.

        Args:
            domain: in normal form. One that is itself an onion leads to itself, without a question.
        """
        if domain.endswith(SUFFIX):
            return _own_route(domain)
        if len(domain) > MAX_SRV_DOMAIN_LENGTH:
            return NoRoute(domain, f"{len(domain)} characters leave no room for {SRV_PREFIX[:-1]} before it")
        try:
            return await self._follow(domain)
        except DnsError as error:
            return CouldNotTell(domain, f"{SRV_PREFIX}{domain}: {error}")

    async def _follow(self, domain: str) -> Answer:
        name = dns.name.from_text(f"{SRV_PREFIX}{domain}.")
        secure = True
        ttl = None
        for _ in range(_MAX_ALIASES):
            response, validated = await self._exchange(name)
            secure = secure and validated
            result = read_response(response)
            ttl = result.ttl if ttl is None else min(ttl, result.ttl)
            if isinstance(result, Nothing):
                return NoRoute(domain, result.reason, ttl)
            if isinstance(result, Alias):
                name = result.name
                continue
            targets, notes = read_targets(result.rrset)
            return _answer(domain, order(targets, self._chance(domain)), notes, ttl, secure=secure)
        raise DnsError(f"more than {_MAX_ALIASES} aliases in a row")

    async def _exchange(self, name: dns.name.Name) -> tuple[dns.message.Message, bool]:
        """The response to a question, and whether a validating resolver on loopback vouches for it."""
        try:
            answer = await self._resolver.resolve(name, "SRV", raise_on_no_answer=False, search=False)
        except dns.resolver.NXDOMAIN as error:
            response: dns.message.Message = error.kwargs["responses"][name]
            return response, False
        except dns.resolver.LifetimeTimeout as error:
            raise DnsError(f"no valid answer within {self._settings.timeout:g} s{_causes(error)}") from error
        except dns.resolver.NoNameservers as error:
            raise DnsError(f"no resolver could answer{_causes(error)}") from error
        except dns.exception.DNSException as error:
            raise DnsError(f"{type(error).__name__}: {error}") from error
        validated = bool(answer.response.flags & dns.flags.AD) and _is_loopback(answer.nameserver)
        return answer.response, validated


def _own_route(domain: str) -> Answer:
    try:
        target = Target(parse_onion(domain), DEFAULT_PORT)
    except OnionError as error:
        return NoRoute(domain, str(error))
    return Found(Route(domain, (target,), Source.ONION, Trust.PINNED))


def _answer(domain: str, targets: tuple[Target, ...], notes: list[str], ttl: int | None, *, secure: bool) -> Answer:
    if not targets:
        return NoRoute(domain, "no target that can be used", ttl, tuple(notes))
    trust = Trust.DNSSEC if secure else Trust.UNSIGNED
    return Found(Route(domain, targets, Source.SRV, trust, ttl), tuple(notes))


def _is_loopback(address: str | None) -> bool:
    """Whether the path to the resolver is inside this machine, so that nobody can set AD on the way."""
    try:
        return address is not None and ip_address(address).is_loopback
    except ValueError:
        return False


def _causes(error: dns.resolver.LifetimeTimeout | dns.resolver.NoNameservers) -> str:
    """The last thing that went wrong at each resolver."""
    causes = {}
    for server, tcp, _port, cause, _response in error.kwargs.get("errors", ()):
        where = server.removeprefix("Do53:").replace("@", " port ") + (" over TCP" if tcp else "")
        if isinstance(cause, dns.exception.Timeout):
            causes[server] = f"{where}: no answer"
        elif isinstance(cause, str):
            causes[server] = f"{where}: answered {cause}"
        else:
            causes[server] = f"{where}: {str(cause).rstrip('.') or type(cause).__name__}"
    return "; " + "; ".join(causes.values()) if causes else ""
