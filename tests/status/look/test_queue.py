"""The queue of the MTA; real ones are asked by `tests/e2e/test_status.py`, here are those that go wrong."""

import asyncio
import os
from pathlib import Path

import pytest

from onionmx.errors import TemporaryError
from onionmx.status.look.queue import look_at_queue
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
        ("postqueue", "head -c 2000000 /dev/zero", "a line of more than"),
    ],
)
def test_what_cannot_be_read_is_not_an_empty_queue(programs: Path, name: str, script: str, words: str) -> None:
    put(programs, name, script.replace("head", "/usr/bin/head"))
    with pytest.raises(TemporaryError, match=words):
        look()
