"""Whole runs, with a real store and a real map."""

import os
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from onionmx.answer import CouldNotTell
from onionmx.authenticate.demand.policy_lookup import PolicyAnswer
from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind
from onionmx.authenticate.proof.published import PublishedDemands, demands_path
from onionmx.config import SyncSection
from onionmx.errors import ConfigurationError, DnsError, LockedError, MapError
from onionmx.mapfile.cdb import DEFERS
from onionmx.mapfile.write import last_checked, writer_lock
from onionmx.onion import Endpoint
from onionmx.sync.judge.proof import Proofs
from onionmx.sync.judge.rules import TrustPolicy
from onionmx.sync.pending import Words, settle
from onionmx.sync.report import RunResult
from onionmx.sync.run import RunOptions
from onionmx.sync.state.notes import open_routes
from onionmx.sync.state.overlay import DryRunStore
from onionmx.sync.state.record import LastAnswer
from onionmx.target import Trust
from tests.mapfile.maps import A, B, C, make_map
from tests.sync.world import DAY, HOUR, START, Demanding, Silent, World, found, none, unknown

REQUIREMENT = EnforcedPolicy("a.example", Demand(Kind.MTA_STS, ("mx.example",)), START + DAY, START + 400 * DAY)


@pytest.fixture
def world(tmp_path: Path) -> World:
    return World(tmp_path)


def test_only_what_is_new_or_due_is_asked(world: World) -> None:
    world.lists = ["a.example", "b.example"]
    world.answers["a.example"] = found("a.example", ttl=4 * 3600)
    summary = world.run()
    assert sorted(world.asked) == world.lists
    assert (summary.asked, summary.listed, summary.entries, summary.is_published) == (2, 2, 1, True)
    world.pass_time(HOUR)
    summary = world.run()
    assert world.asked == []
    assert (summary.asked, summary.listed, summary.entries, summary.is_published) == (0, 2, 1, False)
    assert summary.counts[RunResult.KEPT] == summary.counts[RunResult.WITHOUT] == 1
    world.lists.append("c.example")
    world.run()
    assert world.asked == ["c.example"]
    world.pass_time(4 * HOUR)
    world.run()
    assert world.asked == ["a.example"]
    world.pass_time(DAY)
    world.run()
    assert sorted(world.asked) == ["a.example", "b.example", "c.example"]


def test_all_of_them_when_wished(world: World) -> None:
    world.lists = ["a.example", "b.example"]
    world.run()
    world.run(RunOptions(ask_all=True))
    assert sorted(world.asked) == world.lists


def test_all_of_them_are_asked_once_however_long_it_takes(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("onionmx.sync.asking.BATCH", 10)
    monkeypatch.setattr("onionmx.sync.state.sqlite._PAGE", 20)
    world.lists = [f"{number}.example" for number in range(100)]
    world.run()
    world.pass_time(HOUR)
    world.run(RunOptions(ask_all=True))
    assert sorted(world.asked) == sorted(world.lists)


def test_a_clock_that_was_set_back_makes_everything_due(world: World) -> None:
    world.lists = ["a.example", "b.example"]
    world.answers["a.example"] = found("a.example", A)
    world.pass_time(400 * DAY)
    world.run()
    world.pass_time(-400 * DAY)
    world.run()
    assert sorted(world.asked) == world.lists
    assert world.entries == {"a.example": ((A, 25),)}
    world.pass_time(-HOUR / 2)
    world.run()
    assert world.asked == []


def test_unlisted_domains_lose_their_entry_but_not_their_memory(world: World) -> None:
    world.lists = ["a.example", "b.example"]
    world.answers = {"a.example": found("a.example", A), "b.example": found("b.example", A)}
    world.run()
    world.lists = ["b.example"]
    summary = world.run()
    assert world.asked == []
    assert world.entries == {"b.example": ((A, 25),)}
    assert [(each.domain, each.outcome) for each in summary.decisions] == [("a.example", RunResult.REMOVED)]
    assert "in no list" in summary.decisions[0].reason
    world.lists = ["a.example", "b.example"]
    world.answers["a.example"] = found("a.example", B)
    world.pass_time(DAY)
    world.run()
    assert world.entries["a.example"] == ((A, 25),)


def test_entries_of_an_older_map_are_established(world: World) -> None:
    make_map(world.map, {"a.example": ((A, 25),), "gone.example": ((A, 25),), "own.example": ((A, 25),)})
    world.lists = ["a.example", "own.example"]
    world.local = frozenset({"own.example"})
    world.answers["a.example"] = found("a.example", B)
    summary = world.run()
    assert world.entries == {"a.example": ((A, 25),)}
    assert summary.counts[RunResult.REMOVED] == 2
    assert [(each.domain, each.outcome) for each in summary.decisions] == [
        ("a.example", RunResult.WAITING),
        ("gone.example", RunResult.REMOVED),
        ("own.example", RunResult.REMOVED),
    ]
    assert world.events("a.example") == ["taken", "pending"]


def test_a_lost_state_loses_no_trust(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.run()
    (world.folder / "state.sqlite").unlink()
    world.answers["a.example"] = found("a.example", B)
    world.run()
    assert world.entries == {"a.example": ((A, 25),)}


def test_a_value_that_defers_is_no_route_that_was_lost(world: World) -> None:
    make_map(world.map, {"a.example": DEFERS, "b.example": ((A, 25),)})
    world.lists = ["a.example", "b.example", "c.example"]
    world.answers = {name: found(name, B) for name in world.lists}
    world.run()
    assert world.entries == {"a.example": ((B, 25),), "b.example": ((A, 25),), "c.example": ((B, 25),)}


def test_pins_and_local_domains_are_not_asked(world: World) -> None:
    world.lists = ["pinned.example", "never.example", "own.example", "a.example"]
    world.pins = {"pinned.example": ((B, 2525),), "never.example": (), "pinned.own.example": ((C, 25),)}
    world.local = frozenset({"own.example", "pinned.own.example"})
    world.answers = {name: found(name, A) for name in world.lists}
    world.run()
    assert world.asked == ["a.example"]
    assert world.entries == {"a.example": ((A, 25),), "pinned.example": ((B, 2525),)}
    world.pins = {}
    world.run()
    assert sorted(world.asked) == ["never.example", "pinned.example"]
    assert set(world.entries) == {"a.example", "never.example", "pinned.example"}


def test_what_a_map_would_lose_at_once_waits_and_the_rest_is_published(world: World) -> None:
    world.lists = [f"{number}.example" for number in range(40)]
    world.answers = {name: found(name, A, trust=Trust.DNSSEC) for name in world.lists}
    world.run()
    gone, changed, later = world.lists[:10], world.lists[10], world.lists[11]
    world.answers |= {name: none(name, Trust.DNSSEC) for name in gone}
    world.answers[changed] = found(changed, B, trust=Trust.DNSSEC)
    world.pass_time(2 * DAY)
    summary = world.run()
    assert summary.refusal.startswith("10 of 40 entries would go (0.example, 1.example")
    assert "5 more), more at once than sync.max_removal (20%)" in summary.refusal
    assert "--accept" in summary.refusal
    waiting = {each.domain for each in summary.decisions if each.outcome is RunResult.WAITING}
    assert (waiting, summary.held, summary.counts[RunResult.REMOVED]) == (set(gone), 10, 0)
    assert world.entries[changed] == ((B, 25),)
    assert {world.entries[name] for name in gone} == {((A, 25),)}
    # The removal of another domain does not have to wait for theirs, and theirs takes none of later runs.
    world.answers[later] = none(later, Trust.DNSSEC)
    world.pass_time(2 * DAY)
    summary = world.run()
    assert (summary.held, summary.counts[RunResult.REMOVED], later in world.entries) == (10, 1, False)
    assert all(each.outcome is not RunResult.WAITING for each in summary.decisions)
    # One comes back, the others are removed by hand.
    world.answers[gone[0]] = found(gone[0], A, trust=Trust.DNSSEC)
    world.pass_time(2 * DAY)
    assert world.run().held == 9
    assert world.run().held == 9
    summary = world.run(RunOptions(accept_removal=True))
    assert (summary.counts[RunResult.REMOVED], summary.held) == (9, 0)
    assert len(world.entries) == 30
    assert world.run().is_published is False


@pytest.mark.parametrize(("count", "lost", "is_held"), [(40, 9, False), (100, 20, False), (100, 21, True)])
def test_how_much_is_much(world: World, count: int, lost: int, is_held: bool) -> None:  # noqa: FBT001
    world.lists = [f"{number}.example" for number in range(count)]
    world.answers = {name: found(name, A) for name in world.lists}
    world.run()
    del world.lists[:lost]
    world.run()
    assert len(world.entries) == count - (0 if is_held else lost)


def test_what_is_held_back_keeps_its_demand(world: World) -> None:
    world.lists = [f"{number}.example" for number in range(40)]
    world.answers = {name: found(name, A) for name in world.lists}
    world.prover = Demanding(world.lists, [A], REQUIREMENT.to_text())
    world.run()
    del world.lists[:20]
    assert world.run().held == 20
    demands = PublishedDemands(world.map)
    assert demands.get("0.example") == REQUIREMENT.demand
    demands.close()


def accept_removals_by_name(world: World) -> None:
    """Of twelve domains at once, more than may go in one run."""
    world.lists = [f"{number}.example" for number in range(12)]
    world.answers = {name: found(name, A) for name in world.lists}
    world.run()
    world.answers = {}
    world.pass_time(2 * HOUR)
    world.run()
    with closing(world.open()) as store:
        settle(store, Words(world.lists), world.now)


def test_removals_that_were_accepted_by_name_never_wait(world: World) -> None:
    accept_removals_by_name(world)
    assert world.run(RunOptions(ask_none=True, accepted=world.lists)).held == 0
    assert world.entries == {}


def test_those_of_which_another_host_was_told_do_not_wait_either(world: World) -> None:
    accept_removals_by_name(world)
    assert world.run().held == 0
    assert world.entries == {}


def test_ends_for_want_of_a_proof_that_were_accepted_by_name_never_wait(world: World) -> None:
    world.lists = [f"{number}.example" for number in range(12)]
    world.answers = {name: found(name, A) for name in world.lists}
    world.prover = prover = Demanding(world.lists, [A], REQUIREMENT.to_text())
    world.run()
    prover.onions = set()
    world.pass_time(8 * DAY)
    world.run()
    with closing(world.open()) as store:
        settle(store, Words(world.lists), world.now)
    assert world.run(RunOptions(ask_none=True, accepted=world.lists)).held == 0
    assert world.entries == {}


def test_local_domains_and_pins_to_none_never_wait(world: World) -> None:
    world.lists = [f"{number}.example" for number in range(40)]
    world.answers = {name: found(name, A) for name in world.lists}
    world.run()
    world.local = frozenset(world.lists[:20])
    world.pins = dict.fromkeys(world.lists[20:30], ())
    assert (world.run().held, len(world.entries)) == (0, 10)


def test_an_emptied_list_empties_nothing(world: World) -> None:
    world.lists = [f"{number}.example" for number in range(40)]
    full = list(world.lists)
    world.answers = {name: found(name, A) for name in world.lists}
    world.run()
    world.lists = []
    for _ in range(3):
        assert world.run().held == 40
        assert len(world.entries) == 40
        world.pass_time(DAY)
    world.lists = full
    summary = world.run()
    assert (summary.held, summary.counts[RunResult.KEPT]) == (0, 40)


def test_every_lookup_failed_says_nothing_about_the_domains(world: World) -> None:
    world.lists = ["a.example", "b.example"]
    world.answers = {"a.example": found("a.example", A)}
    world.run()
    world.pass_time(3 * DAY)
    world.answers = {name: unknown(name) for name in world.lists}
    for _ in range(20):
        with pytest.raises(DnsError, match=r"every lookup failed \(2\), nothing was published"):
            world.run()
        world.pass_time(3 * DAY)
    assert world.record("a.example").failures == 0
    assert world.entries == {"a.example": ((A, 25),)}


def test_domains_that_always_fail_are_no_fault_of_this_host(world: World) -> None:
    world.lists = ["a.example", "lame.example"]
    world.answers = {"a.example": found("a.example", A, ttl=604800), "lame.example": unknown("lame.example")}
    assert [each.outcome for each in world.run().decisions] == [RunResult.ADDED, RunResult.UNDECIDED]
    world.pass_time(2 * HOUR)
    summary = world.run()
    assert world.asked == ["lame.example"]
    assert summary.counts[RunResult.UNDECIDED] == 1
    assert summary.decisions == ()
    assert world.record("lame.example").failures == 2


def test_failing_domains_are_asked_less_and_less(world: World) -> None:
    world.lists = ["a.example", "lame.example"]
    world.answers = {"a.example": found("a.example", A), "lame.example": unknown("lame.example")}
    asked = 0
    for _ in range(24 * 4):
        world.run()
        asked += world.asked.count("lame.example")
        world.pass_time(HOUR)
    assert 6 <= asked <= 9


def test_one_answer_is_enough_to_keep_the_failures(world: World) -> None:
    world.lists = ["a.example", "b.example", "c.example"]
    world.answers = {name: unknown(name) for name in world.lists[:2]}
    summary = world.run()
    assert summary.counts[RunResult.UNDECIDED] == 2
    assert {name: world.record(name).failures for name in world.lists} == {
        "a.example": 1,
        "b.example": 1,
        "c.example": 0,
    }


def test_stale_routes_end_and_the_history_says_so(world: World) -> None:
    world.lists = ["a.example", "b.example"]
    world.answers = {"a.example": found("a.example", A), "b.example": found("b.example", B)}
    world.run()
    world.answers["a.example"] = unknown("a.example")
    for _ in range(31):
        world.pass_time(DAY)
        assert "a.example" in world.entries
        world.run()
    world.pass_time(DAY)
    world.run()
    assert world.entries == {"b.example": ((B, 25),)}
    assert world.events("a.example") == ["taken", "expired"]


def test_beliefs_differ_by_domain(world: World) -> None:
    world.lists = ["a.example", "b.example", "c.example"]
    world.beliefs = {"a.example": TrustPolicy.DNSSEC, "b.example": TrustPolicy.ANY}
    world.answers = {name: found(name, A) for name in world.lists}
    world.run()
    assert set(world.entries) == {"b.example", "c.example"}
    world.answers = {name: found(name, B) for name in world.lists}
    world.pass_time(DAY)
    world.run()
    assert world.entries == {"b.example": ((B, 25),), "c.example": ((A, 25),)}
    world.beliefs = {"c.example": TrustPolicy.DNSSEC}
    world.run()
    assert set(world.entries) == {"b.example"}


def test_a_changed_rule_changes_the_map_without_a_question(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.run()
    world.settings = SyncSection(trust="dnssec")
    summary = world.run()
    assert world.asked == []
    assert world.entries == {}
    assert "only signed ones count" in summary.decisions[0].reason


def test_map_is_not_written_again_when_nothing_changed(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.run()
    before = world.map.stat()
    world.pass_time(DAY)
    os.utime(world.map.with_name("map.cdb.lock"), (0, 0))
    world.run()
    assert world.asked == ["a.example"]
    assert (world.map.stat().st_ino, world.map.stat().st_mtime_ns) == (before.st_ino, before.st_mtime_ns)
    assert last_checked(world.map) > before.st_mtime


def test_a_map_that_somebody_changed_is_put_right(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.run()
    make_map(world.map, {"a.example": ((B, 25),)})
    world.run()
    assert world.asked == []
    assert world.entries == {"a.example": ((A, 25),)}
    world.map.unlink()
    world.run()
    assert world.entries == {"a.example": ((A, 25),)}


def test_damaged_map_stays(world: World) -> None:
    world.map.write_bytes(b"\x7fELF" * 1000)
    world.lists = ["a.example"]
    with pytest.raises(MapError):
        world.run()
    assert world.asked == []
    assert world.map.read_bytes() == b"\x7fELF" * 1000


def test_a_list_with_a_mistake_changes_nothing(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.run()
    world.lists = ["b.example", "user@example.org"]
    with pytest.raises(ConfigurationError, match="list:2"):
        world.run()
    assert world.entries == {"a.example": ((A, 25),)}
    assert world.record("a.example").listed


def test_two_runs_on_one_map(world: World) -> None:
    with writer_lock(world.map), pytest.raises(LockedError):
        world.run()
    assert not world.map.exists()


def test_another_host_asks_and_this_one_builds_its_map(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.run()
    world.map.unlink()
    world.pass_time(DAY)
    store = world.open()
    with store.run_lock():
        summary = world.run()
    store.close()
    assert summary.is_led_elsewhere
    assert world.asked == []
    assert world.entries == {"a.example": ((A, 25),)}


def test_a_dry_run_writes_nothing(world: World) -> None:
    world.lists = ["a.example", "b.example"]
    world.answers = {"a.example": found("a.example", A), "b.example": found("b.example", A)}
    summary = world.run(RunOptions(dry_run=True), DryRunStore(None))
    assert summary.counts[RunResult.ADDED] == 2
    assert summary.is_dry_run
    assert list(world.folder.iterdir()) == []
    world.run()
    before = {path: path.read_bytes() for path in world.folder.iterdir()}
    world.lists = ["b.example"]
    world.answers["b.example"] = found("b.example", B, trust=Trust.DNSSEC)
    store = world.open()
    summary = world.run(RunOptions(dry_run=True, ask_all=True), DryRunStore(store))
    store.close()
    assert [(each.domain, each.outcome) for each in summary.decisions] == [
        ("a.example", RunResult.REMOVED),
        ("b.example", RunResult.CHANGED),
    ]
    assert {path: path.read_bytes() for path in world.folder.iterdir()} == before


def test_a_dry_run_tells_that_the_map_would_be_refused(world: World) -> None:
    world.lists = [f"{number}.example" for number in range(40)]
    world.answers = {name: found(name, A) for name in world.lists}
    world.run()
    world.lists = []
    store = world.open()
    summary = world.run(RunOptions(dry_run=True), DryRunStore(store))
    store.close()
    assert "40 of 40 entries would go" in summary.refusal
    assert len(summary.decisions) == 40


def test_an_enforced_domain_is_routed_only_with_a_proof(world: World) -> None:
    world.lists = ["a.example", "b.example"]
    world.answers = {"a.example": found("a.example", A), "b.example": found("b.example", B)}
    world.prover = prover = Demanding(world.lists, [A], REQUIREMENT.to_text())
    world.run()
    assert world.entries == {"a.example": ((A, 25),)}
    demands = PublishedDemands(world.map)
    assert demands.get("a.example") == REQUIREMENT.demand
    assert demands.get("b.example") is None
    demands.close()
    prover.onions.clear()
    for _ in range(40):
        world.pass_time(6 * HOUR)
        assert world.entries
        summary = world.run()
        if not world.entries:
            break
    assert [each.outcome for each in summary.decisions] == [RunResult.REMOVED]
    assert "certificate" in summary.decisions[0].reason
    assert "doubted" in world.events("a.example")


def test_a_signed_record_needs_no_proof(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A, trust=Trust.DNSSEC)
    world.prover = Demanding(world.lists, [], REQUIREMENT.to_text())
    world.run()
    assert world.entries == {"a.example": ((A, 25),)}


def test_no_proof_is_asked_for_when_that_is_off(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.prover = Demanding(world.lists, [], REQUIREMENT.to_text())
    world.authenticates = False
    world.run()
    assert world.entries == {"a.example": ((A, 25),)}
    assert not demands_path(world.map).exists()


def test_routes_stay_when_proofs_are_asked_for_from_now_on(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A, ttl=int(7 * DAY))
    world.authenticates = False
    for _ in range(5):
        world.run()
        world.pass_time(DAY)
    world.run()
    world.authenticates = True
    world.prover = Silent()
    world.pass_time(HOUR)
    world.settings = replace(world.settings, max_removal=0.9)
    world.lists.append("b.example")  # so that the map is looked at anew
    world.run()
    assert world.entries == {"a.example": ((A, 25),)}


def test_other_onions_wait_until_it_is_known_what_is_demanded_now(world: World) -> None:
    """An attacker who forges the record of others for days could keep the policy from being read as long."""

    class Blocked:
        async def requirement_of(self, domain: str, known: EnforcedPolicy | None = None) -> PolicyAnswer:
            del known
            return CouldNotTell(domain, "the policy host is silent")

    shown = []

    async def show(requirement: EnforcedPolicy, endpoints: tuple[Endpoint, ...]) -> CouldNotTell:
        shown.append((requirement, endpoints))
        return CouldNotTell("", "nothing is demanded that could be shown")

    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.run()
    world.prover = Proofs(Blocked(), show)
    world.answers["a.example"] = found("a.example", B)
    seen = []
    for _ in range(6 * 24):
        world.pass_time(HOUR)
        world.run()
        seen.append(world.entries.get("a.example"))
    assert list(dict.fromkeys(seen)) == [((A, 25),), DEFERS, None]
    assert seen.count(DEFERS) <= 49
    assert not shown


def test_first_seen_and_last_answer_are_remembered(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A, ttl=7200)
    world.run()
    world.pass_time(DAY)
    world.run()
    record = world.record("a.example")
    assert (record.first_seen, record.asked_at, record.ttl) == (START, START + DAY, 7200)
    assert record.answer is LastAnswer.FOUND
    assert record.established
    assert (record.established.since, record.established.last_seen) == (START, START + DAY)
    assert 7200 <= record.due_at - START - DAY <= 7920


def test_a_clock_that_was_ahead_for_some_days(world: World) -> None:
    world.lists = ["a.example", "b.example"]
    world.answers["a.example"] = found("a.example", A)
    world.pass_time(3 * DAY)
    world.run()
    world.pass_time(-3 * DAY)
    world.run()
    assert sorted(world.asked) == world.lists


def test_a_signature_that_comes_later_brings_the_route_back(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.run()
    world.settings = SyncSection(trust="dnssec")
    world.run()
    assert world.entries == {}
    world.answers["a.example"] = found("a.example", A, trust=Trust.DNSSEC)
    world.pass_time(DAY)
    world.run()
    assert world.entries == {"a.example": ((A, 25),)}


def test_a_map_built_while_another_host_changes_routes_is_built_again(world: World) -> None:
    world.lists = ["a.example"]
    world.answers["a.example"] = found("a.example", A)
    world.run()
    store = world.open()
    with store.run_lock():
        open_routes(store)
        world.run()
        record = store.get(["a.example"])["a.example"]
        assert record.established
        store.save([replace(record, established=replace(record.established, endpoints=((B, 25),)))])
        assert world.run().is_led_elsewhere
    store.close()
    assert world.entries == {"a.example": ((B, 25),)}


def test_what_stood_in_the_map_stays_while_nobody_can_tell_what_it_demands(world: World) -> None:
    make_map(world.map, {"a.example": ((A, 25),)})
    world.lists = ["a.example", "new.example"]
    world.answers = {name: found(name, A) for name in world.lists}
    world.prover = Silent()
    world.run()
    # Of the one that was never routed it cannot be told either: its mail waits, but for two days only.
    assert world.entries == {"a.example": ((A, 25),), "new.example": DEFERS}
    for _ in range(47):
        world.pass_time(HOUR)
        world.run()
        assert world.entries["new.example"] == DEFERS
    world.pass_time(HOUR)
    world.run()
    assert world.entries == {"a.example": ((A, 25),)}
