"""What the watch knows, in a file: for `onionmx status`, and so that a restart renews nothing too soon.

JSON, with the number of its format. It also says which service tor was told to give up for a moment, so that a watch
that was killed right then brings it back.
"""

from functools import partial
from pathlib import Path

import msgspec

from onionmx.clock import Timestamp
from onionmx.config import Configuration
from onionmx.defaults import STATE_DIRECTORY
from onionmx.errors import InputError
from onionmx.files import replacing
from onionmx.saved import Saved, SavedError, load, read_saved, saved_in
from onionmx.tor.service.torrc import Option
from onionmx.watch.judge import Watched

FORMAT = 1
FOLDER = Path(f"{STATE_DIRECTORY}-watch")
"""The folder that systemd makes for the unit (StateDirectory=)."""
NAME = "watch"
MAX_SIZE = 1 << 20
"""Bytes of the file."""
_MODE = 0o640  # it names onions, which may be private: for the group onionmx-status only, which the unit has


class Away(msgspec.Struct, frozen=True):
    """A service that tor was told to give up, and has to have back.

    Attributes:
        onion: its host name.
        options: its lines of torrc; empty for one that was made over the control port.
    """

    onion: str
    options: tuple[tuple[str, str], ...] = ()

    @property
    def lines(self) -> list[Option]:
        """Its lines of torrc."""
        return [Option(keyword, value) for keyword, value in self.options]


class WatchState(Saved):
    """All that is known.

    Attributes:
        services: the onion services that carry mail.
        guards_dropped: when tor was last told to choose other guards; `None` for never.
        away: what tor has to have back; `None` for nothing.
        trouble: why the last round looked at no service, in words; empty if it did.
    """

    services: list[Watched] = msgspec.field(default_factory=list)
    guards_dropped: Timestamp | None = None
    away: Away | None = None
    trouble: str = ""


def watch_file(configuration: Configuration) -> Path:
    """Where the watch keeps it; see `saved_in`."""
    return saved_in(configuration, NAME)


def last_state(configuration: Configuration, now: Timestamp) -> WatchState | None:
    """What the watch of this host knows, that of the unit before one that was started by hand; `None` for nothing.

    Args:
        now: the time.

    Raises:
        SavedError: it cannot be read, or is damaged.
    """
    return read_state(FOLDER / NAME, now) or read_state(watch_file(configuration), now)


def parse_state(content: bytes, now: Timestamp) -> WatchState:
    """Read the content of the file.

    Args:
        now: the time; what is said to be later than that is of a clock that was wrong.

    Raises:
        InputError: damaged, or of another version.
    """
    state = read_saved(content, WatchState, FORMAT)
    if any(service.told > now for service in state.services):
        state.services = [_not_after(service, now) for service in state.services]
    if state.guards_dropped is not None:
        state.guards_dropped = min(state.guards_dropped, now)
    if not all(isinstance(word, str) and "\n" not in word for pair in _pairs(state) for word in pair):
        raise InputError("it is damaged: an option of several lines")
    return state


def read_state(path: Path, now: Timestamp) -> WatchState | None:
    """Read the file; `None` where there is none.

    Args:
        path: of `watch_file`.
        now: the time.

    Raises:
        SavedError: it cannot be read, or is damaged.
    """
    return load(path, MAX_SIZE, partial(parse_state, now=now))


def write_state(path: Path, state: WatchState) -> None:
    """Write the file; its folder is made.

    Raises:
        SavedError: it could not be written; the old one stays.
    """
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        with replacing(path, _MODE) as file:
            file.write(msgspec.json.encode(state))
    except OSError as error:
        raise SavedError(f"{path} cannot be written: {error.strerror}; the old one stays") from error


def _pairs(state: WatchState) -> tuple[tuple[str, str], ...]:
    return state.away.options if state.away is not None else ()


def _not_after(service: Watched, now: Timestamp) -> Watched:
    def at_most(when: Timestamp | None) -> Timestamp | None:
        return None if when is None else min(when, now)

    return msgspec.structs.replace(
        service,
        since=min(service.since, now),
        told=min(service.told, now),
        reached=at_most(service.reached),
        renewed=at_most(service.renewed),
    )
