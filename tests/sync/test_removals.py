"""What must not leave the map, or lose its demand, because lists, state or DNS were lost."""

from pathlib import Path

import pytest

from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind
from onionmx.authenticate.proof.published import PublishedDemands
from onionmx.mapfile.cdb import DEFERS
from onionmx.sync.judge.policy import MIN_FAILURES
from onionmx.sync.run import RunOptions
from tests.mapfile.maps import A, B, make_map
from tests.sync.world import DAY, HOUR, START, Demanding, Silent, World, found, unknown

REQUIREMENT = EnforcedPolicy("a.example", Demand(Kind.MTA_STS, ("mx.example",)), START + DAY, START + 400 * DAY)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def deferring(world: World) -> None:
    """Forty domains whose mail waits, as it cannot be told what they demand."""
    world.lists = [f"{number}.example" for number in range(40)]
    world.answers = {name: found(name, A) for name in world.lists}
    world.prover = Silent()
    world.run()
    assert world.entries == dict.fromkeys(world.lists, DEFERS)


def test_an_emptied_list_sends_no_waiting_mail_to_the_open_internet(world: World) -> None:
    deferring(world)
    world.lists = []
    world.pass_time(DAY)
    assert world.run().held == 40
    assert set(world.entries.values()) == {DEFERS}


def test_waiting_mail_that_is_held_back_waits_for_two_days_at_most(world: World) -> None:
    deferring(world)
    world.lists = []
    world.pass_time(DAY)
    world.run()
    world.pass_time(DAY - HOUR)
    assert world.run().held == 40
    world.pass_time(HOUR)
    assert world.run().held == 0
    assert world.entries == {}


def test_waiting_mail_whose_time_is_over_is_never_held_back(world: World) -> None:
    deferring(world)
    world.pass_time(2 * DAY)
    assert world.run().held == 0
    assert world.entries == {}


def test_held_back_waiting_mail_goes_where_the_operator_says_so(world: World) -> None:
    deferring(world)
    world.lists = []
    world.run()
    assert world.run(RunOptions(accept_removal=True)).held == 0
    assert world.entries == {}


def test_a_lost_state_loses_no_demand(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.prover = Demanding(world.lists, [A], REQUIREMENT.to_text())
    world.run()
    (world.folder / "state.sqlite").unlink()
    # Anyone who keeps the policy from being read would have the mail delivered without a certificate.
    world.prover = Silent()
    world.run()
    demands = PublishedDemands(world.map)
    assert world.entries == {"a.example": ((A, 25),)}
    assert demands.get("a.example") == REQUIREMENT.demand
    demands.close()


def test_a_captured_onion_is_asked_for_the_demand_of_the_map(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.prover = prover = Demanding(world.lists, [A], REQUIREMENT.to_text())
    world.run()
    (world.folder / "state.sqlite").unlink()
    prover.onions = set()
    world.run()
    # One failed look is no end, and the demand that was met stays.
    assert world.entries == {"a.example": ((A, 25),)}
    assert world.record("a.example").doubt
    demands = PublishedDemands(world.map)
    assert demands.get("a.example") == REQUIREMENT.demand
    demands.close()


def test_an_older_map_without_demands_is_taken_over(world: World) -> None:
    make_map(world.map, {"a.example": ((A, 25),)})
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.run()
    assert world.entries == {"a.example": ((A, 25),)}
    assert world.record("a.example").proof is None


def test_silence_about_a_domain_that_was_never_routed_blocks_no_later_record(world: World) -> None:
    world.lists = ["a.example", "other.example"]
    world.answers = {"a.example": found("a.example", B), "other.example": found("other.example", A)}
    world.prover = Demanding(["a.example"], [A], REQUIREMENT.to_text())
    world.run()
    assert set(world.entries) == {"other.example"}
    world.answers["a.example"] = unknown("a.example")
    for _ in range(MIN_FAILURES + 32):
        world.pass_time(DAY)
        world.run()
    record = world.record("a.example")
    assert (record.established, record.former, record.removal) == (None, None, None)
    world.answers["a.example"] = found("a.example", A)
    world.pass_time(2 * DAY)
    world.run()
    assert world.entries["a.example"] == ((A, 25),)
