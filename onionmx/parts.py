"""Everything that is built of one configuration: each part once, when it is first asked for, and closed together."""

import asyncio
from collections.abc import AsyncGenerator, Awaitable, Callable, Iterable
from functools import cached_property
from types import TracebackType
from typing import Protocol, Self, TypeVar

from onionmx.answer import Answer, CouldNotTell
from onionmx.authenticate.demand.authorities import Authorities
from onionmx.authenticate.demand.fetch import directly, through_tor
from onionmx.authenticate.demand.policy_file import policy_file
from onionmx.authenticate.demand.policy_lookup import PolicyLookup
from onionmx.authenticate.demand.remember import RememberedPolicyLookup
from onionmx.authenticate.demand.requirement import EnforcedPolicy
from onionmx.authenticate.proof.guard import Guard
from onionmx.authenticate.proof.prove import NotProven, Proven, prove
from onionmx.config import Configuration
from onionmx.dns.bulk import ask_many
from onionmx.dns.records import RecordResolver
from onionmx.dns.srv import SrvResolver
from onionmx.onion import Endpoint
from onionmx.routing.files import RouteFiles
from onionmx.routing.judged import JudgedRoutes
from onionmx.routing.live import LiveRoutes
from onionmx.routing.memory import Memory
from onionmx.routing.router import Router
from onionmx.sync.judge.policy import Verdict
from onionmx.sync.judge.proof import Proofs
from onionmx.sync.looking import Prover
from onionmx.sync.setup import configured_rules
from onionmx.sync.state.record import DomainRecord
from onionmx.tor.resolver import resolver_connect, srv_resolver
from onionmx.tor.socks import SocksConnector


class _Closable(Protocol):
    def close(self) -> Awaitable[None] | None: ...


C = TypeVar("C", bound=_Closable)


class Parts:
    """The parts of a program. Belongs to one event loop.

    Args:
        configuration: what they are like.
        to_write: else what live lookups find out is not remembered.
        may_release: domains that the relay has released have no route.
    """

    def __init__(self, configuration: Configuration, *, to_write: bool = True, may_release: bool = True) -> None:
        self.configuration = configuration
        self._to_write = to_write
        self._may_release = may_release
        self._made: list[_Closable] = []

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        await self.close()

    async def close(self) -> None:
        """End what is under way, and close all parts, the one made last first."""
        while self._made:
            closing = self._made.pop().close()
            if closing is not None:
                await closing

    @cached_property
    def socks(self) -> SocksConnector:
        """Connections to onion MXes."""
        tor = self.configuration.tor
        return self._kept(SocksConnector(tor.socks, tor.connect_timeout, tor.user))

    @cached_property
    def authorities(self) -> Authorities:
        """Those that vouch for onion MXes.

        Raises:
            ConfigurationError: their file cannot be used.
        """
        return Authorities(self.configuration.authenticate.ca_file)

    @cached_property
    def resolver(self) -> SrvResolver:
        """Asks DNS for onion-MX records.

        Raises:
            ConfigurationError: there is no resolver, or no way to ask it.
        """
        return self._kept(srv_resolver(self.configuration.dns, self.configuration.tor))

    def ask_many(self, domains: Iterable[str]) -> AsyncGenerator[Answer, None]:
        """Ask DNS for onion-MX records of very many domains; see `onionmx.dns.bulk.ask_many`.

        Raises:
            ConfigurationError: there is no resolver, or no way to ask it.
        """
        return ask_many(domains, self.configuration.dns, self.resolver.ask)

    @cached_property
    def guard(self) -> Guard | None:
        """Has onion MXes prove themselves for live lookups; `None` where nothing has to be proven.

        Raises:
            ConfigurationError: there is no resolver, no way to ask it, or the file of authorities cannot be used.
        """
        settings = self.configuration.authenticate
        if settings.mode == "off":
            return None
        policy_lookup = RememberedPolicyLookup(self._new_policy_lookup())
        hello = self.configuration.relay.ehlo_name
        return self._kept(Guard(policy_lookup, self.socks.connect, self.authorities, hello, settings.timeout))

    @property
    def policy_lookup(self) -> RememberedPolicyLookup | None:
        """Finds out what domains demand; `None` where routes are not asked in DNS, or nothing has to be proven."""
        return self.guard.policy_lookup if self.configuration.lookup.live and self.guard else None

    @cached_property
    def router(self) -> Router:
        """Says where mail goes: the same for relay, lookups and `onionmx lookup`.

        Raises:
            ConfigurationError: there is no resolver, or no way to ask it, or the file of `sync.trust_of` has mistakes.
        """
        files = RouteFiles.from_configuration(self.configuration, may_release=self._may_release)
        if not self.configuration.lookup.live:
            return self._kept(Router(files, None))
        memory = Memory.from_configuration(self.configuration, to_write=self._to_write)
        proofs = Proofs(self.guard.policy_lookup, self.guard.show) if self.guard else None
        judged = JudgedRoutes(self.resolver.ask, memory, configured_rules(self.configuration), proofs)
        return self._kept(Router(files, LiveRoutes(judged.ask, self.configuration.lookup), judged))

    @cached_property
    def prover(self) -> Prover:
        """Has onion MXes prove themselves for sync; what that takes is made when a domain first needs it."""
        return _WhenNeeded(lambda: self._proofs)

    def keep_policies(self) -> None:
        """Take over the MTA-STS policies that an earlier run knew, and keep those of this one; for daemons."""
        if self.policy_lookup:
            self.policy_lookup.keep_in(policy_file(self.configuration))

    def inherit(self, former: "Parts") -> None:
        """Take over what was found out with another configuration."""
        self.router.inherit(former.router)
        if self.policy_lookup and former.policy_lookup:
            self.policy_lookup.inherit(former.policy_lookup)

    @cached_property
    def _proofs(self) -> Proofs:
        settings = self.configuration.authenticate
        hello = self.configuration.relay.ehlo_name
        turn = asyncio.Semaphore(settings.concurrency)

        async def show(
            requirement: EnforcedPolicy, endpoints: tuple[Endpoint, ...]
        ) -> Proven | NotProven | CouldNotTell:
            async with turn:  # one for each domain, however many onion MXes it has
                connect, timeout = self.socks.connect, settings.timeout
                return await prove(requirement, endpoints, connect, self.authorities, hello=hello, timeout=timeout)

        return Proofs(self._kept(self._new_policy_lookup()), show)

    def _new_policy_lookup(self) -> PolicyLookup:
        settings, dns, tor = self.configuration.authenticate, self.configuration.dns, self.configuration.tor
        questions = RecordResolver(dns, resolver_connect(dns, tor))
        if settings.fetch == "direct":
            return PolicyLookup(settings, questions, directly(questions))
        connector = self._kept(SocksConnector(settings.socks or tor.socks, settings.timeout, tor.user))
        return PolicyLookup(settings, questions, through_tor(connector))

    def _kept(self, part: C) -> C:
        self._made.append(part)
        return part


class _WhenNeeded:
    """See `onionmx.sync.looking.Prover`."""

    def __init__(self, proofs: Callable[[], Proofs]) -> None:
        self._proofs = proofs

    async def look(self, record: DomainRecord, now: float) -> Verdict:
        return await self._proofs().look(record, now)
