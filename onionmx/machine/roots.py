"""The roots of the machine on disk: which is the machine's, which was before, which is on trial.

Each is a folder in `roots/`, complete before it has its name. Three links say what it is: `current`; `previous`, for a
rollback; and `trial`, while `current` has not been found sound: it leads to the root to go back to. A link changes by
one rename(2), so whenever a run is killed or the power fails, `current` leads to a whole root, and `trial` tells that
it was not found sound: the unit goes back when it starts, and so does the next run.
"""

import fcntl
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import mkdtemp

from onionmx.errors import LockedError
from onionmx.files import sync_folder

_CURRENT, _PREVIOUS, _TRIAL = "current", "previous", "trial"


class Roots:
    """All of them.

    Args:
        folder: of root alone; made where it is missing.
    """

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._building = folder / "building"
        self._roots = folder / "roots"

    @property
    def current(self) -> Path | None:
        """The root that the machine has, or will have when it starts again."""
        return self._target(_CURRENT)

    @property
    def previous(self) -> Path | None:
        """The root before, if there is one."""
        return self._target(_PREVIOUS)

    @property
    def way_back(self) -> Path | None:
        """While `current` is on trial, the root to go back to."""
        return self._target(_TRIAL)

    @contextmanager
    def locked(self) -> Iterator[int]:
        """Keep other runs out.

        Yields:
            The lock's descriptor: a child that has it too keeps them out until it ends.

        Raises:
            LockedError: another one is at work.
            OSError: the folder cannot be made.
        """
        for path in (self.folder, self._roots):
            path.mkdir(mode=0o755, exist_ok=True)
        lock = os.open(self.folder / "lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError as error:
                raise LockedError("another onionmx machine is at work; try again when it has ended") from error
            yield lock
        finally:
            os.close(lock)

    @contextmanager
    def workplace(self) -> Iterator[Path]:
        """A new folder, on the file system of the roots, that is gone at the end."""
        shutil.rmtree(self._building, ignore_errors=True)  # of a run that was killed
        self._building.mkdir(mode=0o755, exist_ok=True)
        place = Path(mkdtemp(dir=self._building))
        place.chmod(0o755)
        try:
            yield place
        finally:
            shutil.rmtree(self._building, ignore_errors=True)

    def add(self, built: Path) -> Path:
        """Give a root that is complete its name; nothing uses it yet. Every byte of it is on disk then."""
        numbers = [int(path.name) for path in self._roots.iterdir() if path.name.isdecimal()]
        named = self._roots / f"{max(numbers, default=0) + 1}"
        for path in (built, *built.rglob("*")):
            if not path.is_symlink():
                _sync(path)
        built.rename(named)
        sync_folder(self._roots)
        return named

    def use_first(self, root: Path) -> None:
        """Make it the machine's, where there was none before."""
        self._link(_CURRENT, root)

    def begin_trial(self, root: Path) -> None:
        """Make it the machine's, until it is found sound or not."""
        current = self.current
        if current is None:
            raise ValueError("there is no root to go back to")
        self._link(_TRIAL, current)
        self._link(_CURRENT, root)

    def commit(self) -> None:
        """Keep the root that was on trial; the one before becomes the previous one."""
        self._rename(_TRIAL, _PREVIOUS)

    def take_back(self) -> None:
        """Go back to the root before the trial; the previous one stays what it was."""
        self._rename(_TRIAL, _CURRENT)

    def collect(self) -> None:
        """Remove the roots that nothing leads to. A process that uses one meanwhile keeps what it has open."""
        used = {self.current, self.previous, self.way_back}
        for path in self._roots.iterdir():
            if path not in used:
                shutil.rmtree(path, ignore_errors=True)

    def _target(self, link: str) -> Path | None:
        try:
            target = self.folder / os.readlink(self.folder / link)  # noqa: PTH115 -- the name as it is written
        except FileNotFoundError:
            return None
        return target if target.is_dir() else None

    def _link(self, name: str, root: Path) -> None:
        draft = self.folder / f".{name}"
        draft.unlink(missing_ok=True)
        draft.symlink_to(root.relative_to(self.folder))
        self._rename(draft.name, name)

    def _rename(self, name: str, to: str) -> None:
        (self.folder / name).rename(self.folder / to)
        sync_folder(self.folder)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
