"""One domain whose onion MXes hang, or bring up what nobody has foreseen, takes nothing from the others."""

import asyncio
from pathlib import Path
from typing import Any

import pytest
from msgspec.structs import replace

from onionmx.errors import ConfigurationError, ControlError, DomainError, OnionmxError, StateError
from onionmx.mapfile.cdb import DEFERS
from onionmx.sync import asking, looking
from onionmx.sync.judge import policy
from onionmx.sync.judge.policy import Verdict
from onionmx.sync.report import RunResult
from onionmx.sync.state.record import DomainRecord, LastAnswer, Proof
from tests.mapfile.maps import A, B
from tests.sync.world import DAY, HOUR, START, NoDemands, World, found


class Hostile(NoDemands):
    """Domains that begin with `evil` do this."""

    def __init__(self, fault: BaseException | None) -> None:
        self.fault = fault
        self.looked_at: list[str] = []

    async def look(self, record: DomainRecord, now: float) -> Verdict:
        self.looked_at.append(record.domain)
        if not record.domain.startswith("evil"):
            return await super().look(record, now)
        if self.fault:
            raise self.fault
        await asyncio.Event().wait()
        raise AssertionError("unreachable")


def world_of(folder: Path, fault: BaseException | None, evil: int = 1) -> World:
    world = World(folder)
    world.prover = Hostile(fault)
    world.lists = [*(f"evil{number}.example" for number in range(evil)), "good.example"]
    world.answers = {domain: found(domain, A) for domain in world.lists}
    return world


@pytest.mark.parametrize("fault", [ZeroDivisionError("x"), UnicodeError("x"), RecursionError("x")])
def test_a_fault_is_could_not_tell_for_its_domain(
    tmp_path: Path, fault: Exception, caplog: pytest.LogCaptureFixture
) -> None:
    world = world_of(tmp_path, fault)
    world.run()
    assert world.entries == {"good.example": ((A, 25),), "evil0.example": DEFERS}
    record = world.record("evil0.example")
    assert f"internal error, which the log describes: {type(fault).__name__}" in record.decision
    assert record.due_at == START + HOUR
    assert "evil0.example: internal error" in caplog.text
    assert "Traceback" in caplog.text


@pytest.mark.parametrize("fault", [DomainError("an answer with a name that is none"), ControlError("tor said no")])
def test_our_own_errors_about_one_domain_are_could_not_tell_for_it(tmp_path: Path, fault: OnionmxError) -> None:
    world = world_of(tmp_path, fault)
    world.run()
    assert world.entries == {"good.example": ((A, 25),), "evil0.example": DEFERS}
    assert str(fault) in world.record("evil0.example").decision


def test_a_judge_that_fails_for_one_domain(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def judge(record: DomainRecord, *rest: object) -> Verdict:
        if record.domain.startswith("evil"):
            raise OverflowError
        return policy.judge(record, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr("onionmx.sync.asking.judge", judge)
    world = world_of(tmp_path, None)
    summary = world.run()
    assert world.entries == {"good.example": ((A, 25),)}
    assert summary.count(RunResult.UNDECIDED) == 1
    assert "OverflowError" in caplog.text


@pytest.mark.parametrize("end", [MemoryError(), ConfigurationError("no resolver"), StateError("full")])
def test_what_is_no_fault_of_a_domain_ends_the_run(tmp_path: Path, end: Exception) -> None:
    world = world_of(tmp_path, end)
    with pytest.raises(type(end)):
        world.run()


def test_domains_that_hang_are_left_to_the_next_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "MOST_TIME", 3.0)
    monkeypatch.setattr(looking, "_PAUSE", 0.05)
    world = world_of(tmp_path, None, evil=20)
    summary = world.run()
    assert world.entries == {"good.example": ((A, 25),)} | dict.fromkeys(world.lists[:20], DEFERS)
    assert summary.count(RunResult.UNDECIDED) == 20
    assert all("was not known within" in each.reason for each in summary.decisions if each.domain != "good.example")
    world.pass_time(60)
    world.run()
    assert set(world.asked) == {f"evil{number}.example" for number in range(20)}


def test_more_than_can_wait(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Thousands that hang do not keep DNS from being asked for the others."""
    monkeypatch.setattr(asking, "MOST_TIME", 3.0)
    monkeypatch.setattr(asking, "BATCH", 5)
    monkeypatch.setattr(looking, "_PAUSE", 0.05)
    monkeypatch.setattr(looking, "MOST_WAITING", 10)
    monkeypatch.setattr(looking, "AT_ONCE", 3)
    world = world_of(tmp_path, None, evil=50)
    world.lists.append("z.example")
    summary = world.run()
    assert len(world.asked) == 52
    assert summary.count(RunResult.UNDECIDED) >= 50
    assert world.record("z.example").answer is LastAnswer.NONE


def test_what_is_found_out_is_saved_while_others_hang(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that is killed keeps it."""
    monkeypatch.setattr(looking, "_PAUSE", 0.01)
    world = world_of(tmp_path, None)

    async def until_saved() -> None:
        store = world.open()
        rules_of = world.base().rules_of
        run = asking.Asking(store, world.questions, rules_of, world.prover, lambda: START, lambda _: None)
        saved = asyncio.Event()
        save = store.save

        def save_and_tell(*given: Any) -> None:  # noqa: ANN401
            save(*given)
            saved.set()

        monkeypatch.setattr(store, "save", save_and_tell)
        task = asyncio.create_task(run.ask(world.lists))
        try:
            async with asyncio.timeout(120):
                await saved.wait()
            assert store.get(["good.example"])
            assert not task.done()
            assert not store.get(["evil0.example"])
        finally:
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
            store.close()

    asyncio.run(until_saved())


def test_who_has_a_proof_comes_first(tmp_path: Path) -> None:
    world = World(tmp_path)
    prover = world.prover = Hostile(None)
    world.lists = ["a.example", "b.example", "c.example"]
    world.answers = {domain: found(domain, B) for domain in world.lists}
    world.run()
    store = world.open()
    record = store.get(["c.example"])["c.example"]
    proof = Proof(((B, 25),), "mta-sts", ("mx.example",), START, START + 30 * DAY)
    store.save([replace(record, proof=proof)])
    store.close()
    world.pass_time(8 * DAY)
    prover.looked_at.clear()
    world.run()
    assert prover.looked_at[0] == "c.example"
    assert set(prover.looked_at) == set(world.lists)
