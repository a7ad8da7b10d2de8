"""What the watch keeps over a restart."""

import os
from contextlib import suppress
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from onionmx.config import Configuration, MapSection
from onionmx.errors import InputError
from onionmx.saved import SavedError
from onionmx.watch.judge import Reach, Watched
from onionmx.watch.state import FORMAT, Away, WatchState, last_state, parse_state, read_state, watch_file, write_state
from tests.onions import V3_ONION

AWAY = Away(V3_ONION, (("HiddenServiceDir", "/var/lib/tor/onion-mx"), ("HiddenServicePort", "25 127.0.0.2:25")))
STATE = WatchState(
    FORMAT,
    services=[Watched(V3_ONION, Reach.FAILED, 100.0, 200.0, "no", 50.0, 150.0, 3)],
    guards_dropped=120.0,
    away=AWAY,
)


def test_it_comes_back_as_it_was(tmp_path: Path) -> None:
    path = tmp_path / "folder" / "watch"
    assert read_state(path, 1000.0) is None
    write_state(path, STATE)
    assert read_state(path, 1000.0) == STATE
    assert path.stat().st_mode & 0o777 == 0o640
    assert [str(line) for line in AWAY.lines] == [
        "HiddenServiceDir /var/lib/tor/onion-mx",
        "HiddenServicePort 25 127.0.0.2:25",
    ]


def test_times_to_come_are_of_a_clock_that_was_wrong(tmp_path: Path) -> None:
    write_state(tmp_path / "watch", STATE)
    state = read_state(tmp_path / "watch", 110.0)
    assert state is not None
    (service,) = state.services
    assert (service.since, service.told, service.reached, service.renewed) == (100.0, 110.0, 50.0, 110.0)
    assert state.guards_dropped == 110.0


@given(st.binary(max_size=200))
def test_any_content_is_read_or_refused(content: bytes) -> None:
    with suppress(InputError):
        parse_state(content, 0.0)


@pytest.mark.parametrize("content", [b"", b"{}", b'{"format":99}', b'{"format":1,"services":[{}]}', b"[" * 100_000])
def test_damaged(tmp_path: Path, content: bytes) -> None:
    (tmp_path / "watch").write_bytes(content)
    with pytest.raises(SavedError, match=str(tmp_path)):
        read_state(tmp_path / "watch", 0.0)


def test_an_option_is_one_line() -> None:
    content = b'{"format":1,"away":{"onion":"x","options":[["HiddenServiceDir","a\\nSocksPort 1"]]}}'
    with pytest.raises(InputError, match="several lines"):
        parse_state(content, 0.0)


def test_what_is_no_file_is_not_waited_for(tmp_path: Path) -> None:
    """`onionmx status` reads it as root, in a folder of tor's user."""
    os.mkfifo(tmp_path / "watch")
    with pytest.raises(SavedError, match="it is no regular file"):
        read_state(tmp_path / "watch", 0.0)


def test_status_finds_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    configuration = Configuration(map=MapSection(path=str(tmp_path / "map.cdb")))
    monkeypatch.setattr("onionmx.watch.state.FOLDER", tmp_path / "unit")
    assert last_state(configuration, 1000.0) is None
    write_state(watch_file(configuration), STATE)
    assert last_state(configuration, 1000.0) == STATE
    write_state(tmp_path / "unit" / "watch", WatchState(FORMAT, trouble="tor is away"))
    found = last_state(configuration, 1000.0)
    assert found is not None
    assert found.trouble == "tor is away"
