from pathlib import Path

import pytest
from prometheus_client.parser import text_string_to_metric_families

from onionmx.errors import DnsError, StateError
from onionmx.sync import metrics_file
from onionmx.sync.lists.outgoing import Outgoing
from onionmx.sync.metrics_file import measured, read_metrics, write_metrics
from onionmx.sync.report import RunResult, Summary

SUMMARY = Summary(
    "/map",
    listed=10,
    asked=4,
    entries=3,
    counts={RunResult.ADDED: 2, RunResult.WITHOUT: 7},
    waiting=1,
    outgoing=Outgoing(200, 50),
)


def samples(path: Path) -> dict[str, float]:
    families = list(text_string_to_metric_families(path.read_text()))
    assert all(family.documentation for family in families)
    return {
        sample.name.removeprefix("onionmx_sync_") + "".join(sample.labels.values()): sample.value
        for family in families
        for sample in family.samples
    }


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "onionmx.prom"


def test_a_run_that_did_its_work(path: Path) -> None:
    write_metrics(path, now=1000.0, seconds=2.5, exit_code=0, summary=SUMMARY)
    assert samples(path) == {
        "last_run_timestamp_seconds": 1000,
        "last_success_timestamp_seconds": 1000,
        "exit_code": 0,
        "duration_seconds": 2.5,
        "held_removals": 0,
        "map_entries": 3,
        "listed_domains": 10,
        "asked_domains": 4,
        "domainsadded": 2,
        "domainschanged": 0,
        "domainsremoved": 0,
        "domainskept": 0,
        "domainsundecided": 0,
        "domainswithout": 7,
        "waiting_changes": 1,
        "outgoing_recipients": 200,
        "outgoing_recipients_with_route": 50,
    }
    assert path.stat().st_mode & 0o777 == 0o644


def test_a_failure_keeps_the_time_of_the_last_success_and_nothing_else(path: Path) -> None:
    write_metrics(path, now=1000.25, seconds=2.5, exit_code=0, summary=SUMMARY)
    for now in (2000.0, 3000.0):
        write_metrics(path, now=now, seconds=1.0, exit_code=75)
    assert samples(path) == {
        "last_run_timestamp_seconds": 3000,
        "last_success_timestamp_seconds": 1000.25,
        "exit_code": 75,
        "duration_seconds": 1,
    }


@pytest.mark.parametrize("content", [b"", b"\xff\xfe", b"onionmx_sync_last_success_timestamp_seconds soon\n"])
def test_a_foreign_file_is_replaced(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    write_metrics(path, now=1000.0, seconds=1.0, exit_code=75)
    assert "last_success_timestamp_seconds" not in samples(path)


def test_however_a_run_ends(path: Path) -> None:
    with measured(str(path)) as measure:
        measure(SUMMARY)
    assert samples(path)["exit_code"] == 0
    with pytest.raises(DnsError), measured(str(path)):
        raise DnsError("too much")
    assert samples(path)["exit_code"] == 75


@pytest.mark.parametrize("error", [ZeroDivisionError(), MemoryError(), KeyboardInterrupt(), SystemExit(3)])
def test_a_run_that_ends_by_what_nobody_foresaw(path: Path, error: BaseException) -> None:
    with pytest.raises(type(error)), measured(str(path)):
        raise error
    assert samples(path)["exit_code"] == 75


def test_no_file_is_wanted() -> None:
    with measured("") as measure:
        measure(SUMMARY)


def test_it_cannot_be_written(tmp_path: Path) -> None:
    nowhere = str(tmp_path / "none" / "onionmx.prom")
    with pytest.raises(StateError, match=r"sync\.metrics_file .*No such file"), measured(nowhere) as measure:
        measure(SUMMARY)
    with pytest.raises(DnsError, match="too much"), measured(nowhere):
        raise DnsError("too much")


def test_the_list_of_metrics_is_whole(path: Path) -> None:
    write_metrics(path, now=1000.0, seconds=2.5, exit_code=0, summary=SUMMARY)
    described = (Path(__file__).parents[2] / "docs/sync.md").read_text()
    for family in text_string_to_metric_families(path.read_text()):
        for text in (described, metrics_file.__doc__ or ""):
            assert f"`{family.name}`" in text or f"`{family.name}{{" in text


@pytest.mark.parametrize("value", ["NaN", "+Inf", "1e400", "1.2.3"])
def test_what_sync_does_not_write_is_damage(path: Path, value: str) -> None:
    """The status page makes whole numbers and times of it."""
    path.write_text(f"onionmx_sync_waiting_changes {value}\n")
    with pytest.raises(StateError, match="is damaged"):
        read_metrics(path)
