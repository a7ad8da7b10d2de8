"""The map and what sync knows, as `onionmx status` reads them from the folder of another user."""

import os
import shlex
import tempfile
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest
from msgspec.structs import replace

from onionmx.cli import main
from onionmx.config import Configuration, MapSection, SyncSection
from onionmx.errors import TemporaryError
from onionmx.status.look.state import look_at_state
from onionmx.sync.lists.recipients import FILE_NAME, opened_recipients
from onionmx.sync.state.record import DomainRecord, Doubt, Established, Pending
from onionmx.sync.state.sqlite import SqliteStore
from onionmx.target import Trust
from tests.mapfile.maps import A, B, C, make_map
from tests.net.stranger import root_only

OWNER = 65533
"""Nobody of this machine."""
LIMIT = 120.0


@pytest.fixture
def folder() -> Iterator[Path]:
    # pytest's own folders are searched by nobody but who runs the tests.
    with tempfile.TemporaryDirectory() as name:
        Path(name).chmod(0o755)
        (Path(name) / "pins").touch()
        yield Path(name)


def configuration(folder: Path) -> Configuration:
    return Configuration(map=MapSection(path=str(folder / "map.cdb")), sync=SyncSection(pins=str(folder / "pins")))


def pending(onion: str, *, is_refused: bool = False) -> Pending:
    return Pending(((onion, 25),), Trust.UNSIGNED, 1000.0, 2000.0, "an unsigned change", is_refused=is_refused)


ROUTE = Established(((A, 25),), Trust.UNSIGNED, 1.0, 1.0, is_routed=True)
DOUBT = Doubt(1000.0, 2000.0, "its certificate is for another name", "")
RECORDS = (
    DomainRecord("one.example", 1.0, established=ROUTE, pending=pending(B)),
    DomainRecord("two.example", 1.0, established=ROUTE, pending=pending(B), rivals=(pending(C),)),
    DomainRecord("refused.example", 1.0, established=ROUTE, pending=pending(B, is_refused=True)),
    DomainRecord("unproven.example", 1.0, established=ROUTE, doubt=DOUBT),
    DomainRecord("quiet.example", 1.0, established=ROUTE),
    DomainRecord("unlisted.example", 1.0, listed=False, established=ROUTE, pending=pending(B)),
)


def fill(folder: Path) -> None:
    """A map, a state with all kinds of changes, and the domains of a log."""
    make_map(folder / "map.cdb", {record.domain: ((A, 25),) for record in RECORDS})
    with closing(SqliteStore(folder / "state.sqlite")) as store:
        store.save(RECORDS)
        store.note(last_run="1500.0")
    with opened_recipients(folder / FILE_NAME, (), 1500.0) as recipients:
        recipients.add(["one.example", "elsewhere.example"])
        recipients.keep(1e9)


def test_each_change_has_the_command_that_accepts_it_and_no_other(folder: Path) -> None:
    fill(folder)
    seen = look_at_state(configuration(folder), LIMIT)
    assert seen.is_whole, seen
    assert (seen.map.entries, seen.map.last_run, seen.map.why) == (len(RECORDS), 1500.0, "")
    assert seen.map.age is not None
    waiting = {change.command: change for change in seen.map.waiting or ()}
    accept = "onionmx sync --accept-change"
    assert set(waiting) == {
        f"{accept} one.example={B}",
        f"{accept} two.example={B}",
        f"{accept} two.example={C}",
        f"{accept} unproven.example=none",
    }
    assert waiting[f"{accept} one.example={B}"].what == f"{A} -> {B}: an unsigned change"
    assert waiting[f"{accept} one.example={B}"].since == 1000.0
    assert seen.could_have_gone is not None
    assert seen.could_have_gone.recipients == 0
    assert seen.sent == {}


def test_the_commands_do_what_they_say(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    fill(folder)
    file = folder / "onionmx.toml"
    file.write_text(f'[map]\npath = "{folder}/map.cdb"\n[sync]\npins = "{folder}/pins"\n')
    monkeypatch.setenv("ONIONMX_CONFIG", str(file))
    wanted = f"onionmx sync --accept-change two.example={C}"
    commands = [change.command for change in look_at_state(configuration(folder), LIMIT).map.waiting or ()]
    assert wanted in commands
    assert main(shlex.split(wanted)[1:]) == 0
    left = [change.domain for change in look_at_state(configuration(folder), LIMIT).map.waiting or ()]
    assert "two.example" not in left


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
    try:
        assert not look_at_state(configuration(state), LIMIT).is_whole
    except TemporaryError as error:  # where that user may not run this Python
        assert "is not read as its owner" in str(error)
    assert prize.stat().st_mode & 0o777 == 0o644


def test_nothing_there_is_no_error(folder: Path) -> None:
    for place in (folder, folder / "not there"):
        seen = look_at_state(configuration(place), LIMIT)
        assert seen.is_whole
        assert (seen.map.entries, seen.map.waiting, seen.map.last_run) == (None, (), None)
        assert "there is no map yet" in seen.map.why
        assert seen.could_have_gone is None


def test_what_is_damaged_is_not_none_at_all(folder: Path) -> None:
    for name in ("map.cdb", "state.sqlite", FILE_NAME):
        (folder / name).write_bytes(b"damaged" * 1000)
    seen = look_at_state(configuration(folder), LIMIT)
    assert not seen.is_whole
    assert (seen.map.entries, seen.map.waiting, seen.could_have_gone) == (None, None, None)
    assert "map.cdb" in seen.map.why
    assert "state.sqlite" in seen.map.why


def test_one_that_hangs_is_left_behind(folder: Path) -> None:
    with pytest.raises(TemporaryError, match=r"not read within 0\.001 s"):
        look_at_state(configuration(folder), 0.001)


def test_onions_of_others_are_asked_for_elsewhere(folder: Path) -> None:
    live = configuration(folder)
    live = replace(live, lookup=replace(live.lookup, live=True))
    with closing(SqliteStore(folder / "live.sqlite")):
        pass
    assert "live lookups" in look_at_state(live, LIMIT).map.why
