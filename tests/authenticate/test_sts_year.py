"""A year of a domain with MTA-STS, hour by hour, with an attacker who hides what he can."""

import asyncio
from collections import Counter
from dataclasses import replace
from pathlib import Path
from typing import Any, cast

import dns.rdata
import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.authenticate.demand.fetch import FetchError
from onionmx.authenticate.demand.policy import Mode, Policy
from onionmx.authenticate.demand.policy_lookup import PolicyAnswer
from onionmx.authenticate.demand.remember import RememberedPolicyLookup
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind, NotRequired
from onionmx.authenticate.demand.sts import refresh_at, sts_requirement
from onionmx.dns.records import DnsAnswer, RecordResolver
from onionmx.errors import DnsError

DOMAIN = "example.org"
START = 1_700_000_000.0
HOUR = 3600.0
DAY = 24 * HOUR
YEAR = 365 * DAY
TTL = 3600
TXT = dns.rdata.from_text("IN", "TXT", '"v=STSv1; id=1;"')


class World:
    """The domain and its attacker.

    Args:
        max_age: of the policy, in seconds.
        hidden: seconds since the start between which the TXT record is hidden.
        blocked: between which the policy host cannot be reached.
        denies: the record is denied while it is hidden; else DNS fails.
    """

    def __init__(
        self, max_age: float, hidden: tuple[float, float], blocked: tuple[float, float] = (0, 0), *, denies: bool = True
    ) -> None:
        self.now = START
        self.policy = Policy(Mode.ENFORCE, ("mx.example.org",), int(max_age))
        self.fetched: list[float] = []
        self._hidden = hidden
        self._blocked = blocked
        self._denies = denies

    async def ask(self, name: str, _kind: str) -> DnsAnswer:
        if not self._is_within(self._hidden):
            return DnsAnswer((TXT,), TTL, is_secure=False, name=name)
        if self._denies:
            return DnsAnswer((), TTL, is_secure=False, name=name)
        raise DnsError("no answer")

    async def fetch(self, _domain: str) -> Policy:
        if self._is_within(self._blocked):
            raise FetchError("blocked")
        self.fetched.append(self.now)
        return self.policy

    def _is_within(self, window: tuple[float, float]) -> bool:
        start, end = window
        return start <= self.now - START < end

    def live(self, seconds: float, step: float = HOUR) -> list[PolicyAnswer]:
        """Look when it is time to, at steps as of a timer; what was found out at each look."""

        async def run() -> list[PolicyAnswer]:
            found: list[PolicyAnswer] = []
            known: EnforcedPolicy | None = None
            look_at = 0.0
            while self.now < START + seconds:
                if self.now >= look_at:
                    said = await sts_requirement(DOMAIN, cast("RecordResolver", self), self.fetch, known, self.now)
                    known = (
                        said if isinstance(said, EnforcedPolicy) else None if isinstance(said, NotRequired) else known
                    )
                    look_at = getattr(said, "look_at", 0.0)
                    found.append(said)
                self.now += step
            return found

        return asyncio.run(run())


@pytest.mark.parametrize("days", [1, 2, 7, 31, 365])
@pytest.mark.parametrize("denies", [True, False])
def test_hiding_the_record_for_26_hours_at_the_end_frees_nobody(days: int, denies: bool) -> None:  # noqa: FBT001
    hidden = (days * DAY - 26 * HOUR, days * DAY) if days > 1 else (2 * DAY - 26 * HOUR, 2 * DAY)
    world = World(days * DAY, hidden, denies=denies)
    assert all(isinstance(said, EnforcedPolicy) for said in world.live(YEAR + 3 * DAY))
    least = (YEAR + 3 * DAY) / (DAY + 2 * HOUR)
    assert least <= len(world.fetched) <= 3 * least, "about once a day, and twice for one that holds only a day"


class Asking:
    """The domain as live lookups ask it."""

    def __init__(self, world: World) -> None:
        self._world = world

    async def requirement_of(self, domain: str, known: EnforcedPolicy | None = None) -> PolicyAnswer:
        return await sts_requirement(
            domain, cast("RecordResolver", self._world), self._world.fetch, known, self._world.now
        )

    def close(self) -> None:
        """Nothing is open."""


@pytest.mark.parametrize("days", [2, 365])
def test_nor_in_live_lookups_of_daemons_that_are_restarted_every_week(tmp_path: Path, days: int) -> None:
    world = World(days * DAY, (days * DAY - 26 * HOUR, days * DAY))

    async def week() -> None:
        policy_lookup = RememberedPolicyLookup(Asking(world), lambda: world.now)
        policy_lookup.keep_in(tmp_path / "policies")
        end = world.now + 7 * DAY
        while world.now < end:
            assert isinstance(await policy_lookup.requirement_of(DOMAIN), EnforcedPolicy), (world.now - START) / DAY
            world.now += HOUR
        await policy_lookup.close()

    while world.now < START + YEAR + 3 * DAY:
        asyncio.run(week())
    assert len(world.fetched) > 300


@given(st.floats(0, 40), st.sampled_from([3, 7, 31, 365]), st.integers(0, 20))
def test_neither_does_hiding_record_and_host(begin: float, days: int, jitter: int) -> None:
    window = (begin * DAY + HOUR, begin * DAY + 27 * HOUR)
    world = World(days * DAY, window, window)
    world.now += jitter
    found = world.live(45 * DAY)
    assert all(isinstance(said, EnforcedPolicy) for said in found)


def test_hiding_both_for_all_of_its_time_ends_a_policy_and_not_earlier() -> None:
    hidden = (10 * DAY, 100 * DAY)
    world = World(7 * DAY, hidden, hidden)
    found: dict[type[Any], list[float]] = {}
    for day in range(1, 40):
        world = World(7 * DAY, hidden, hidden)
        said = world.live(day * DAY)[-1]
        found.setdefault(type(said), []).append(day)
    assert min(found[NotRequired]) > 10 + 7
    assert max(found[EnforcedPolicy]) >= 10 + 6


def test_a_million_domains_are_not_fetched_at_one_moment() -> None:
    known = EnforcedPolicy(DOMAIN, Demand(Kind.MTA_STS, ("mx.example.org",)), 0, START + YEAR, "1", START)
    moments = [refresh_at(replace(known, domain=f"d{number}.example")) - START for number in range(20_000)]
    assert 0.75 * DAY <= min(moments) < max(moments) <= DAY
    minutes = Counter(int(moment / 60) for moment in moments)
    assert max(minutes.values()) < 20_000 / 360 * 2
    # And the next time they are spread anew.
    again = [replace(known, domain=f"d{n}.example", fetched=START + moment) for n, moment in enumerate(moments)]
    minutes = Counter(int((refresh_at(each) - START) / 60) for each in again)
    assert max(minutes.values()) < 20_000 / 360 * 2
