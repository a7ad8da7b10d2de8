"""Live routes: what domains demand is remembered. How it decides about routes is in tests/routing/test_judged.py."""

import asyncio
from dataclasses import replace

import pytest

from onionmx.authenticate.demand.policy_lookup import PolicyAnswer
from onionmx.authenticate.demand.remember import REMEMBERED, RememberedPolicyLookup
from onionmx.authenticate.demand.requirement import EnforcedPolicy
from onionmx.config import AuthenticateSection, Configuration
from onionmx.parts import Parts
from tests.authenticate.domains import DOMAIN, MX, NOTHING, REQUIREMENT, UNKNOWN, Domains
from tests.net.certificates import issue

CA = issue(is_ca=True)
RIGHT = issue(MX, ca=CA)


class TestMemory:
    def asked(
        self, *said: PolicyAnswer, times: int = 1, at: tuple[float, ...] = (0.0,)
    ) -> tuple[Domains, list[PolicyAnswer]]:
        """Ask several times at once, at each of these moments."""
        domains = Domains(*said)
        results: list[PolicyAnswer] = []

        async def ask() -> None:
            now = 0.0
            policy_lookup = RememberedPolicyLookup(domains, lambda: now)
            for moment in at:
                now = moment
                results.extend(await asyncio.gather(*(policy_lookup.requirement_of(DOMAIN) for _ in range(times))))
            await policy_lookup.close()

        asyncio.run(ask())
        return domains, results

    def test_asked_once(self) -> None:
        domains, results = self.asked(REQUIREMENT, times=5, at=(0.0, 50.0))
        assert results == [REQUIREMENT] * 10
        assert len(domains.known) == 1

    def test_asked_again_in_time_with_what_was_known(self) -> None:
        domains, results = self.asked(REQUIREMENT, UNKNOWN, NOTHING, REQUIREMENT, at=(0.0, 100.0, 160.0, 161.0))
        assert results == [REQUIREMENT, UNKNOWN, NOTHING, REQUIREMENT]
        assert domains.known == [None, REQUIREMENT, REQUIREMENT, None]

    def test_policy_that_was_not_fetched_again_is_logged_once(self, caplog: pytest.LogCaptureFixture) -> None:
        troubled = replace(REQUIREMENT, trouble="blocked")
        self.asked(REQUIREMENT, troubled, troubled, at=(0.0, 100.0, 200.0))
        assert [record.levelname for record in caplog.records] == ["WARNING"]
        assert "example.org: its MTA-STS policy holds, and was not fetched again: blocked" in caplog.text

    def test_who_could_not_be_asked_is_left_alone_for_a_while(self) -> None:
        domains, results = self.asked(UNKNOWN, REQUIREMENT, at=(0.0, 59.0, 61.0))
        assert results == [UNKNOWN, UNKNOWN, REQUIREMENT]
        assert len(domains.known) == 2

    def test_memory_is_bounded_and_inherited(self) -> None:
        async def ask() -> None:
            said = [EnforcedPolicy(str(number), REQUIREMENT.demand, 100.0, 1e10) for number in range(REMEMBERED + 1)]
            first = RememberedPolicyLookup(Domains(*said), lambda: 0.0)
            for number in range(REMEMBERED + 1):
                await first.requirement_of(str(number))
            heirs_domains = Domains(NOTHING)
            heir = RememberedPolicyLookup(heirs_domains, lambda: 0.0)
            heir.inherit(first)
            assert await heir.requirement_of("1") == said[1]
            assert await heir.requirement_of("0") == NOTHING
            assert heirs_domains.known == [None]

        asyncio.run(ask())

    def test_who_is_cancelled_leaves_the_question_to_the_others(self) -> None:
        async def ask() -> None:
            policy_lookup = RememberedPolicyLookup(Domains(REQUIREMENT), lambda: 0.0)
            hasty = asyncio.create_task(policy_lookup.requirement_of(DOMAIN))
            patient = asyncio.create_task(policy_lookup.requirement_of(DOMAIN))
            await asyncio.sleep(0)
            hasty.cancel()
            assert await patient == REQUIREMENT

        asyncio.run(ask())


def test_nothing_is_guarded_where_it_is_off() -> None:
    assert Parts(Configuration(authenticate=AuthenticateSection(mode="off"))).guard is None
