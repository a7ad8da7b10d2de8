"""A user without a passwd entry and without HOME: DynamicUser= where no NSS module knows it, and many containers."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.e2e.daemon import Daemon, free_ports
from tests.e2e.programs import find_program

UID = 54321
PROGRAM = Path(sys.executable).with_name("onionmx")


def as_nobody_known() -> list[str]:
    """Root becomes that user, and may still read files of root; others are given its number in a namespace."""
    if os.geteuid() != 0:
        command = [str(find_program("unshare")), "--user", f"--map-user={UID}"]
    else:
        command = [str(find_program("setpriv")), f"--reuid={UID}", f"--regid={UID}", "--clear-groups"]
        command += ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
    return [*command, "env", "-u", "HOME", "-u", "XDG_STATE_HOME"]


@pytest.fixture
def configuration() -> Iterator[Path]:
    relay, lmtp, lookup = free_ports(3)
    # Not below pytest's folders, where no other user can look.
    with tempfile.NamedTemporaryFile(prefix="onionmx-", suffix=".toml") as file:
        path = Path(file.name)
        path.chmod(0o644)
        path.write_text(
            f'[relay]\nsmtp_listen = ["127.0.0.1:{relay}"]\nlmtp_listen = ["127.0.0.1:{lmtp}"]\n'
            f'[serve]\nsocketmap_listen = ["127.0.0.1:{lookup}"]\ntcp_table_listen = []\nreadsocket_listen = []\n'
            "http_listen = []\n"
        )
        yield path


def test_configuration_can_be_shown(configuration: Path) -> None:
    command = [*as_nobody_known(), str(PROGRAM), "config", "--config", str(configuration)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "/var/lib/onionmx/onionmx.cdb" in done.stdout


@pytest.mark.parametrize("name", ["relay", "serve"])
def test_daemon_becomes_ready(name: str, configuration: Path, tmp_path: Path) -> None:
    folder = tmp_path / "run"  # the unit of serve has RuntimeDirectory=
    folder.mkdir()
    if os.geteuid() == 0:
        os.chown(folder, UID, UID)
    command: list[str | Path] = [*as_nobody_known(), PROGRAM, name, "--config", configuration]
    with Daemon(name, command, tmp_path, {"RUNTIME_DIRECTORY": str(folder)}) as daemon:
        daemon.wait_for_log(r"ready \(process")
        assert "Traceback" not in daemon.log_text()
