"""The command that runs when the map has changed: real programs, how they end, and when they run again."""

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from onionmx.errors import MapError
from onionmx.mapfile.write import writer_lock
from onionmx.sync import after
from onionmx.sync.after import mark_due, note_path, run_after, why_due
from tests.mapfile.maps import make_map

SHELL = "/bin/sh"


@pytest.fixture
def due(tmp_path: Path) -> Path:
    """A map whose command is due."""
    path = make_map(tmp_path / "map.cdb")
    mark_due(path)
    return path


def test_it_runs_once_after_a_change(due: Path) -> None:
    command = (SHELL, "-c", 'echo "$0" >>"$1"', "ran; echo $(id)", str(due.with_name("ran")))
    for _ in range(2):
        assert run_after(due, command) == ""
        assert due.with_name("ran").read_text() == "ran; echo $(id)\n"
        assert why_due(due) is None


def test_without_a_command_nothing_happens(due: Path) -> None:
    assert run_after(due, ()) == ""
    assert why_due(due) == ""


@pytest.mark.parametrize(
    ("script", "why"),
    [
        ("exit 3", f"{SHELL}: exit code 3"),
        ("echo >&2; echo '  first ' >&2; echo second >&2; exit 1", f"{SHELL}: exit code 1: first"),
        ("printf '\\033[31mred\\r\\377\\n' >&2; exit 1", rf"{SHELL}: exit code 1: \x1b[31mred"),
        ("echo out; exit 1", f"{SHELL}: exit code 1"),
        ("kill -9 $$", f"{SHELL}: signal 9"),
        ("cat; exit 4", f"{SHELL}: exit code 4"),
    ],
)
def test_failure_is_told_on_one_line_and_it_runs_again(
    due: Path, script: str, why: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert run_after(due, (SHELL, "-c", script)) == f"sync.after: {why}; the next sync runs it again"
    assert why_due(due) == why
    assert capfd.readouterr() == ("", "")
    mark_due(due)
    assert run_after(due, (SHELL, "-c", "exit 0")) == ""
    assert why_due(due) is None


def test_much_that_is_said_is_cut(due: Path) -> None:
    said = run_after(due, (sys.executable, "-c", "import sys; sys.exit('x' * 1_000_000)"))
    assert len(said) < len(sys.executable) + 400


@pytest.mark.parametrize(
    ("program", "why"),
    [("/nonexistent/program", "No such file or directory"), ("/etc/passwd", "Permission denied"), ("/", "Permission")],
)
def test_program_that_cannot_be_run(due: Path, program: str, why: str) -> None:
    assert f"{program} cannot be run: {why}" in run_after(due, (program,))
    assert why_due(due)


def test_one_that_does_not_end_is_ended_with_all_that_it_has_started(
    due: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(after, "TIME_LIMIT", 0.5)
    # The lock is held for as long as one of them lives.
    os.mkfifo(tmp_path / "alive")
    reading = os.open(tmp_path / "alive", os.O_RDONLY | os.O_NONBLOCK)
    script = f"exec 3>{tmp_path}/alive; sleep 1000 & wait"
    assert "has not ended within 0.5 s, and was ended" in run_after(due, (SHELL, "-c", script))
    os.set_blocking(reading, True)
    assert os.read(reading, 1) == b""  # nobody has it open
    os.close(reading)


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP, signal.SIGINT])
def test_it_ends_with_the_run(due: Path, tmp_path: Path, number: int) -> None:
    """One that goes on alone has no time limit, and the next run starts it a second time beside it."""
    os.mkfifo(tmp_path / "alive")
    script = f"exec 3>{tmp_path}/alive; echo begun >&3; sleep 1000 & wait"
    run = f"from onionmx.sync.after import *; run_after(Path({str(due)!r}), ({SHELL!r}, '-c', {script!r}))"
    # A shell has what it starts in the background ignore SIGINT.
    command = ["env", "--default-signal=TERM,HUP,INT", sys.executable, "-c", run]
    with subprocess.Popen(command, stderr=subprocess.DEVNULL) as process:
        with (tmp_path / "alive").open() as alive:
            assert alive.readline() == "begun\n"
            process.send_signal(number)
            assert alive.read() == ""  # nobody has it open
        assert process.wait() in {128 + number, -number}
    assert why_due(due) == "", "the next run has it run again"


def test_what_it_leaves_running_is_not_waited_for(due: Path, tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "end")
    script = f"(read line <{tmp_path}/end; echo late >&2) & exit 5"
    assert f"{SHELL}: exit code 5;" in run_after(due, (SHELL, "-c", script))
    (tmp_path / "end").write_text("now\n")


def test_not_while_another_process_writes_the_map(due: Path) -> None:
    with writer_lock(due):
        assert run_after(due, ("/bin/false",)) == ""
        assert why_due(due) == ""
    assert "exit code 1" in run_after(due, ("/bin/false",))


def test_it_has_no_descriptor_of_onionmx(due: Path) -> None:
    """An inherited lock would keep the next run out for as long as what it has started lives."""
    script = f"ls -l /proc/self/fd | grep {due.parent} >&2 && exit 1; exit 0"
    assert run_after(due, (SHELL, "-c", script)) == ""


def test_note_that_cannot_be_written(due: Path) -> None:
    note_path(due).unlink()
    note_path(due).mkdir()
    with pytest.raises(MapError, match=r"map\.cdb\.after cannot be written: Is a directory; the old map stays"):
        mark_due(due)
    assert run_after(due, ("/bin/false",)) == f"sync.after: {note_path(due)}: Is a directory"
