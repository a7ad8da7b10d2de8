"""What all daemons have in common on the command line: where the log goes, and a configuration that cannot be used."""

import json
import os
from pathlib import Path
from subprocess import run

import pytest

from tests.cli.test_nameless_user import PROGRAM
from tests.e2e.daemon import Daemon, free_ports

DAEMONS = ("echo", "guard", "relay", "serve", "watch")


def command(name: str, configuration: Path, folder: Path) -> list[str | Path]:
    more = ["--lmtp", f"unix:{folder / 'lmtp'}"] if name == "echo" else []
    return [PROGRAM, name, "--config", configuration, *more]


@pytest.mark.parametrize("name", DAEMONS)
def test_the_log_is_as_configured_from_the_beginning(name: str, tmp_path: Path) -> None:
    relay, lmtp, lookup, guard, tor = free_ports(5)
    configuration = tmp_path / "onionmx.toml"
    configuration.write_text(
        f'[log]\nformat = "json"\n[map]\npath = "{tmp_path}/onionmx.cdb"\n'
        f'[fallback]\nreleased = "{tmp_path}/released"\n'
        f'[relay]\nsmtp_listen = ["127.0.0.1:{relay}"]\nlmtp_listen = ["127.0.0.1:{lmtp}"]\n'
        f'[serve]\nsocketmap_listen = ["127.0.0.1:{lookup}"]\ntcp_table_listen = []\nreadsocket_listen = []\n'
        f'http_listen = []\n[guard]\nlisten = ["127.0.0.1:{guard}"]\n[tor]\ncontrol = "127.0.0.1:{tor}"\n'
    )
    folders = {"RUNTIME_DIRECTORY": str(tmp_path), "STATE_DIRECTORY": str(tmp_path)}
    with Daemon(name, command(name, configuration, tmp_path), tmp_path, folders) as daemon:
        daemon.wait_for_log(r"ready")
        lines = [line for line in daemon.log_text().splitlines() if "ready (process" in line]
        assert [json.loads(line)["event"] for line in lines] == ["ready"]


@pytest.mark.parametrize("name", DAEMONS)
def test_a_configuration_that_cannot_be_read(name: str, tmp_path: Path) -> None:
    configuration = tmp_path / "onionmx.toml"
    configuration.touch(mode=0o000)
    without = [] if os.geteuid() else ["setpriv", "--bounding-set=-all", "--inh-caps=-all"]
    done = run(
        [*without, *command(name, configuration, tmp_path)], capture_output=True, text=True, check=False, timeout=120
    )
    assert (done.returncode, done.stderr) == (
        78,
        f"onionmx: configuration {configuration} cannot be read: Permission denied\n",
    )
