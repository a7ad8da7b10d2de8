"""What it takes to find out, for a lookup, what a domain demands of its MX, and whether its onion MXes have it."""

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.authorities import Authorities
from onionmx.authenticate.demand.inquiry import Inquiry
from onionmx.authenticate.demand.remember import RememberedInquiry
from onionmx.authenticate.demand.requirement import Requirement
from onionmx.authenticate.proof.prove import Connect, NotProven, Proven, prove
from onionmx.config import Configuration
from onionmx.onion import Endpoint
from onionmx.tor.socks import SocksConnector


class Guard:
    """Asks domains what they demand, and onion MXes for it.

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

    async def show(
        self, requirement: Requirement, endpoints: tuple[Endpoint, ...]
    ) -> Proven | NotProven | CouldNotTell:
        """Have the onion MXes of a domain show what it demands; those that do not are left out.

        Args:
            requirement: of the domain.
            endpoints: of its onion MXes.
        """
        return await prove(
            requirement, endpoints, self._connect, self._authorities, hello=self._hello, timeout=self._timeout
        )

    async def close(self) -> None:
        """End all questions and proofs."""
        for connector in self._connectors:
            connector.close()
        await self.inquiry.close()
