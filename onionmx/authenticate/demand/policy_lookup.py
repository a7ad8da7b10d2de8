"""What a domain demands of its MX: DANE first, then MTA-STS (RFC 8461 section 2), then what the operator wants."""

import asyncio
import time
from typing import Protocol

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.authorities import Authorities
from onionmx.authenticate.demand.dane import dane_requirement, mx_hosts
from onionmx.authenticate.demand.fetch import Connect, fetch_policy
from onionmx.authenticate.demand.policy import Policy
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind, NotRequired
from onionmx.authenticate.demand.sts import sts_requirement
from onionmx.clock import Clock
from onionmx.config.authenticate import AuthenticateSection
from onionmx.dns.records import RecordResolver
from onionmx.domain import Domain
from onionmx.errors import DnsError
from onionmx.isolation import OneFailedError, one_of_many

PolicyAnswer = EnforcedPolicy | NotRequired | CouldNotTell
"""The three answers to "does this domain demand that its MX proves itself?"."""


class AsksPolicy(Protocol):
    """Asks domains what they demand; see `PolicyLookup`."""

    async def requirement_of(self, domain: Domain, known: EnforcedPolicy | None = None) -> PolicyAnswer:
        """Find out what a domain demands of its MX."""


class PolicyLookup:
    """Asks domains what they demand.

    Args:
        settings: what is wanted, and how policies are fetched.
        questions: asks DNS; closed with this.
        connect: opens connections to policy hosts.

    Raises:
        ConfigurationError: the file of authorities cannot be used.
    """

    def __init__(
        self,
        settings: AuthenticateSection,
        questions: RecordResolver,
        connect: Connect,
        clock: Clock = time.time,
    ) -> None:
        self._settings = settings
        self._questions = questions
        self._connect = connect
        self._clock = clock
        self._context = Authorities(settings.ca_file).https
        self._turn = asyncio.Semaphore(settings.concurrency)

    async def requirement_of(self, domain: Domain, known: EnforcedPolicy | None = None) -> PolicyAnswer:
        """Find out whether a domain demands that its MX proves itself.

        Args:
            known: what was found before, whenever that was; a policy is kept for as long as it says.
        """
        try:
            with one_of_many(domain):
                return await self._ask(domain, known)
        except OneFailedError as error:
            return CouldNotTell(domain, str(error))

    def close(self) -> None:
        """End all attempts, and the connections to resolvers."""
        self._questions.close()

    async def _ask(self, domain: str, known: EnforcedPolicy | None) -> PolicyAnswer:
        now = self._clock()
        dane = await dane_requirement(domain, self._questions, now)
        if not isinstance(dane, NotRequired):
            # A DANE record that cannot be read is not made good by MTA-STS (RFC 8461 section 2).
            return dane
        sts = await sts_requirement(domain, self._questions, self._fetch, known, now)
        if not isinstance(sts, NotRequired):
            return sts
        look_at = min(dane.look_at, sts.look_at)
        if self._settings.mode == "always":
            return await self._by_name(domain, look_at)
        return NotRequired(domain, f"{dane.reason}; {sts.reason}", look_at)

    async def _fetch(self, domain: str) -> Policy | None:
        async with self._turn:
            return await fetch_policy(domain, self._connect, self._context, self._settings.timeout)

    async def _by_name(self, domain: str, look_at: float) -> PolicyAnswer:
        """A certificate for the domain's own name, or for those of its MX where DNSSEC vouches for them."""
        names = [domain]
        if self._questions.can_validate:
            try:
                answer = await self._questions.ask(domain, "MX")
            except DnsError as error:
                return CouldNotTell(domain, f"names of its MX: {error}")
            names += mx_hosts(domain, answer) if answer.is_secure else []
        unique = tuple(dict.fromkeys(names))
        return EnforcedPolicy(domain, Demand(Kind.NAME, unique, server_name=unique[-1]), look_at, look_at)
