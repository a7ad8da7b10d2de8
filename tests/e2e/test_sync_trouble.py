"""What `onionmx sync` does when it is killed, when it is not alone, and when disk or state are not as it left them."""

import re
import socket
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path

import pytest

from onionmx.errors import EXIT_TEMPORARY
from tests.mapfile.maps import A, B
from tests.small_disk import with_own_mounts

from .programs import PROJECT
from .sync_host import SyncHost

NOBODY = ("127.0.0.1", 1)


@pytest.fixture
def host(tmp_path: Path) -> SyncHost:
    host = SyncHost(tmp_path / "host", NOBODY)
    host.name_domains("a.example")
    host.pins.write_text(f"a.example {A}\n")
    host.output("sync")
    assert host.entries == {"a.example": ((A, 25),)}
    host.pins.write_text(f"a.example {B}\n")
    return host


def refused(host: SyncHost) -> str:
    """What a run says that leaves the map as it was."""
    before = host.map.read_bytes()
    result = host.run("sync")
    assert (result.returncode, result.stdout) == (EXIT_TEMPORARY, "")
    assert host.map.read_bytes() == before
    assert re.fullmatch(r"onionmx: .*\n", result.stderr)
    return result.stderr


def test_two_at_once_of_which_one_is_killed(tmp_path: Path) -> None:
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as resolver:
        resolver.bind(("127.0.0.1", 0))
        resolver.settimeout(60)
        host = SyncHost(tmp_path / "host", resolver.getsockname())
        host.name_domains()
        host.pins.write_text(f"a.example {A}\n")
        host.output("sync")
        host.name_domains("b.example")
        with host.start("sync") as asking:
            assert b"_onion-mx" in resolver.recv(512)
            assert f"another process is writing {host.map}" in refused(host)
            asking.kill()
        host.name_domains()
        host.output("sync")
        assert host.entries == {"a.example": ((A, 25),)}


def test_state_of_a_newer_version(host: SyncHost) -> None:
    state = host.map.with_name("state.sqlite")
    with closing(sqlite3.connect(state)) as connection:
        connection.execute("UPDATE about SET value = '7.0.0' WHERE key = 'onionmx'")
        connection.execute("PRAGMA user_version = 99")
        connection.commit()
    before = state.read_bytes()
    assert "written by onionmx 7.0.0" in refused(host)
    assert state.read_bytes() == before


def test_damaged_state_and_what_the_message_says(host: SyncHost) -> None:
    state = host.map.with_name("state.sqlite")
    state.write_bytes(state.read_bytes()[:5000])
    message = refused(host)
    (command,) = re.findall(r"`?(mv \S+ \S+\.damaged)\b", message)
    subprocess.run(command.split(), check=True)
    host.output("sync")
    assert host.entries == {"a.example": ((B, 25),)}


def test_full_disk(tmp_path: Path) -> None:
    module = "tests.e2e.sync_on_full_disk"
    code = f"from pathlib import Path; import sys; from {module} import main; main(Path(sys.argv[1]))"
    command = [*with_own_mounts(), sys.executable, "-c", code, str(tmp_path)]
    result = subprocess.run(command, cwd=PROJECT, capture_output=True, text=True, check=False)
    assert result.returncode == 0, result.stderr
    failures = re.fullmatch(r"as it should be (\d+)\n", result.stdout)
    assert failures
    assert int(failures[1]) >= 2
