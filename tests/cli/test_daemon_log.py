"""Daemons log as the configuration says from their first event on, not only after a reload."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

ONIONMX = Path(sys.executable).with_name("onionmx")


@contextmanager
def first_line(folder: Path, *words: str) -> Iterator[str]:
    """The first line of a daemon's log while it runs."""
    (folder / "pins").touch()
    (folder / "onionmx.toml").write_text(
        f'[log]\nformat = "json"\n[map]\npath = "{folder}/map.cdb"\n[sync]\npins = "{folder}/pins"\n'
        f'[tor]\ncontrol = "unix:{folder}/no-control"\n'
    )
    command = [str(ONIONMX), *words, "--config", f"{folder}/onionmx.toml"]
    environment = {"PATH": "/usr/bin:/bin", "XDG_STATE_HOME": str(folder)}
    with subprocess.Popen(command, stderr=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stderr is not None
        try:
            yield process.stderr.readline()
        finally:
            process.terminate()
            process.stderr.read()


def test_of_the_watch(tmp_path: Path) -> None:
    with first_line(tmp_path, "watch") as line:
        assert json.loads(line)["level"] in {"info", "error"}


def test_of_the_echo(tmp_path: Path) -> None:
    place = f"unix:{tmp_path}/lmtp"
    with first_line(tmp_path, "echo", "--memory", f"{tmp_path}/echo.json", "--lmtp", place) as line:
        assert json.loads(line)["event"] == "ready"
