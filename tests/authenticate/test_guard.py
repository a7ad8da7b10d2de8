"""Live routes: what domains demand is remembered, and unsigned routes pass only as far as they are proven."""

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.authenticate.guard import Guard
from onionmx.authenticate.inquiry import Said
from onionmx.authenticate.remember import REMEMBERED, RememberedInquiry
from onionmx.authenticate.requirement import Requirement
from onionmx.authenticate.stream import Authorities
from onionmx.config import AuthenticateSection, Configuration
from onionmx.target import Source, Trust
from tests.authenticate.domains import DOMAIN, MX, NOTHING, REQUIREMENT, UNKNOWN, Domains, live
from tests.authenticate.onions import OnionMxes
from tests.mapfile.maps import A, B
from tests.probe.certificates import issue
from tests.probe.mx import PATIENCE, connector_of, run
from tests.relay.peer import running

CA = issue(is_ca=True)
RIGHT = issue(MX, ca=CA)


class TestMemory:
    def asked(self, *said: Said, times: int = 1, at: tuple[float, ...] = (0.0,)) -> tuple[Domains, list[Said]]:
        """Ask several times at once, at each of these moments."""
        domains = Domains(*said)
        results: list[Said] = []

        async def ask() -> None:
            now = 0.0
            inquiry = RememberedInquiry(domains, lambda: now)
            for moment in at:
                now = moment
                results.extend(await asyncio.gather(*(inquiry.requirement_of(DOMAIN) for _ in range(times))))
            await inquiry.close()

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
        assert "example.org: its MTA-STS policy stands, and was not fetched again: blocked" in caplog.text

    def test_who_could_not_be_asked_is_left_alone_for_a_while(self) -> None:
        domains, results = self.asked(UNKNOWN, REQUIREMENT, at=(0.0, 59.0, 61.0))
        assert results == [UNKNOWN, UNKNOWN, REQUIREMENT]
        assert len(domains.known) == 2

    def test_memory_is_bounded_and_inherited(self) -> None:
        async def ask() -> None:
            said = [Requirement(str(number), REQUIREMENT.demand, 100.0, 1e10) for number in range(REMEMBERED + 1)]
            first = RememberedInquiry(Domains(*said), lambda: 0.0)
            for number in range(REMEMBERED + 1):
                await first.requirement_of(str(number))
            heirs_domains = Domains(NOTHING)
            heir = RememberedInquiry(heirs_domains, lambda: 0.0)
            heir.inherit(first)
            assert await heir.requirement_of("1") == said[1]
            assert await heir.requirement_of("0") == NOTHING
            assert heirs_domains.known == [None]

        asyncio.run(ask())

    def test_who_is_cancelled_leaves_the_question_to_the_others(self) -> None:
        async def ask() -> None:
            inquiry = RememberedInquiry(Domains(REQUIREMENT), lambda: 0.0)
            hasty = asyncio.create_task(inquiry.requirement_of(DOMAIN))
            patient = asyncio.create_task(inquiry.requirement_of(DOMAIN))
            await asyncio.sleep(0)
            hasty.cancel()
            assert await patient == REQUIREMENT

        asyncio.run(ask())


def guarded(tmp_path: Path, said: Said, answer: Answer, mx: OnionMxes) -> Answer:
    """What passes."""
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    found: list[Answer] = []

    async def resolve(_domain: str) -> Answer:
        return answer

    async def ask() -> None:
        async with running(mx):
            connector = connector_of(mx)
            authorities = Authorities(str(tmp_path / "ca.pem"))
            inquiry = RememberedInquiry(Domains(said), lambda: 0.0)
            guard = Guard(inquiry, connector.connect, authorities, "client.example", PATIENCE)
            try:
                found.append(await guard.guarding(resolve)(DOMAIN))
            finally:
                connector.close()
                await guard.close()
                await mx.finish()

    run(ask())
    return found[0]


@pytest.mark.parametrize(
    "answer",
    [
        Found(live(Trust.DNSSEC)),
        Found(live(Trust.PINNED, Source.ONION)),
        NoRoute(DOMAIN, "no SRV record"),
        CouldNotTell(DOMAIN, "SERVFAIL"),
    ],
)
def test_answers_that_need_no_proof(tmp_path: Path, answer: Answer) -> None:
    assert guarded(tmp_path, UNKNOWN, answer, OnionMxes()) is answer


def test_domain_that_demands_nothing(tmp_path: Path) -> None:
    answer = Found(live())
    assert guarded(tmp_path, NOTHING, answer, OnionMxes()) is answer


def test_domain_that_cannot_be_asked(tmp_path: Path) -> None:
    passed = guarded(tmp_path, UNKNOWN, Found(live()), OnionMxes())
    assert isinstance(passed, CouldNotTell)
    assert "DNS is silent" in passed.reason


def test_targets_that_prove_themselves(tmp_path: Path) -> None:
    mx = OnionMxes(contexts={A: issue(MX).context(tmp_path), B: RIGHT.context(tmp_path)})
    passed = guarded(tmp_path, REQUIREMENT, Found(live(Trust.UNSIGNED, Source.SRV, A, B), ("a note",)), mx)
    assert isinstance(passed, Found)
    assert passed.route.endpoints == ((B, 25),)
    assert passed.route.targets[0].priority == 1
    first, second = passed.notes
    assert first == "a note"
    assert second.startswith(f"left out: {A}: no authority vouches")


def test_nobody_proves_himself(tmp_path: Path) -> None:
    passed = guarded(tmp_path, REQUIREMENT, Found(live()), OnionMxes(contexts={A: issue(MX).context(tmp_path)}))
    assert isinstance(passed, NoRoute)
    assert "no onion MX proves itself by mta-sts" in passed.reason
    assert passed.ttl == 300


def test_nobody_can_be_asked(tmp_path: Path) -> None:
    passed = guarded(tmp_path, REQUIREMENT, Found(live()), OnionMxes(socks=0xF0))
    assert isinstance(passed, CouldNotTell)
    assert "no descriptor found" in passed.reason


def test_nothing_is_guarded_where_it_is_off() -> None:
    assert Guard.from_configuration(Configuration(authenticate=AuthenticateSection(mode="off"))) is None
