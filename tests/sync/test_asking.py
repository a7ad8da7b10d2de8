"""When answers are saved while a run goes on."""

import asyncio
from collections.abc import AsyncGenerator, Iterable
from pathlib import Path

import pytest

from onionmx.answer import Answer
from onionmx.sync import asking
from onionmx.sync.asking import BATCH_TIME, Asking
from tests.sync.world import START, NoDemands, World, none


def known_after(world: World, waits: Iterable[float]) -> list[int]:
    """How many domains the store knows before each answer, of which each comes so many seconds after the one before."""
    store = world.open()
    counts: list[int] = []
    now = START

    async def questions(domains: Iterable[str]) -> AsyncGenerator[Answer, None]:
        nonlocal now
        for domain, wait in zip(domains, waits, strict=False):
            counts.append(store.counts().listed)
            now += wait
            yield none(domain)

    try:
        rules_of = world.base().rules_of
        whole = Asking(store, questions, rules_of, NoDemands(), lambda: now, lambda _: None)
        asyncio.run(whole.ask(f"d{number}.example" for number in range(1000)))
        counts.append(store.counts().listed)
    finally:
        store.close()
    return counts


def test_a_slow_run_saves_from_time_to_time(tmp_path: Path) -> None:
    waits = [1, BATCH_TIME, 1, 1, BATCH_TIME, 1]
    assert known_after(World(tmp_path), waits) == [0, 0, 2, 2, 2, 5, 6]


def test_a_fast_run_saves_many_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(asking, "BATCH", 3)
    assert known_after(World(tmp_path), [0] * 7) == [0, 0, 0, 3, 3, 3, 6, 7]


def test_a_clock_that_goes_back_keeps_nothing_from_being_saved_at_the_end(tmp_path: Path) -> None:
    assert known_after(World(tmp_path), [-5000, 1, 1]) == [0, 0, 0, 3]
