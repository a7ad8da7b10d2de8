"""An unforeseen exception is no answer: an MTA or cron that asks hears 75 and one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from tests.mapfile.maps import make_map

ONIONMX = Path(sys.executable).with_name("onionmx")
COMMANDS = {
    "lookup": ["lookup", "example.org"],
    "map get": ["map", "get", "example.org"],
    "map check": ["map", "check"],
    "sync": ["sync"],
    "probe": ["probe", "example.org"],
    "explain": ["explain", "example.org"],
    "domains": ["domains", "/dev/null"],
    "doctor": ["doctor"],
    "status": ["status"],
    "serve": ["serve"],
    "relay": ["relay"],
}


def run_with(setting: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run the command in a Python in which something is wrong."""
    program = f"import sys\nfrom onionmx.cli import main\n{setting}\nsys.exit(main())"
    return subprocess.run([sys.executable, "-c", program, *arguments], capture_output=True, text=True, check=False)


CRASHES = {
    "module missing": "sys.modules['onionmx.config'] = None",
    "module half written": "import onionmx.config; del onionmx.config.Configuration",
    "no memory": "def crash(*_, **__): raise MemoryError\nimport click; click.Command.invoke = crash",
    "no Exception": "class Panic(BaseException): pass\n"
    "def crash(*_, **__): raise Panic\nimport click; click.Command.invoke = crash",
    "exit 1": "def crash(*_, **__): raise SystemExit(1)\nimport click; click.Command.invoke = crash",
    "group": "def crash(*_): raise ExceptionGroup('x', [OSError('y')])\nimport click; click.Command.invoke = crash",
}


@pytest.mark.parametrize("arguments", COMMANDS.values(), ids=list(COMMANDS))
def test_missing_module(arguments: list[str]) -> None:
    result = run_with(CRASHES["module missing"], *arguments)
    assert (result.returncode, result.stdout) == (75, "")
    assert result.stderr.startswith("onionmx: internal error: ")
    assert result.stderr.count("\n") == 1


@pytest.mark.parametrize("setting", CRASHES.values(), ids=list(CRASHES))
def test_anything_unforeseen(setting: str) -> None:
    result = run_with(setting, "lookup", "example.org")
    assert (result.returncode, result.stdout) == (75, "")
    assert result.stderr.startswith("onionmx: ")
    assert result.stderr.count("\n") == 1


def test_traceback_is_shown_on_request() -> None:
    assert "Traceback" in run_with(CRASHES["no memory"], "--debug", "lookup", "example.org").stderr
    assert (
        "Traceback" in run_with(f"import os; os.environ['ONIONMX_DEBUG'] = '1'\n{CRASHES['no memory']}", "map").stderr
    )
    assert "Traceback" not in run_with(CRASHES["no memory"], "map").stderr


def test_daemon_has_the_traceback_in_its_log(tmp_path: Path) -> None:
    setting = "import onionmx.relay.run as run\ndef crash(*_): raise ValueError('here')\n"
    setting += "import logging; logging.basicConfig(); import click; click.Command.invoke = crash"
    result = run_with(setting, "relay", "--config", str(tmp_path / "none"))
    assert result.returncode == 75
    assert "Traceback" in result.stderr


@pytest.mark.parametrize("output", ["/dev/full", "&-"])
def test_output_that_cannot_be_written(tmp_path: Path, output: str) -> None:
    path = make_map(tmp_path / "map.cdb")
    for words in (f"map get --map {path} example.org", f"map export --map {path}", "--help"):
        line = f"{ONIONMX} {words} >{output}"
        result = subprocess.run(
            ["sh", "-c", line], stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
        )
        assert result.returncode in ({75} if output == "/dev/full" else {0, 75}), line
        assert "Traceback" not in result.stderr
        assert "Exception ignored" not in result.stderr


@pytest.mark.parametrize("output", [">/dev/full 2>/dev/full", "2>/dev/full", ">/dev/full 2>&-"])
@pytest.mark.parametrize("words", ["map get --map /none example.org", "map export --map /none", "nonsense", "map get"])
def test_fault_that_cannot_be_told(words: str, output: str) -> None:
    """1 would be an answer, and is what Python makes of it."""
    assert subprocess.run(["sh", "-c", f"{ONIONMX} {words} {output}"], check=False).returncode in {64, 75}


@pytest.mark.parametrize("arguments", [["map", "export"], ["map", "get", "example.org"]])
def test_reader_that_has_gone(tmp_path: Path, arguments: list[str]) -> None:
    path = make_map(tmp_path / "map.cdb")
    reader, writer = os.pipe()
    os.close(reader)
    command = [str(ONIONMX), *arguments, "--map", str(path)]
    result = subprocess.run(command, stdout=writer, stderr=subprocess.PIPE, text=True, check=False)
    os.close(writer)
    assert result.returncode == 75
    assert result.stderr.count("\n") == 1
