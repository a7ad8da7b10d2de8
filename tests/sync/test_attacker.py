"""An attacker who controls all unsigned DNS answers for a day.

He cannot forge a signature, and he has no key to a certificate; he can answer anything else, or see to it that no
answer comes, for signed domains too. Sync runs every hour, as cron has it.
"""

from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.answer import Answer, CouldNotTell, Found
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind
from onionmx.errors import DnsError
from onionmx.sync.judge.policy import judge
from onionmx.sync.judge.rules import Rules
from onionmx.sync.state.record import DomainRecord
from onionmx.target import Trust
from tests.mapfile.maps import A, B, C
from tests.onions import make_onion
from tests.sync.world import DAY, HOUR, START, Demanding, World, found, none, unknown

EVIL, WORSE = make_onion("evil"), make_onion("worse")
SIGNED = "signed.example"
ENFORCED = "enforced.example"
NEW_ENFORCED = "new-enforced.example"
HONEST: dict[str, Answer] = {
    SIGNED: found(SIGNED, A, trust=Trust.DNSSEC),
    "unsigned.example": found("unsigned.example", A, B),
    "short.example": found("short.example", B, ttl=60),
    "long.example": found("long.example", B, ttl=864000),
    ENFORCED: found(ENFORCED, C),
    "none.example": none("none.example"),
}
REQUIREMENT = EnforcedPolicy(ENFORCED, Demand(Kind.MTA_STS, ("mx.example",)), START + DAY, START + 400 * DAY)

Attack = Callable[[str, int], Answer]


def forge(domain: str, _hour: int) -> Answer:
    return found(domain, EVIL)


def deny(domain: str, _hour: int) -> Answer:
    return none(domain)


def block(domain: str, _hour: int) -> Answer:
    return unknown(domain)


def deny_then_forge(domain: str, hour: int) -> Answer:
    return none(domain) if hour < 12 else found(domain, EVIL)


def alternate(domain: str, hour: int) -> Answer:
    return found(domain, EVIL if hour % 2 else WORSE)


def add_himself(domain: str, _hour: int) -> Answer:
    return found(domain, EVIL, A, B, C)


def forge_with_the_longest_time(domain: str, _hour: int) -> Answer:
    return found(domain, EVIL, ttl=2**31 - 1)


def block_signed_ones(domain: str, _hour: int) -> Answer:
    return unknown(domain) if domain == SIGNED else found(domain, EVIL)


ATTACKS = [
    forge,
    deny,
    block,
    deny_then_forge,
    alternate,
    add_himself,
    forge_with_the_longest_time,
    block_signed_ones,
]


ROUTES = {domain: answer.route.endpoints for domain, answer in HONEST.items() if isinstance(answer, Found)}


def run_for(world: World, hours: int, attack: Attack | None = None, every: int = 1) -> None:
    for hour in range(0, hours, every):
        world.pass_time(every * HOUR)
        world.answers = dict(HONEST)
        for domain in world.lists:
            answer = attack(domain, hour) if attack else world.answers.get(domain, none(domain))
            if domain != SIGNED or isinstance(answer, CouldNotTell):  # a signature cannot be forged
                world.answers[domain] = answer
        try:
            world.run()
        except DnsError:
            assert attack is block
        if attack:
            assert {domain: world.entries.get(domain) for domain in ROUTES} == ROUTES
            led_away = {
                domain for domain, route in world.entries.items() if {EVIL, WORSE} & {onion for onion, _ in route}
            }
            assert led_away <= {"none.example"}  # of which no route was known, and which demands nothing


@pytest.mark.parametrize("attack", ATTACKS)
def test_no_established_route_changes_and_no_enforced_domain_is_led_away(tmp_path: Path, attack: Attack) -> None:
    world = World(tmp_path)
    world.lists = list(HONEST)
    world.prover = Demanding([ENFORCED, NEW_ENFORCED], [C], REQUIREMENT.to_text())
    run_for(world, 48, every=4)
    assert world.entries == ROUTES
    # A domain of which nothing was known before the attack; it has no onion MX of its own.
    world.lists.append(NEW_ENFORCED)
    run_for(world, 24, attack)
    run_for(world, 24 * 8, every=4)
    assert {domain: world.entries.get(domain) for domain in ROUTES} == ROUTES
    assert all(not world.record(domain).pending for domain in HONEST)


def test_a_first_record_is_believed_where_nothing_is_demanded(tmp_path: Path) -> None:
    """What trust on first use cannot do: the domain is led away, for as long as the attacker lives and some days."""
    world = World(tmp_path)
    world.lists = ["new.example"]
    world.answers["new.example"] = found("new.example", EVIL)
    world.run()
    assert world.entries == {"new.example": ((EVIL, 25),)}
    world.answers["new.example"] = none("new.example")
    for _ in range(24 * 3):
        world.pass_time(HOUR)
        world.run()
    assert world.entries == {}


forgeries = st.lists(
    st.tuples(
        st.floats(1.0, 6 * HOUR),
        st.sampled_from(
            [found("a.example", EVIL), found("a.example", EVIL, A), none("a.example"), unknown("a.example")]
        ),
    ),
    max_size=200,
)


@given(forgeries, st.sampled_from([Trust.UNSIGNED, Trust.DNSSEC]))
def test_whatever_he_says_on_one_day(drawn: list[tuple[float, Answer]], trust: Trust) -> None:
    rules = Rules()
    record = judge(DomainRecord("a.example", START), found("a.example", A, trust=trust), START, rules).record
    now = START
    for gap, answer in drawn:
        now += gap
        if now > START + DAY:
            return
        record = judge(record, answer, now, rules).record
        assert record.established
        assert record.established.endpoints == ((A, 25),)
        assert record.established.trust is trust
