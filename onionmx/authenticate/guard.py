"""Routes that DNS tells now: those of unsigned records only as far as the domain's policy lets them pass."""

from dataclasses import replace

from onionmx.answer import Answer, Ask, CouldNotTell, Found, NoRoute
from onionmx.authenticate.inquiry import Inquiry
from onionmx.authenticate.prove import Connect, NotProven, Proven, prove
from onionmx.authenticate.remember import RememberedInquiry
from onionmx.authenticate.requirement import NotRequired, Requirement
from onionmx.authenticate.stream import Authorities
from onionmx.config import Configuration
from onionmx.target import Trust
from onionmx.tor.socks import SocksConnector


class Guard:
    """Lets routes pass.

    A route that is signed, or whose domain demands nothing, passes as it is. Otherwise each onion MX has to prove
    itself, and those that do not are left out.

    Args:
        inquiry: finds out what domains demand; closed with this.
        connect: opens connections to onions.
        authorities: who may vouch for a certificate.
        hello: the name for EHLO.
        timeout: seconds for each reply of an onion MX.
    """

    def __init__(
        self,
        inquiry: RememberedInquiry,
        connect: Connect,
        authorities: Authorities,
        hello: str,
        timeout: float,
    ) -> None:
        self.inquiry = inquiry
        self._connect = connect
        self._authorities = authorities
        self._hello = hello
        self._timeout = timeout
        self._connectors: list[SocksConnector] = []

    @classmethod
    def from_configuration(cls, configuration: Configuration) -> "Guard | None":
        """The guard that the configuration describes; `None` where nothing has to be proven.

        Raises:
            ConfigurationError: there is no resolver, no way to ask it, or the file of authorities cannot be used.
        """
        settings, tor = configuration.authenticate, configuration.tor
        if settings.mode == "off":
            return None
        authorities = Authorities(settings.ca_file)
        inquiry = RememberedInquiry(Inquiry.from_configuration(configuration))
        connector = SocksConnector(tor.socks, tor.connect_timeout, tor.user)
        guard = cls(inquiry, connector.connect, authorities, configuration.relay.ehlo_name, settings.timeout)
        guard._connectors.append(connector)
        return guard

    def guarding(self, ask: Ask) -> Ask:
        """The same answers, as far as they pass.

        Args:
            ask: finds routes in DNS.
        """

        async def guarded(domain: str) -> Answer:
            answer = await ask(domain)
            if not isinstance(answer, Found) or answer.route.trust is not Trust.UNSIGNED:
                return answer
            return await self._judge(answer)

        return guarded

    async def close(self) -> None:
        """End all questions and proofs."""
        for connector in self._connectors:
            connector.close()
        await self.inquiry.close()

    async def _judge(self, answer: Found) -> Answer:
        domain = answer.route.domain
        match await self.inquiry.requirement_of(domain):
            case NotRequired():
                return answer
            case CouldNotTell(_, reason):
                words = f"an unsigned record, and it could not be told what the domain demands of its MX: {reason}"
                return CouldNotTell(domain, words)
            case Requirement() as requirement:
                return await self._prove(answer, requirement)

    async def _prove(self, answer: Found, requirement: Requirement) -> Answer:
        route = answer.route
        proof = await prove(
            requirement,
            route.endpoints,
            self._connect,
            self._authorities,
            hello=self._hello,
            timeout=self._timeout,
        )
        match proof:
            case Proven(endpoints, _, _, left_out):
                targets = tuple(target for target in route.targets if target.endpoint in endpoints)
                notes = tuple(f"left out: {line}" for line in left_out)
                return Found(replace(route, targets=targets), answer.notes + notes)
            case NotProven(reason):
                words = f"an unsigned record, and no onion MX proves itself by {requirement.demand.kind}: {reason}"
                return NoRoute(route.domain, words, route.ttl, answer.notes)
            case CouldNotTell(_, reason):
                words = f"an unsigned record, and no onion MX could be asked for its {requirement.demand.kind} proof"
                return CouldNotTell(route.domain, f"{words}: {reason}")
