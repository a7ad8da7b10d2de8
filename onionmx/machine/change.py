"""Building, updating and rolling back: in which order, and what happens when something goes wrong."""

import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from onionmx.errors import ConfigurationError, ControlError, TemporaryError
from onionmx.machine.build import Say, is_same, versions
from onionmx.machine.roots import Roots
from onionmx.machine.service import Look, Service, why_not_sound

Build = Callable[[Path, int, Say], Path]


@dataclass(frozen=True, slots=True)
class Changed:
    """What a run did.

    Attributes:
        changed: whether the machine has another root now.
        root: the one it has.
        tor: version of tor's package in it.
        packages: those that differ from the root before, name to the two versions; `None` for one that it lacks.
        restarted: whether the machine was started again with it.
        recovered: whether an earlier run had been killed, and was undone first.
    """

    changed: bool
    root: str
    tor: str
    packages: Mapping[str, tuple[str | None, str | None]] = field(default_factory=dict)
    restarted: bool = False
    recovered: bool = False


class MachineChange:
    """One run.

    Args:
        roots: of the machine.
        service: its unit, and tor in it.
        build: makes a root.
        say: for each step.
        wait: seconds in which a new root has to show that it is sound.
    """

    def __init__(self, roots: Roots, service: Service, build: Build, say: Say, wait: float) -> None:
        self._roots = roots
        self._service = service
        self._build = build
        self._say = say
        self._wait = wait

    def build(self) -> Changed:
        """Make the first root. If there is one, nothing is done.

        Raises:
            ConfigurationError: the settings are missing, or tor refuses its torrc; nothing was changed.
            TemporaryError: tor could not be downloaded; nothing was changed.
        """
        with self._alone() as (lock, recovered):
            current = self._roots.current
            if current is not None:
                return self._unchanged(current, recovered=recovered)
            with self._roots.workplace() as place:
                built = self._built(place, lock)
                root = self._roots.add(built)
            self._roots.use_first(root)
            return Changed(changed=True, root=root.name, tor=tor_of(root))

    def update(self) -> Changed:
        """Build a new root and swap it in; go back to the old one if tor does not come up as it was.

        Raises:
            ConfigurationError: there is no machine yet, or the new tor refuses torrc; nothing was changed.
            TemporaryError: tor could not be downloaded, and nothing was changed; or the old root was restored.
        """
        with self._alone() as (lock, recovered):
            current = self._existing()
            with self._roots.workplace() as place:
                built = self._built(place, lock)
                if is_same(built, current):
                    return self._unchanged(current, recovered=recovered)
                root = self._roots.add(built)
            return self._swap(root, recovered=recovered)

    def rollback(self) -> Changed:
        """Swap the previous root in; a second rollback undoes the first.

        Raises:
            ConfigurationError: there is no previous one.
            TemporaryError: tor did not come up as it was, and the rollback was undone.
        """
        with self._alone() as (_, recovered):
            self._existing()
            previous = self._roots.previous
            if previous is None:
                raise ConfigurationError("there is no previous root: only an update that changed something leaves one")
            return self._swap(previous, recovered=recovered)

    @contextmanager
    def _alone(self) -> Iterator[tuple[int, bool]]:
        with self._roots.locked() as lock:
            recovered = self._roots.way_back is not None
            if recovered:
                self._say("an earlier run was killed before its root was found sound: back to the old one")
                self._roots.take_back()
                if self._service.is_active():
                    self._service.restart()
            self._roots.collect()
            try:
                yield lock, recovered
            finally:
                self._roots.collect()

    def _existing(self) -> Path:
        if (current := self._roots.current) is None:
            raise ConfigurationError("there is no machine yet: onionmx machine build")
        return current

    def _built(self, place: Path, lock: int) -> Path:
        built = self._build(place, lock, self._say)
        self._say("let the new tor check torrc")
        self._service.verify(built)
        return built

    def _swap(self, root: Path, *, recovered: bool) -> Changed:
        old = self._existing()
        is_running = self._service.is_active()
        before = self._look() if is_running else None
        self._roots.begin_trial(root)
        if is_running:
            why = self._why_not(before)
            if why:
                self._go_back(root, old, why)
        self._roots.commit()
        return Changed(
            changed=True,
            root=root.name,
            tor=tor_of(root),
            packages=_differences(versions(old), versions(root)),
            restarted=is_running,
            recovered=recovered,
        )

    def _why_not(self, before: Look | None) -> str:
        self._say("restart the machine")
        try:
            self._service.restart()
            self._say(f"wait until tor is as it was, for at most {self._wait:g} s")
            return why_not_sound(self._service, before, self._wait, time.monotonic)
        except TemporaryError as error:
            return str(error)

    def _go_back(self, root: Path, old: Path, why: str) -> None:
        self._say("go back to the old root")
        self._roots.take_back()
        what = f"the root with tor {tor_of(root)} is not sound: {why}; back to that with tor {tor_of(old)}"
        try:
            self._service.restart()
        except TemporaryError as error:
            raise TemporaryError(f"{what}, which does not start either: {error}") from error
        raise TemporaryError(f"{what}, which was started again")

    def _look(self) -> Look | None:
        with suppress(ControlError):
            return self._service.look()
        return None

    def _unchanged(self, root: Path, *, recovered: bool) -> Changed:
        return Changed(changed=False, root=root.name, tor=tor_of(root), recovered=recovered)


def _differences(old: Mapping[str, str], new: Mapping[str, str]) -> dict[str, tuple[str | None, str | None]]:
    names = sorted(old.keys() | new.keys())
    return {name: (old.get(name), new.get(name)) for name in names if old.get(name) != new.get(name)}


def tor_of(root: Path) -> str:
    """The version of tor's package in a root."""
    return versions(root).get("tor", "of unknown version")
