"""What the notes of a store say, and when the map of this host is up to date with it.

The routes in a store have a version, a text that is another after each run that changed one of them. It is `OPEN` from
before the first change is saved until after the last: a run that builds a map between, or after a run that was killed
there, does not take it for the whole. So whatever moment a run ends at, the next one builds the map again.
"""

from collections.abc import Iterable, Mapping
from hashlib import sha256
from pathlib import Path
from socket import gethostname
from uuid import uuid4

from onionmx.sync.state.store import Store

OPEN = "open"
ROUTES, LISTS, LISTED, LAST_RUN, PENDING = "routes", "lists", "listed", "last_run", "pending"


def open_routes(store: Store) -> None:
    """Note that routes are about to change."""
    store.note(**{ROUTES: OPEN})


def close_routes(store: Store) -> None:
    """Note that all changes of routes are saved."""
    if store.notes().get(ROUTES, OPEN) == OPEN:
        store.note(**{ROUTES: uuid4().hex})


def number(notes: Mapping[str, str], name: str) -> float:
    """A number in the notes; 0 where there is none."""
    try:
        return float(notes.get(name, "0"))
    except ValueError:
        return 0.0


class MapStamp:
    """The note about the map of this host: from which routes and settings it was built.

    Args:
        store: where it is noted.
        paths: the map, and what is written together with it.
        settings: everything else that the maps are made of.
    """

    def __init__(self, store: Store, paths: list[Path], settings: object) -> None:
        self._store = store
        self._paths = paths
        self._settings = sha256(repr(settings).encode()).hexdigest()
        # Several hosts share one store, and each has its own map.
        self._name = f"map {gethostname()} {paths[0]}"

    def is_current(self, now: float) -> bool:
        """Whether the map is what would be written now, in seconds since 1970."""
        notes = self._store.notes()
        until = number(notes, f"{self._name} until")
        if until and now >= until:
            return False
        return notes.get(ROUTES, OPEN) != OPEN and notes.get(self._name) == self._stamp(notes)

    def held(self) -> frozenset[str]:
        """Domains that are in the map only because their removal waits."""
        return frozenset(self._store.notes().get(f"{self._name} held", "").split())

    def why_held(self) -> str:
        """Why their removal waits, in words; empty where none does."""
        return self._store.notes().get(f"{self._name} why", "")

    def is_known(self) -> bool:
        """Whether the map is one that was built from this store, whatever has become of the files beside it."""
        return self._store.notes().get(self._name, "").partition(" ")[0].partition(",")[0] == _identity(self._paths[0])

    def set(self, version: str, until: float, held: Iterable[str], why: str) -> None:
        """Note how the map was built.

        Args:
            until: when it has to be built again whatever happens, in seconds since 1970; 0 for never.
            held: domains whose removal waits.
            why: in words.
        """
        texts = {self._name: f"{self._files()} {version} {self._settings}"}
        changed = {
            f"{self._name} until": f"{until}",
            f"{self._name} held": " ".join(sorted(held)),
            f"{self._name} why": why,
        }
        known = self._store.notes()
        self._store.note(**texts, **{key: text for key, text in changed.items() if known.get(key, "") != text})

    def version(self) -> str:
        """The version of the routes as it is now."""
        return self._store.notes().get(ROUTES, OPEN)

    def _stamp(self, notes: Mapping[str, str]) -> str:
        return f"{self._files()} {notes[ROUTES]} {self._settings}"

    def _files(self) -> str:
        return ",".join(map(_identity, self._paths))


def _identity(path: Path) -> str:
    try:
        status = path.stat()
    except OSError:
        return "none"
    return f"{status.st_dev}:{status.st_ino}:{status.st_size}:{status.st_mtime_ns}"
