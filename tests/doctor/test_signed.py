"""Signed routes, as the doctor reads them from the state of another user."""

import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from onionmx.config import Configuration, MapSection
from onionmx.doctor.signed import signed_routes
from onionmx.errors import OnionmxError, StateError, TemporaryError
from onionmx.sync.state.record import DomainRecord, Established
from onionmx.sync.state.sqlite import SqliteStore
from onionmx.target import Trust
from tests.mapfile.maps import A
from tests.net.stranger import as_stranger, root_only

OWNER = 65533
"""Nobody of this machine."""
_LOOK = """
import sys
from onionmx.config import Configuration, MapSection
from onionmx.doctor.signed import signed_routes
signed_routes(Configuration(map=MapSection(path=sys.argv[1] + "/map.cdb")))
"""


@pytest.fixture
def folder() -> Iterator[Path]:
    # pytest's own folders are searched by nobody but who runs the tests.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        yield Path(name)


def configuration(folder: Path) -> Configuration:
    return Configuration(map=MapSection(path=str(folder / "map.cdb")))


def test_only_those_that_are_signed(folder: Path) -> None:
    assert signed_routes(configuration(folder)) == []
    assert signed_routes(configuration(folder / "not there")) == []
    routes = {f"{trust}.example": Established(((A, 25),), trust, 1.0, 1.0) for trust in (Trust.DNSSEC, Trust.UNSIGNED)}
    with closing(SqliteStore(folder / "state.sqlite")) as store:
        store.save(DomainRecord(name, 1.0, established=route) for name, route in routes.items())
    assert signed_routes(configuration(folder)) == ["dnssec.example"]


def test_state_that_cannot_be_read_is_not_one_without_routes(folder: Path) -> None:
    (folder / "state.sqlite").write_bytes(b"no database" * 1000)
    with pytest.raises(StateError):
        signed_routes(configuration(folder))


def test_folder_that_may_not_be_looked_at(folder: Path) -> None:
    (folder / "closed").mkdir(mode=0o700)
    (folder / "closed" / "state").mkdir()
    with as_stranger():
        if os.geteuid() != OWNER:
            (folder / "closed").chmod(0)
        with pytest.raises(OnionmxError, match=r"cannot be looked at: Permission denied"):
            signed_routes(configuration(folder / "closed" / "state"))
    (folder / "closed").chmod(0o700)


@root_only
def test_another_user_cannot_become_the_owner_of_the_state(folder: Path) -> None:
    """As in a container without CAP_SETUID."""
    state = folder / "state"
    state.mkdir()
    os.chown(state, OWNER, OWNER)
    command = ["setpriv", "--bounding-set=-setuid", "--inh-caps=-setuid", sys.executable, "-c", _LOOK, str(state)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert "not read as its owner, user 65533: Operation not permitted" in done.stderr


@root_only
def test_owner_of_the_state_leads_root_nowhere(folder: Path) -> None:
    """A link instead of the state: root would take from all others the right to read what it leads to."""
    prize = folder / "prize"
    prize.write_text("for all\n")
    prize.chmod(0o644)
    state = folder / "state"
    state.mkdir()
    (state / "state.sqlite").symlink_to(prize)
    os.chown(state, OWNER, OWNER)
    with pytest.raises(TemporaryError):
        signed_routes(configuration(state))
    assert prize.stat().st_mode & 0o777 == 0o644
