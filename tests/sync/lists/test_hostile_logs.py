"""The folder of the logs is of the MTA's user: what is there holds up no run, and hides no other log."""

import gzip
import os
from io import BufferedReader, BytesIO
from pathlib import Path
from typing import cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import Configuration, MapSection, SyncSection
from onionmx.sync.lists import log_file, logs
from onionmx.sync.lists.log_file import Budget, head_of, read_from, uncompressed
from onionmx.sync.lists.recipients import opened_recipients
from tests.sync.lists.test_recipients import NOW, delivery


def run(folder: Path, now: float = NOW) -> tuple[dict[str, int], list[str]]:
    """Count the logs of a folder as a run does: what it has counted, and what it says."""
    sync = SyncSection(logs=(f"{folder}/mainlog*",))
    configuration = Configuration(map=MapSection(path=str(folder / "map.cdb")), sync=sync)
    said: list[str] = []
    with logs.read_logs(configuration, now, said.append, to_write=True) as counted:
        return {each.domain: each.recipients for each in counted.counts()}, said


@pytest.fixture(autouse=True)
def honest(tmp_path: Path) -> None:
    (tmp_path / "mainlog").write_text(delivery(1))


@pytest.mark.parametrize("kind", ["FIFO", "endless", "silent"])
def test_what_is_no_file(tmp_path: Path, kind: str) -> None:
    evil = tmp_path / "mainlog.x"
    match kind:
        case "FIFO":
            os.mkfifo(evil)
        case "endless":
            evil.symlink_to("/dev/zero")
        case _:
            evil.symlink_to("/dev/null")
    assert run(tmp_path) == ({"example.org": 1}, [f"log {evil} is left out: it is no regular file"])
    assert run(tmp_path) == ({"example.org": 1}, []), "said once"


def test_a_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "_FIRST_EXPANDED", 1 << 16)
    evil = tmp_path / "mainlog.2.gz"
    evil.write_bytes(gzip.compress(b"\n" * (8 << 20)))
    counted, said = run(tmp_path)
    assert counted == {"example.org": 1}
    assert said == [f"log {evil} cannot be read to its end: it grows to more than 200 times its size, as no log does"]
    assert run(tmp_path) == (counted, []), "said once"


def test_a_compressed_log_that_repeats_itself_is_no_bomb(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log_file, "_FIRST_EXPANDED", 1 << 16)
    lines = "".join(delivery(number % 1000) for number in range(5000)).encode()
    (tmp_path / "mainlog.2.gz").write_bytes(gzip.compress(lines))
    assert run(tmp_path) == ({"example.org": 5001}, [])


@pytest.mark.parametrize("is_compressed", [False, True])
def test_a_log_that_is_too_large_for_one_run(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    is_compressed: bool,  # noqa: FBT001
) -> None:
    """Each run goes on where the one before has ended, and each line counts once."""
    monkeypatch.setattr(logs, "MOST_READ", 4000)
    lines = "".join(delivery(number, "example.net") for number in range(100)).encode()
    log = tmp_path / "mainlog.1"
    log.write_bytes(gzip.compress(lines) if is_compressed else lines)
    before, runs = 0, 0
    while True:
        counted, said = run(tmp_path)
        assert counted["example.org"] == 1
        if not said:
            break
        assert "is larger than what is read at once: the next run goes on at byte" in said[0]
        assert counted["example.net"] > before
        before, runs = counted["example.net"], runs + 1
    assert counted["example.net"] == 100
    assert runs > 2


def test_a_line_without_an_end(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(logs, "MOST_READ", 1 << 20)
    log = tmp_path / "mainlog.1"
    with log.open("wb") as file:
        file.write(b"x\n")
        file.truncate(1 << 40)  # takes no room
    for number in (1, 2):
        counted, said = run(tmp_path)
        assert counted == {"example.org": 1}
        assert len(said) == 1
        assert int(said[0].rpartition(" ")[2]) >= number * (1 << 19)


def test_short_lines_count_as_longer_ones() -> None:
    """They take time too."""
    with opened_recipients(None, (), NOW) as counted:
        budget = Budget(log_file.MOST_READ)
        log = Path("/proc/self/status")
        lines = len(log.read_bytes().splitlines())
        counted.read_log(log, budget)
        assert log_file.MOST_READ - budget.left >= 100 * (lines - 1)


@given(st.lists(st.binary(max_size=40) | st.just(b"x" * 20_000), max_size=20), st.data())
def test_compressed_and_plain_logs_say_the_same(lines: list[bytes], data: st.DataObject) -> None:
    content = b"\n".join(lines)
    starts = [0, *(place + 1 for place, octet in enumerate(content) if octet == ord("\n"))]
    start = data.draw(st.sampled_from(starts))
    said = []
    for written in (content, gzip.compress(content)):
        if content.startswith((b"\x1f\x8b", b"BZh", b"\xfd7zXZ", b"\x28\xb5\x2f\xfd")):
            return
        with uncompressed(BufferedReader(cast("BufferedReader", BytesIO(written))), "log") as log:
            said.append((head_of(log), list(read_from(log, start, Budget(1 << 30)))))
    assert said[0] == said[1]
