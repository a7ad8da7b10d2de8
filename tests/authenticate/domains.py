"""Domains that say what they demand, without being asked over any network."""

import asyncio

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.policy_lookup import PolicyAnswer
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind, NotRequired
from onionmx.target import Route, Source, Trust, targets_of
from tests.mapfile.maps import A

DOMAIN = "example.org"
MX = "mx.example.org"
DEMAND = Demand(Kind.MTA_STS, (MX,), server_name=MX)
REQUIREMENT = EnforcedPolicy(DOMAIN, DEMAND, 100.0, 1e10)
NOTHING = NotRequired(DOMAIN, "no policy", 100.0)
UNKNOWN = CouldNotTell(DOMAIN, "DNS is silent")


class Domains:
    """Says one thing after the other.

    Attributes:
        known: what was known before each question.
    """

    def __init__(self, *said: PolicyAnswer) -> None:
        self._said = list(said)
        self.known: list[EnforcedPolicy | None] = []

    async def requirement_of(self, _domain: str, known: EnforcedPolicy | None = None) -> PolicyAnswer:
        """Say the next thing."""
        await asyncio.sleep(0)
        self.known.append(known)
        return self._said.pop(0)

    def close(self) -> None:
        """Nothing is open."""


def live(trust: Trust = Trust.UNSIGNED, source: Source = Source.SRV, *onions: str) -> Route:
    """A route that DNS has told."""
    return Route(DOMAIN, targets_of([(onion, 25) for onion in onions or (A,)]), source, trust, 300)
