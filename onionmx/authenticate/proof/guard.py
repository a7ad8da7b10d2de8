"""What it takes to find out, for a lookup, what a domain demands of its MX, and whether its onion MXes have it."""

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.authorities import Authorities
from onionmx.authenticate.demand.remember import RememberedPolicyLookup
from onionmx.authenticate.demand.requirement import EnforcedPolicy
from onionmx.authenticate.proof.prove import Connect, NotProven, Proven, prove
from onionmx.onion import Endpoint


class Guard:
    """Asks domains what they demand, and onion MXes for it.

    Args:
        policy_lookup: finds out what domains demand; closed with this.
        connect: opens connections to onions.
        authorities: who may vouch for a certificate.
        hello: the name for EHLO.
        timeout: seconds for each reply of an onion MX.
    """

    def __init__(
        self,
        policy_lookup: RememberedPolicyLookup,
        connect: Connect,
        authorities: Authorities,
        hello: str,
        timeout: float,
    ) -> None:
        self.policy_lookup = policy_lookup
        self._connect = connect
        self._authorities = authorities
        self._hello = hello
        self._timeout = timeout

    async def show(
        self, requirement: EnforcedPolicy, endpoints: tuple[Endpoint, ...]
    ) -> Proven | NotProven | CouldNotTell:
        """Have the onion MXes of a domain show what it demands; those that do not are left out.

        Args:
            endpoints: of its onion MXes.
        """
        return await prove(
            requirement, endpoints, self._connect, self._authorities, hello=self._hello, timeout=self._timeout
        )

    async def close(self) -> None:
        """End all questions."""
        await self.policy_lookup.close()
