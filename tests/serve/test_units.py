"""The units in deploy/: systemd takes them, they are as tight as the relay's, and they fit the defaults."""

import re
import subprocess
from pathlib import Path

from onionmx.config import ServeSection
from tests.e2e.programs import find_program

DEPLOY = Path(__file__).parents[2] / "deploy"
NAMES = ("onionmx-serve.socket", "onionmx-serve.service")


def analyze(*arguments: str | Path) -> str:
    command = [find_program("systemd-analyze"), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=True).stdout


def test_systemd_finds_no_mistake(tmp_path: Path) -> None:
    for name in NAMES:
        # The program is not on every machine that runs tests.
        (tmp_path / name).write_text((DEPLOY / name).read_text().replace("/usr/bin/onionmx", "/bin/true"))
    assert analyze("verify", "--man=no", *(tmp_path / name for name in NAMES)) == ""


def test_the_sockets_are_those_of_the_configuration() -> None:
    listen = re.findall("^ListenStream=(.*)$", (DEPLOY / NAMES[0]).read_text(), re.MULTILINE)
    serve = ServeSection()
    assert listen == [
        *serve.socketmap_listen,
        *serve.tcp_table_listen,
        *serve.readsocket_listen,
        *serve.http_listen,
    ]
