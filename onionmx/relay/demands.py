"""What the relay has to check of the onion MXes of a route: what sync published, or what the domain says now."""

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.remember import RememberedPolicyLookup
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy
from onionmx.authenticate.proof.published import PublishedDemands
from onionmx.errors import DnsError
from onionmx.target import Route, Source, Trust


class Demands:
    """Finds what the domain of a route demands.

    The route has been proven when sync ran, or when it was looked up; the delivery checks it again. For a route of
    the map the demand is beside the map, for one that DNS has told the domain was asked. Other routes are the
    operator's word, or signed.

    Args:
        published: what is beside the map; `None` to check nothing.
        policy_lookup: asks domains; `None` where routes are never asked in DNS. It stays the caller's.
    """

    def __init__(self, published: PublishedDemands | None, policy_lookup: RememberedPolicyLookup | None) -> None:
        self._published = published
        self._policy_lookup = policy_lookup

    async def of(self, route: Route) -> Demand | None:
        """What the certificate of the onion MXes of a route must be like; `None` where it may be any, or none.

        Raises:
            MapError: the published demands cannot be read.
            DnsError: the domain cannot be asked.
        """
        if route.source is Source.MAP and self._published is not None:
            return self._published.get(route.domain)
        if route.source is Source.SRV and route.trust is Trust.UNSIGNED and self._policy_lookup is not None:
            said = await self._policy_lookup.requirement_of(route.domain)
            if isinstance(said, CouldNotTell):
                raise DnsError(f"it could not be told what it demands of its onion MX: {said.reason}")
            return said.demand if isinstance(said, EnforcedPolicy) else None
        return None

    def close(self) -> None:
        """Close the file."""
        if self._published is not None:
            self._published.close()
