"""What the relay remembers of its deliveries."""

import asyncio
from pathlib import Path

import pytest
from prometheus_client import REGISTRY

from onionmx.clock import day_of
from onionmx.relay.record import DeliveryRecord, Failure
from onionmx.smtp.reply import Reply
from onionmx.status.deliveries import MOST_FAILING, read_deliveries
from onionmx.status.model import DayCount, FailureKind
from tests.mapfile.maps import A, B

NOW = 1_800_000_000.0
HOUR = 3600.0
GONE = Failure(FailureKind.NOT_PUBLISHED, "no descriptor found")


class Clock:
    """A clock that a test sets."""

    def __init__(self) -> None:
        self.time = NOW

    def __call__(self) -> float:
        return self.time


def gauge(kind: FailureKind) -> float:
    return REGISTRY.get_sample_value("onionmx_relay_failing_destinations", {"kind": kind.value}) or 0.0


def test_what_fails_is_known_until_it_succeeds() -> None:
    clock = Clock()
    record = DeliveryRecord(clock)
    record.failed((A, 25), "one.example", GONE)
    clock.time += HOUR
    record.failed((A, 25), "two.example", Failure(FailureKind.UNREACHABLE, "circuit\x1b[31m timed out", pause=60.0))
    (found,) = record.failing()
    assert (found.onion, found.port, found.domains) == (A, 25, ("two.example", "one.example"))
    assert (found.kind, found.reason) == (FailureKind.UNREACHABLE, "circuit\\x1b[31m timed out")
    assert (found.failures, found.since, found.last, found.next_try) == (2, NOW, NOW + HOUR, NOW + HOUR + 60)
    clock.time += 61
    assert record.failing()[0].next_try is None
    record.succeeded((B, 25), "one.example")
    assert record.failing()
    record.succeeded((A, 25), "three.example")
    assert not record.failing()


def test_failures_that_are_one_count_once_and_name_all_domains() -> None:
    record = DeliveryRecord(Clock())
    for domain in ("one.example", "two.example", "three.example", "four.example"):
        is_first = domain == "one.example"
        record.failed((A, 25), domain, Failure(FailureKind.NOT_PUBLISHED, "gone", is_counted=is_first))
    (found,) = record.failing()
    assert found.failures == 1
    assert found.domains == ("four.example", "three.example", "two.example")


def test_domain_that_wants_more_than_others_fails_alone() -> None:
    record = DeliveryRecord(Clock())
    record.failed((A, 25), "strict.example", Failure(FailureKind.NOT_PROVEN, "its certificate is not for mx.strict"))
    record.failed((A, 25), "other.example", GONE)
    assert len(record.failing()) == 2
    record.succeeded((A, 25), "other.example")
    (found,) = record.failing()
    assert found.domains == ("strict.example",)
    record.succeeded((A, 25), "strict.example")
    assert not record.failing()


def test_restart_forgets_nothing_but_the_pause(tmp_path: Path) -> None:
    clock = Clock()

    async def run() -> None:
        record = DeliveryRecord(clock)
        record.keep_in(tmp_path / "deliveries")
        record.failed((A, 25), "example.org", Failure(FailureKind.REFUSED, "nothing listens", pause=600.0))
        record.answered([Reply(250, "2.0.0", ("OK",)), Reply(451, "4.4.1", ("later",)), Reply(550, "5.1.1", ("no",))])
        await record.save()
        clock.time += 1
        again = DeliveryRecord(clock)
        again.keep_in(tmp_path / "deliveries")
        (found,) = again.failing()
        assert (found.since, found.failures, found.next_try) == (NOW, 1, None)
        again.answered([Reply(250, "2.0.0", ("OK",))])
        expected = DayCount(day=day_of(NOW), delivered=2, deferred=1, refused=1)
        assert again.days() == (expected,)
        again.succeeded((A, 25), "example.org")
        await again.save()
        left = read_deliveries(tmp_path / "deliveries", NOW)
        assert left is not None
        assert not left.failing
        assert left.days == {day_of(NOW): expected}

    asyncio.run(run())


def test_reload_ends_the_pauses() -> None:
    clock = Clock()
    record = DeliveryRecord(clock)
    record.failed((A, 25), "example.org", Failure(FailureKind.REFUSED, "nothing listens", pause=600.0))
    clock.time += 1
    assert record.failing()[0].next_try == NOW + 600
    record.end_pauses()
    assert record.failing()[0].next_try is None


def test_one_who_asks_and_goes_away_loses_no_count(tmp_path: Path) -> None:
    async def run() -> None:
        record = DeliveryRecord(Clock())
        record.keep_in(tmp_path / "deliveries")
        record.answered([Reply(250, "2.0.0", ("OK",))])
        asking = asyncio.create_task(record.status(0))
        while record._counted:  # noqa: ASYNC110, SLF001 -- until it is being written
            await asyncio.sleep(0)
        asking.cancel()
        assert (await record.status(0)).days[0].delivered == 1

    asyncio.run(run())


def test_workers_know_of_each_other(tmp_path: Path) -> None:
    async def run() -> None:
        clock = Clock()
        first, second = DeliveryRecord(clock), DeliveryRecord(clock)
        for record in (first, second):
            record.keep_in(tmp_path / "deliveries", is_shared=True)
        first.failed((A, 25), "example.org", GONE)
        second.failed((B, 25), "example.org", GONE)
        first.answered([Reply(250, "2.0.0", ("OK",))] * 2)
        second.answered([Reply(250, "2.0.0", ("OK",))] * 3)
        await first.status(0)
        said = await second.status(0)
        assert {each.onion for each in said.failing} == {A, B}
        assert said.days[0].delivered == 5
        second.succeeded((A, 25), "example.org")
        await second.save()
        assert {each.onion for each in (await first.status(0)).failing} == {B}

    asyncio.run(run())


def test_file_that_cannot_be_written_loses_nothing_and_is_told(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    async def run() -> None:
        record = DeliveryRecord(Clock())
        folder = tmp_path / "state"
        folder.write_text("a file in place of the folder")
        record.keep_in(folder / "deliveries")
        record.failed((A, 25), "example.org", GONE)
        record.answered([Reply(250, "2.0.0", ("OK",))])
        for _ in range(2):
            said = await record.status(0)
            assert "cannot be written" in said.why
        assert said.failing
        assert said.days[0].delivered == 1
        assert sum("cannot be written" in line for line in caplog.messages) == 1
        folder.unlink()
        assert not (await record.status(0)).why
        kept = read_deliveries(folder / "deliveries", NOW)
        assert kept is not None
        assert kept.failing
        assert kept.days[day_of(NOW)].delivered == 1

    asyncio.run(run())


def test_strangers_do_not_fill_the_memory() -> None:
    record = DeliveryRecord(Clock())
    before = gauge(FailureKind.BROKE_OFF)
    for port in range(1, MOST_FAILING + 101):
        record.failed((A, port), "example.org", Failure(FailureKind.BROKE_OFF, "gone"))
    found = record.failing()
    assert len(found) == MOST_FAILING
    assert min(each.port for each in found) == 101
    assert gauge(FailureKind.BROKE_OFF) == before + MOST_FAILING
