"""The queue of the MTA; real ones are asked by `tests/e2e/test_status.py`, here are those that go wrong."""

import asyncio
import os
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.errors import TemporaryError
from onionmx.status.look import queue
from onionmx.status.look.queue import _messages, look_at_queue
from onionmx.status.model import QueueStatus


@pytest.fixture
def programs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The only folder where programs are looked for."""
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setattr("onionmx.doctor.command._PATHS", ())
    return tmp_path


def put(programs: Path, name: str, script: str) -> None:
    path = programs / name
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def look() -> QueueStatus:
    return asyncio.run(look_at_queue())


def test_host_without_an_mta(programs: Path) -> None:
    assert os.listdir(programs) == []  # noqa: PTH208 -- nothing is there
    assert look() == QueueStatus(why="neither Postfix nor Exim is installed here")


def test_number_of_messages(programs: Path) -> None:
    put(programs, "exim4", '[ "$*" = -bpc ] && echo 12')
    assert look() == QueueStatus(mta="Exim", waiting=12)
    put(programs, "postqueue", """[ "$*" = -j ] && echo '{"queue_id": "A"}' && echo '{"queue_id": "B"}'""")
    assert look() == QueueStatus(mta="Postfix", waiting=2)


@pytest.mark.parametrize(
    ("name", "script", "words"),
    [
        ("exim", "echo 'exim: permission denied' >&2; exit 1", "exim -bpc failed: exim: permission denied"),
        ("exim", "echo -3", "said '-3': expected a number"),
        ("exim", "echo", "said '': expected a number"),
        ("postqueue", "echo 'postqueue: fatal: mail system is down' >&2; exit 69", "mail system is down"),
        ("postqueue", "exit 1", "postqueue -j failed: exit code 1"),
        ("postqueue", "echo -Queue ID-", "something else than messages"),
        ("postqueue", "head -c 2000000 /dev/zero", "something else than messages"),
        ("postqueue", "head -c 2000000 /dev/zero | tr '\\0' x >&2; exit 69", "postqueue -j failed: x{100}"),
    ],
)
def test_what_cannot_be_read_is_not_an_empty_queue(programs: Path, name: str, script: str, words: str) -> None:
    put(programs, name, f"PATH=/usr/bin:/bin\n{script}")
    with pytest.raises(TemporaryError, match=words):
        look()


@given(st.lists(st.sampled_from([b'{"queue_id": "A"}', b"{}", b'{"x": "{"}'])), st.integers(1, 7))
def test_messages_are_counted_however_they_come(lines: list[bytes], size: int) -> None:
    async def run(text: bytes) -> int | None:
        reader = asyncio.StreamReader()
        reader.feed_data(text)
        reader.feed_eof()
        return await _messages(reader)

    text = b"".join(line + b"\n" for line in lines)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(queue, "_CHUNK", size)
        assert asyncio.run(run(text)) == len(lines)
        assert asyncio.run(run(text + b"-- 5 Kbytes")) is None
