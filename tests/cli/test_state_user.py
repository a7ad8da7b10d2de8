"""What root runs by hand is done by the user who owns map and state."""

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Iterator
from pathlib import Path
from sysconfig import get_path

import pytest
import rich

from onionmx import __file__ as program
from onionmx.cli.state_user import become_owner
from tests.net.stranger import root_only
from tests.onions import V3_ONION

ONIONMX = Path(sys.executable).with_name("onionmx")
OWNER = 65533
"""Nobody of this machine."""

pytestmark = root_only


@pytest.fixture
def state() -> Iterator[Path]:
    """A folder of map and state that belongs to another user; the configuration is beside it."""
    # pytest's own folders are searched by nobody but who runs the tests.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield _state(Path(name))


def _state(tmp_path: Path) -> Path:
    folder = tmp_path / "state"
    folder.mkdir()
    (tmp_path / "pins").write_text("example.org none\n")
    (tmp_path / "onionmx.toml").write_text(
        f'[map]\npath = "{folder}/map.cdb"\n[sync]\npins = "{tmp_path}/pins"\n[dns]\nnameservers = ["127.0.0.1:9"]\n'
    )
    os.chown(folder, OWNER, OWNER)
    return folder


def onionmx(state: Path, *words: str | Path, code: int = 0, given: str = "") -> str:
    environment = {**os.environ, "ONIONMX_CONFIG": str(state.parent / "onionmx.toml")}
    done = subprocess.run([ONIONMX, *words], env=environment, capture_output=True, text=True, input=given, check=False)
    assert done.returncode == code, done.stderr
    return done.stderr


def test_sync_of_root_leaves_no_file_that_the_owner_cannot_write(state: Path) -> None:
    onionmx(state, "sync")
    onionmx(state, "sync", "--status")
    onionmx(state, "explain", "example.org")
    onionmx(state, "map", "import", "-", given=f"example.net {V3_ONION}\n")
    assert {path.stat().st_uid for path in state.iterdir()} == {OWNER}
    assert (state / "map.cdb").stat().st_mode & 0o777 == 0o644


def test_command_after_a_change_and_exports_are_the_owners(state: Path) -> None:
    with (state.parent / "onionmx.toml").open("a") as file:
        file.write(f'[[map.exports]]\npath = "{state}/domains.txt"\n')
    text = (state.parent / "onionmx.toml").read_text()
    command = f"grep -E '^(Uid|Groups|Cap...)' /proc/self/status >{state}/ran"
    (state.parent / "onionmx.toml").write_text(
        text.replace("[sync]", f"""[sync]\nafter = ["/bin/sh", "-c", "{command}"]""")
    )
    for words, given in ((("sync",), ""), (("map", "import", "-"), f"example.net {V3_ONION}\n")):
        onionmx(state, *words, given=given)
        said = dict(line.split(":\t", 1) for line in (state / "ran").read_text().splitlines())
        assert set(said.pop("Uid").split()) == {str(OWNER)}
        assert "0" not in said.pop("Groups").split()
        said.pop("CapBnd")
        assert {int(value, 16) for value in said.values()} == {0}
        (state / "ran").unlink()
    assert (state / "domains.txt").read_text() == "example.net\n"
    assert {path.stat().st_uid for path in state.iterdir()} == {OWNER}


def test_owner_of_the_state_cannot_make_root_write_elsewhere(state: Path) -> None:
    """Links instead of the lock and of the store lead root nowhere that their owner may not write himself."""
    prize = state.parent / "prize"
    prize.write_text("root's\n")
    for name in ("state.sqlite", "map.cdb.lock", "recipients.sqlite"):
        (state / name).symlink_to(prize)
        os.chown(state / name, OWNER, OWNER, follow_symlinks=False)
    said = onionmx(state, "sync", code=75)
    assert said
    assert prize.read_text() == "root's\n"
    assert prize.stat().st_uid == 0


def test_list_that_the_owner_cannot_read_is_named(state: Path) -> None:
    hidden = state.parent / "hidden"
    hidden.write_text("example.org\n")
    hidden.chmod(0o600)
    assert f"{hidden}" in onionmx(state, "sync", hidden, code=64)


@pytest.mark.parametrize(
    "words", [("lookup", "example.net"), ("probe", "example.net"), ("map", "list"), ("map", "get", "example.net")]
)
def test_what_only_asks_has_no_right_of_root_to_read_the_map(state: Path, words: tuple[str, ...]) -> None:
    onionmx(state, "map", "import", "-", given=f"example.net {V3_ONION}\n")
    (state / "map.cdb").chmod(0o600)
    os.chown(state / "map.cdb", 0, 0)
    command: list[str | Path] = [ONIONMX, *words, "--config", state.parent / "onionmx.toml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 75
    assert "Permission denied" in done.stdout + done.stderr


def test_lookup_works_where_root_alone_can_read_the_program(state: Path) -> None:
    """As in a venv under /root, whose modules are loaded when they are needed."""
    onionmx(state, "map", "import", "-", given=f"example.net {V3_ONION}\n")
    hidden = state.parent / "hidden"
    hidden.mkdir(0o700)
    venv.create(hidden)
    [packages] = hidden.glob("lib/python*/site-packages")
    shutil.copytree(Path(rich.__file__).parent, packages / "rich")
    paths = [str(Path(program).parents[1]), get_path("purelib")]
    (packages / "others.pth").write_text("\n".join(paths))
    command: list[str | Path] = [hidden / "bin/python", "-I", "-m", "onionmx", "lookup", "example.net"]
    command += ["--config", state.parent / "onionmx.toml"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    assert V3_ONION in done.stdout


def test_lookup_stays_root_to_read_what_daemons_remember(state: Path) -> None:
    onionmx(state, "map", "import", "-", given=f"example.net {V3_ONION}\n")
    (state / "map.cdb").chmod(0o600)
    os.chown(state / "map.cdb", 0, 0)
    with (state.parent / "onionmx.toml").open("a") as file:
        file.write("[lookup]\nlive = true\n")
    onionmx(state, "lookup", "example.net")


def test_root_stays_root_where_the_folder_is_its_own(tmp_path: Path) -> None:
    become_owner(tmp_path / "not" / "there")
    assert os.geteuid() == 0
