"""The order of an update, with real roots; the unit and tor are played, as they break here in every way."""

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from onionmx.errors import ConfigurationError, ControlError, LockedError, TemporaryError
from onionmx.machine.build import PACKAGES_FILE, Say
from onionmx.machine.change import MachineChange
from onionmx.machine.roots import Roots
from onionmx.machine.service import Look, Service

READY = Look("0.4.8.1", 100, ("a.onion",))
KILLED = 9


class Unit(Service):
    """Runs the root that was current when it was started; tor in a root says what is in `says`, by its version."""

    def __init__(self, roots: Roots, says: dict[str, Look | str]) -> None:
        self.roots = roots
        self.says = says
        self.running: str | None = None
        self.starts = 0
        self.refused = ""

    def is_active(self) -> bool:
        return self.running is not None

    def restart(self) -> None:
        assert self.roots.current
        self.running = version(self.roots.current)
        self.starts += 1

    def fault(self) -> str:
        said = self.says[self.running or ""]
        return said if isinstance(said, str) else ""

    def look(self) -> Look:
        said = self.says[self.running or ""]
        if isinstance(said, str):
            raise ControlError(said)
        return said

    def verify(self, root: Path) -> None:
        if version(root) == self.refused:
            raise ConfigurationError("tor refuses")


def version(root: Path | None) -> str:
    assert root
    return (root / PACKAGES_FILE).read_text().split()[1]


def builder(tor: str) -> Callable[[Path, int, Say], Path]:
    def build(place: Path, lock: int, say: Say) -> Path:
        os.fstat(lock)
        say(f"build {tor}")
        file = place / "root" / PACKAGES_FILE
        file.parent.mkdir(parents=True)
        file.write_text(f"tor {tor}\n")
        return place / "root"

    return build


class Host:
    """A host with a machine that runs tor 1."""

    def __init__(self, folder: Path, says: dict[str, Look | str] | None = None) -> None:
        self.said: list[str] = []
        self.roots = Roots(folder / "machine")
        self.unit = Unit(self.roots, {"1": READY, "2": READY, "3": READY, **(says or {})})
        self.run("1").build()
        self.unit.restart()

    def run(self, tor: str) -> MachineChange:
        return MachineChange(self.roots, self.unit, builder(tor), self.said.append, 0)

    def state(self) -> tuple[str, str | None, str | None, bool]:
        previous = self.roots.previous
        return (
            version(self.roots.current),
            version(previous) if previous else None,
            self.unit.running,
            bool(self.roots.way_back),
        )


@pytest.fixture
def host(tmp_path: Path) -> Host:
    return Host(tmp_path)


def test_build_twice_is_no_error(host: Host) -> None:
    changed = host.run("2").build()
    assert (changed.changed, changed.tor) == (False, "1")
    assert host.state() == ("1", None, "1", False)


def test_update_without_a_machine(tmp_path: Path) -> None:
    roots = Roots(tmp_path / "machine")
    change = MachineChange(roots, Unit(roots, {}), builder("1"), print, 0)
    for run in (change.update, change.rollback):
        with pytest.raises(ConfigurationError, match="onionmx machine build"):
            run()
    assert roots.current is None


def test_an_update_swaps_the_new_root_in(host: Host) -> None:
    changed = host.run("2").update()
    assert (changed.changed, changed.tor, changed.restarted) == (True, "2", True)
    assert changed.packages == {"tor": ("1", "2")}
    assert host.state() == ("2", "1", "2", False)
    assert host.said[-1].startswith("wait until tor is as it was")


def test_nothing_new_restarts_nothing(host: Host) -> None:
    starts = host.unit.starts
    assert host.run("1").update().changed is False
    assert host.unit.starts == starts
    assert host.state() == ("1", None, "1", False)


def test_a_machine_that_is_off_stays_off(host: Host) -> None:
    host.unit.running = None
    changed = host.run("2").update()
    assert (changed.changed, changed.restarted) == (True, False)
    assert host.state() == ("2", "1", None, False)


def test_a_torrc_that_the_new_tor_does_not_take_changes_nothing(host: Host) -> None:
    host.unit.refused = "2"
    with pytest.raises(ConfigurationError, match="tor refuses"):
        host.run("2").update()
    assert host.state() == ("1", None, "1", False)


@pytest.mark.parametrize(
    ("says", "why"),
    [
        ("it is gone", "it is gone"),
        (Look("2", 100, ()), "it has lost a.onion"),
        (Look("2", 100, ("b.onion",)), "it has lost a.onion"),
        (Look("2", 60, ("a.onion",)), "it bootstrapped to 60 %"),
    ],
)
def test_a_root_that_is_not_sound_is_taken_back(tmp_path: Path, says: Look | str, why: str) -> None:
    host = Host(tmp_path, {"2": says})
    with pytest.raises(TemporaryError, match=f"the root with tor 2 is not sound: .*{why}; back to that with tor 1"):
        host.run("2").update()
    assert host.state() == ("1", None, "1", False)
    assert len(list((host.roots.folder / "roots").iterdir())) == 1


def test_what_was_not_ready_before_need_not_be_ready(tmp_path: Path) -> None:
    offline = Look("1", 5, ("a.onion",))
    host = Host(tmp_path, {"1": offline, "2": offline})
    host.run("2").update()
    assert host.state() == ("2", "1", "2", False)


def test_a_tor_that_could_not_be_asked_before_must_be_ready(tmp_path: Path) -> None:
    host = Host(tmp_path, {"1": "it is gone", "2": Look("2", 5, ("a.onion",))})
    with pytest.raises(TemporaryError, match="bootstrapped to 5 %"):
        host.run("2").update()
    host.run("3").update()
    assert host.state() == ("3", "1", "3", False)


def test_a_rollback_and_another_one(host: Host) -> None:
    host.run("2").update()
    host.run("3").rollback()
    assert host.state() == ("1", "2", "1", False)
    host.run("3").rollback()
    assert host.state() == ("2", "1", "2", False)


def test_no_rollback_without_an_update(host: Host) -> None:
    with pytest.raises(ConfigurationError, match="there is no previous root"):
        host.run("2").rollback()


def test_a_rollback_to_what_is_not_sound_is_taken_back(host: Host) -> None:
    host.run("2").update()
    host.unit.says["1"] = "it is gone"
    with pytest.raises(TemporaryError, match="back to that with tor 2"):
        host.run("3").rollback()
    assert host.state() == ("2", "1", "2", False)


def test_another_run_is_at_work(host: Host) -> None:
    with host.roots.locked(), pytest.raises(LockedError):
        host.run("2").update()


def killed_at(step: int, update: Callable[[], object]) -> int:
    """Run it in another process that ends at once before that step of changing files; its exit code."""
    child = os.fork()
    if child:
        return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    steps = iter(range(step))

    def counting(do: Callable[..., object]) -> Callable[..., object]:
        def counted(*arguments: object, **options: object) -> object:
            if next(steps, None) is None:
                os._exit(KILLED)
            return do(*arguments, **options)

        return counted

    for where, names in ((Path, ("rename", "symlink_to", "unlink", "mkdir")), (shutil, ("rmtree",))):
        for name in names:
            setattr(where, name, counting(getattr(where, name)))
    try:
        update()
    except BaseException:  # noqa: BLE001 -- the child must end here
        os._exit(2)
    os._exit(0)


@pytest.mark.parametrize("sound", [True, False])
def test_killed_at_any_step_it_leaves_a_whole_root_and_a_way_back(tmp_path: Path, *, sound: bool) -> None:
    last = 0
    for step in range(100):
        (tmp_path / str(step)).mkdir()
        host = Host(tmp_path / str(step), {} if sound else {"2": "it is gone"})
        code = killed_at(step, host.run("2").update)
        if code != KILLED:
            break
        last = step
        # The unit, which does not know whether the new root is sound, does as its ExecStartPre.
        if host.roots.way_back:
            host.roots.take_back()
        assert version(host.roots.current) == "1" or sound
        host.unit.restart()
        host.run("3").update()
        assert host.state()[0] == "3"
        assert host.state()[3] is False
        assert len(list((host.roots.folder / "roots").iterdir())) == 2
        assert not (host.roots.folder / "building").exists()
    assert code == (0 if sound else 2)
    assert last > 10


def test_the_next_run_takes_a_killed_one_back(host: Host) -> None:
    host.run("2").update()
    with host.roots.locked(), host.roots.workplace() as place:
        host.roots.begin_trial(host.roots.add(builder("3")(place, 0, print)))
    host.unit.running = "3"
    changed = host.run("2").update()
    assert (changed.changed, changed.recovered) == (False, True)
    assert host.state() == ("2", "1", "2", False)
