"""Asking for onion-MX records: plainly first, through dnspython's asyncio resolver where that is not enough.

No question for the address of a target is ever asked: targets are onions, and their names are for Tor alone
(RFC 7686 section 2).
"""

from collections.abc import Callable, Iterable
from random import Random
from socket import gethostname

import dns.name

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute, Unroutable
from onionmx.config import DnsSection
from onionmx.dns.resolver import DnsResolver
from onionmx.dns.response import Nothing, Record, read_response, read_targets
from onionmx.dns.stream import Connect
from onionmx.dns.wire import ask_for, read_plain
from onionmx.domain import MAX_SRV_DOMAIN_LENGTH, SRV_PREFIX, Domain
from onionmx.errors import DnsError, OnionError
from onionmx.onion import DEFAULT_PORT, is_for_tor_alone, onion_of
from onionmx.target import Route, Source, Target, Trust, order


def chance_for(domain: str) -> Random:
    """The source of chance for the order of a domain's targets.

    It is the same at each run on one host, so that a map does not change while DNS does not, and another on other
    hosts, so that the load is spread as the weights say.
    """
    return Random(f"{gethostname()} {domain}")  # noqa: S311 -- load sharing, not a secret


class SrvResolver:
    """Asks the configured resolvers for onion-MX records.

    Args:
        connect: opens connections through Tor; must be given where `dns.through_tor` is set.
        chance: gives the source of chance for the order of a domain's targets.

    Raises:
        ConfigurationError: no resolver is configured, here or in /etc/resolv.conf, or the CAs cannot be read.
    """

    def __init__(
        self,
        settings: DnsSection,
        connect: Connect | None = None,
        chance: Callable[[str], Random] = chance_for,
    ) -> None:
        self._chance = chance
        self._resolver = DnsResolver(settings, connect)
        self._datagrams = self._resolver.ask_first_alone()

    def close(self) -> None:
        """Close the connections to resolvers that stay open."""
        self._resolver.close()

    async def ask(self, domain: Domain) -> Answer:
        """Find the onion MXes of a domain; one under .onion leads to its onion, without a question."""
        if (answer := answer_without_question(domain)) is not None:
            return answer
        try:
            return await self._ask_plainly(domain) or await self._follow(domain)
        except DnsError as error:
            return CouldNotTell(domain, f"{SRV_PREFIX}{domain}: {error}")

    async def _ask_plainly(self, domain: str) -> Answer | None:
        """Ask the first resolver once; `None` where the reply, or that there is none, needs a closer look."""
        if self._datagrams is None:
            return None
        question = ask_for(domain)
        packet = await self._datagrams.ask(question, self._resolver.timeout)
        plain = packet and read_plain(packet, question)
        if not plain:
            return None
        secure = plain.is_authentic and self._resolver.choice.are_believed
        if isinstance(plain.result, Nothing):
            return NoRoute(domain, plain.result.reason, plain.ttl, trust=_trust(secure=secure))
        return self._answer(domain, plain.result, plain.ttl, secure=secure)

    async def _follow(self, domain: str) -> Answer:
        name = dns.name.from_text(f"{SRV_PREFIX}{domain}.")
        found = await self._resolver.follow(name, "SRV", read_response)
        if isinstance(found.result, Nothing):
            return NoRoute(domain, found.result.reason, found.ttl, trust=_trust(secure=found.is_secure))
        return self._answer(domain, found.result.records, found.ttl, secure=found.is_secure)

    def _answer(self, domain: str, records: Iterable[Record], ttl: int, *, secure: bool) -> Answer:
        targets, notes = read_targets(records)
        if not targets:
            return NoRoute(domain, "no target that can be used", ttl, tuple(notes), _trust(secure=secure))
        ordered = tuple(targets) if len(targets) == 1 else order(targets, self._chance(domain))
        return Found(Route(domain, ordered, Source.SRV, _trust(secure=secure), ttl), tuple(notes))


def _trust(*, secure: bool) -> Trust:
    return Trust.DNSSEC if secure else Trust.UNSIGNED


def answer_without_question(domain: Domain) -> Answer | None:
    """The answer for a domain for which no question may or can be asked: onions, and names that are too long."""
    if is_for_tor_alone(domain):
        try:
            target = Target(onion_of(domain), DEFAULT_PORT)
        except OnionError as error:
            return Unroutable(domain, str(error))
        return Found(Route(domain, (target,), Source.ONION, Trust.PINNED))
    if len(domain) > MAX_SRV_DOMAIN_LENGTH:
        return NoRoute(domain, f"{len(domain)} characters leave no room for {SRV_PREFIX[:-1]} before it")
    return None
