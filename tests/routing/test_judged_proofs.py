"""Unsigned routes of live lookups count only as far as their onion MXes prove themselves, to the real prover."""

from pathlib import Path

import pytest

from onionmx.answer import Answer, CouldNotTell, Found, NoRoute
from onionmx.authenticate.demand.authorities import Authorities
from onionmx.authenticate.demand.policy_lookup import PolicyAnswer
from onionmx.authenticate.demand.remember import RememberedPolicyLookup
from onionmx.authenticate.proof.guard import Guard
from onionmx.config import Configuration, MapSection
from onionmx.routing.judged import JudgedRoutes
from onionmx.routing.memory import Memory
from onionmx.sync.judge.proof import Proofs
from onionmx.sync.setup import configured_rules
from onionmx.target import Source, Trust
from tests.authenticate.domains import DOMAIN, MX, NOTHING, REQUIREMENT, UNKNOWN, Domains, live
from tests.authenticate.onions import OnionMxes
from tests.mapfile.maps import A, B
from tests.net.certificates import issue
from tests.probe.mx import PATIENCE, connector_of, run
from tests.relay.peer import running

CA = issue(is_ca=True)
RIGHT = issue(MX, ca=CA)


def judged(tmp_path: Path, said: PolicyAnswer, answer: Answer, mx: OnionMxes) -> Answer:
    """What counts of an answer."""
    (tmp_path / "ca.pem").write_bytes(CA.pem)
    found: list[Answer] = []

    async def resolve(_domain: str) -> Answer:
        return answer

    async def ask() -> None:
        async with running(mx):
            connector = connector_of(mx)
            authorities = Authorities(str(tmp_path / "ca.pem"))
            policy_lookup = RememberedPolicyLookup(Domains(said), lambda: 0.0)
            guard = Guard(policy_lookup, connector.connect, authorities, "client.example", PATIENCE)
            configuration = Configuration(map=MapSection(path=str(tmp_path / "map.cdb")))
            routes = JudgedRoutes(
                resolve,
                Memory.from_configuration(configuration),
                configured_rules(configuration),
                Proofs(guard.policy_lookup, guard.show),
            )
            try:
                found.append(await routes.ask(DOMAIN))
            finally:
                await routes.close()
                connector.close()
                await guard.close()
                await mx.finish()

    run(ask())
    return found[0]


def test_a_signed_route_needs_no_proof(tmp_path: Path) -> None:
    answer = Found(live(Trust.DNSSEC), ("a note",))
    assert judged(tmp_path, UNKNOWN, answer, OnionMxes()) == answer


@pytest.mark.parametrize("answer", [NoRoute(DOMAIN, "no SRV record", 300), CouldNotTell(DOMAIN, "SERVFAIL")])
def test_no_route_needs_no_proof(tmp_path: Path, answer: Answer) -> None:
    assert judged(tmp_path, UNKNOWN, answer, OnionMxes()) == answer


def test_domain_that_demands_nothing(tmp_path: Path) -> None:
    answer = Found(live())
    assert judged(tmp_path, NOTHING, answer, OnionMxes()) == answer


def test_domain_that_cannot_be_asked(tmp_path: Path) -> None:
    passed = judged(tmp_path, UNKNOWN, Found(live()), OnionMxes())
    assert isinstance(passed, CouldNotTell)
    assert "DNS is silent" in passed.reason


def test_targets_that_prove_themselves(tmp_path: Path) -> None:
    mx = OnionMxes(contexts={A: issue(MX).context(tmp_path), B: RIGHT.context(tmp_path)})
    passed = judged(tmp_path, REQUIREMENT, Found(live(Trust.UNSIGNED, Source.SRV, A, B), ("a note",)), mx)
    assert isinstance(passed, Found)
    assert passed.route.endpoints == ((B, 25),)
    assert passed.route.targets[0].priority == 1
    first, second = passed.notes
    assert first == "a note"
    assert "left out" in second


def test_nobody_proves_himself(tmp_path: Path) -> None:
    passed = judged(tmp_path, REQUIREMENT, Found(live()), OnionMxes(contexts={A: issue(MX).context(tmp_path)}))
    assert isinstance(passed, NoRoute)
    assert "mta-sts" in passed.reason
    assert passed.ttl == 300


def test_nobody_can_be_asked(tmp_path: Path) -> None:
    passed = judged(tmp_path, REQUIREMENT, Found(live()), OnionMxes(socks=0xF0))
    assert isinstance(passed, CouldNotTell)
    assert "no descriptor found" in passed.reason
