"""Carrying out a plan: the manifest first, then files, checks, commands; all put back where something fails."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from onionmx.defaults import STATE_DIRECTORY
from onionmx.errors import ConfigurationError, TemporaryError
from onionmx.setup.manifest import FOLDER, FORMER_FOLDER, Manifest, ManifestPart, load, store
from onionmx.setup.old_routers import refuse_old
from onionmx.setup.plan import Plan
from onionmx.setup.put_back import KEPT_SUFFIX, keep_copy, put_back
from onionmx.setup.steps import FileChange, FileState, SetupCommand, SetupStage, Wait
from onionmx.setup.system import Done, System
from onionmx.setup.way_back import WayBack

Say = Callable[[str], None]
"""Tells the administrator what is going on, a line each."""


_JOURNAL_LINES = 10


@dataclass(slots=True)
class Applied:
    """What became of a plan.

    Attributes:
        changed: whether anything was changed.
        to_run: commands that somebody has to run, for want of systemd.
        warnings: what went wrong and ended nothing.
        kept: where the lines are now that somebody wrote within those of setup.
    """

    changed: bool = False
    to_run: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)
    kept: list[str] = field(default_factory=list)


@dataclass(frozen=True, slots=True)
class Work:
    """What there is to do in a stage.

    Attributes:
        stage: of the plan.
        changes: the files that are not yet as they should be, those included that are wished no more.
        units: that are not yet on.
        stale: units of an earlier run that are wished no more.
        unfinished: whether an earlier run was interrupted in it.
        seen: the files of the changes, as they were when the plan was made.
        edited: those in which somebody else has changed what setup had put there.
    """

    stage: SetupStage
    changes: tuple[FileChange, ...]
    units: tuple[str, ...]
    stale: tuple[str, ...]
    unfinished: bool
    seen: Mapping[str, FileState | None]
    edited: frozenset[str] = frozenset()

    def __bool__(self) -> bool:
        return bool(self.changes or self.units or self.stale or self.unfinished)


def work_of(system: System, plan: Plan, manifest: Manifest | None, enabled: frozenset[str]) -> list[Work]:
    """What there is to do, stage by stage; nothing in a stage that is done.

    Args:
        plan: to be carried out.
        enabled: units that are on.

    Raises:
        ConfigurationError: a file of ours that somebody has changed is to be left as it is, and is a leak.
    """
    manifest = manifest or Manifest()
    return [_work(system, stage, manifest, enabled) for stage in plan.stages]


def _work(system: System, stage: SetupStage, manifest: Manifest, enabled: frozenset[str]) -> Work:
    part = next((part for part in manifest.parts if part.name == stage.name), ManifestPart(stage.name))
    planned = {change.path for change in stage.changes}
    changes = [change for change in stage.changes if not _is_done(system, change, manifest)]
    changes += [
        FileChange(file.path, None, file.whole)
        for file in part.files
        if file.path not in planned
        and system.exists(file.path)
        and not manifest.is_foreign(file.path, system.read(file.path))
    ]
    absent = any(
        isinstance(step, Wait) and not step.seconds and not system.wait_for(step.what, 0) for step in stage.steps
    )
    units = tuple(unit for unit in stage.units if unit not in enabled)
    stale = tuple(unit for unit in part.units if unit not in stage.units)
    seen = {change.path: system.read(change.path) for change in changes}
    edited = frozenset(path for path, now in seen.items() if manifest.has_edited_blocks(path, now))
    return Work(stage, tuple(changes), units, stale, stage.name in manifest.pending or absent, seen, edited)


def _is_done(system: System, change: FileChange, manifest: Manifest) -> bool:
    now = system.read(change.path)
    if now is None:
        return not change.content and not change.whole  # nothing to be put into a file that is not there
    if now.content == change.content:
        return True
    is_foreign = manifest.is_foreign(change.path, now)
    if is_foreign:
        refuse_old(change.path, now)
    return is_foreign


class SetupRun:
    """One run: carries out the work, and can put all of it back.

    Args:
        plan: to be carried out.
        say: for each step.
        systemd: whether it runs here.
    """

    def __init__(self, system: System, plan: Plan, say: Say, *, systemd: bool) -> None:
        self._system = system
        self._plan = plan
        self._say = say
        self._systemd = systemd
        self._way_back = WayBack(system, systemd=systemd)
        self._seen: dict[str, FileState | None] = {}
        self._kept: set[str] = set()
        self.applied = Applied()

    def apply(self, works: list[Work]) -> Applied:
        """Carry out the work.

        Raises:
            ConfigurationError: a checker refuses what the files say; all is as it was.
            TemporaryError: something did not come up in time, or somebody else changed a file meanwhile; all is as it
                was, but for what the text says.
        """
        old = load(self._system)
        manifest = load(self._system) or Manifest()
        manifest.wishes = self._plan.wishes
        manifest.undoing = False
        if self._plan.ports.service:  # a service that somebody else has made is not ours to delete
            manifest.onion_directory = self._plan.ports.directory
        to_do = [work for work in works if work]
        if not to_do:
            if old is not None and old.wishes != self._plan.wishes:
                store(self._system, manifest)
            return self.applied
        self._seen = {path: state for work in to_do for path, state in work.seen.items()}
        for path in self._seen:
            self._check_unchanged(path, "nothing was changed")
        try:
            self._write_ahead(manifest, to_do)
            for work in to_do:
                self._stage(work, manifest)
        except OSError as error:
            but = self._put_all_back(old)
            raise TemporaryError(f"{error.filename}: {error.strerror}; all was put back{but}") from error
        except (ConfigurationError, TemporaryError) as error:
            but = self._put_all_back(old)
            raise (type(error)(f"{error}{but}") if but else error) from error.__cause__
        except BaseException:
            self._put_all_back(old)
            raise
        # tor's files are complete by now: its reload, which opens the onion service, belongs behind the MTA's.
        self.applied.to_run = list(dict.fromkeys(reversed(self.applied.to_run)))[::-1]
        return self.applied

    def _put_all_back(self, old: Manifest | None) -> str:
        """What somebody has to do by hand; empty for nothing."""
        self._say("put all back")
        self._way_back.go(old)
        problems = self._way_back.problems
        return f", but the programs may still use what it was: {'; '.join(problems)}" if problems else ""

    def _check_unchanged(self, path: str, outcome: str) -> None:
        """What the administrator has agreed to holds for the file that the plan was made of."""
        seen, now = self._seen[path], self._system.read(path)
        if (seen and seen.content) != (now and now.content):
            raise TemporaryError(f"{path} was changed while setup was at work: {outcome}; run onionmx setup again")

    def _write_ahead(self, manifest: Manifest, works: list[Work]) -> None:
        for work in works:
            part = manifest.part(work.stage)
            manifest.set_back(work.stage, work.stage.back)
            if work.stage.name not in manifest.pending:
                manifest.pending.append(work.stage.name)
            part.units += [unit for unit in work.units if unit not in part.units]
            for change in work.changes:
                manifest.note(work.stage, change, self._system.read(change.path))
                self._way_back.folders += [
                    folder
                    for folder in self._system.missing_folders(change.path)
                    if folder not in self._way_back.folders
                ]
        manifest.folders += [folder for folder in self._way_back.folders if folder not in manifest.folders]
        store(self._system, manifest)

    def _stage(self, work: Work, manifest: Manifest) -> None:
        self._way_back.begun.append(work.stage)
        for unit in work.stale:  # as long as its file is there
            self._disable(unit)
        for change in work.changes:
            self._change(change, manifest, is_edited=change.path in work.edited)
        for folder in reversed(manifest.folders):
            self._system.remove_folder(folder)  # those that are empty
        left = False
        for step in work.stage.steps:
            if isinstance(step, Wait):
                left = left or self._wait(step)
            elif step.needs_systemd and not self._systemd:
                self.applied.to_run.append(str(step))
                left = True
            else:
                self._command(step)
        for unit in work.stage.units:
            left = self._start(unit, new=unit in work.units) or left
        part = manifest.part(work.stage)
        part.units = [unit for unit in part.units if unit not in work.stale]
        part.files = [file for file in part.files if FileChange(file.path, None, file.whole) not in work.changes]
        if not left:
            manifest.pending.remove(work.stage.name)
        store(self._system, manifest)

    def _change(self, change: FileChange, manifest: Manifest, *, is_edited: bool) -> None:
        self._check_unchanged(change.path, "all was put back")
        now = self._system.read(change.path)
        if is_edited and now is not None and change.path not in self._kept:
            self._keep(change.path, now)
        self._way_back.before.append((change.path, now))
        self.applied.changed = True
        self._system.clear_draft(change.path)
        if change.content is None:
            self._say(f"take back {change.path}")
            file = manifest.file(change.path)
            if file is not None:
                put_back(self._system, file)
            self._seen[change.path] = self._system.read(change.path)
            return
        self._say(f"write {change.path}")
        for folder in self._system.missing_folders(change.path):
            self._system.make_folder(folder)
        self._system.write(change.path, change.content)
        self._seen[change.path] = self._system.read(change.path)

    def _keep(self, path: str, now: FileState) -> None:
        self._kept.add(path)
        copy = f"{path}{KEPT_SUFFIX}"
        self._way_back.before.append((copy, self._system.read(copy)))
        keep_copy(self._system, path, now)
        self.applied.kept.append(f"{path} was changed within the lines of setup: kept as {copy}")

    def _command(self, command: SetupCommand) -> None:
        self._say(f"run {command}")
        done = self._system.run(command.words)
        if done.code and command.may_fail:
            self.applied.warnings.append(f"{command} ended with {done.code}: {done.said}")
        elif done.code and command.is_check:
            raise ConfigurationError(f"{command} refuses: {done.said}; all was put back")
        elif done.code:
            raise TemporaryError(f"{command} ended with {done.code}: {self._why(command, done)}; all was put back")

    def _why(self, command: SetupCommand, done: Done) -> str:
        """What the command said, or, of a unit, what its journal has."""
        if command.words[0] != "systemctl":
            return done.said
        words = ("journalctl", "--no-pager", "--output=cat", f"--lines={_JOURNAL_LINES}", f"--unit={command.words[-1]}")
        return self._system.run(words).said or done.said

    def _wait(self, wait: Wait) -> bool:
        """Wait; whether it is left to somebody else."""
        if wait.seconds and not self._systemd:
            return True
        if not self._system.wait_for(wait.what, wait.seconds):
            because = "".join(f" ({warning})" for warning in self.applied.warnings)
            raise TemporaryError(f"{wait.why}{because}; all was put back")
        return False

    def _start(self, unit: str, *, new: bool) -> bool:
        """Have a unit run, with what its files say now; whether it is left to somebody else."""
        words = ("enable", "--now") if new else ("restart",)
        if not self._systemd:
            self.applied.to_run.append(f"systemctl {' '.join(words)} {unit}")
            return True
        if new:
            if unit.endswith(".socket"):  # systemd does not listen where the service does already
                self._command(SetupCommand(("systemctl", "stop", unit.replace(".socket", ".service"))))
            self._way_back.enabled.append(unit)
            self.applied.changed = True
        self._command(SetupCommand(("systemctl", *words, unit)))
        return False

    def _disable(self, unit: str) -> None:
        if self._systemd:
            self._way_back.disabled.append(unit)
            self._command(SetupCommand(("systemctl", "disable", "--now", unit), may_fail=True))
        else:
            self.applied.to_run.append(f"systemctl disable --now {unit}")


def prepare(system: System) -> None:
    """Make the folder of the manifest, out of that of an older version where there is one, and that of the map.

    Raises:
        ConfigurationError: somebody else than root could have written the older one.
    """
    if system.exists(FORMER_FOLDER) and not system.exists(FOLDER):
        for path in (STATE_DIRECTORY, FORMER_FOLDER):
            if (owner := system.real(path).lstat().st_uid) != os.geteuid():
                raise ConfigurationError(
                    f"{FORMER_FOLDER} says what setup has changed, and user {owner}, who owns {path}, could have "
                    f"written it: look at it, then move it to {FOLDER} and chown -R root it"
                )
        system.rename(FORMER_FOLDER, FOLDER)
    for folder, mode in ((STATE_DIRECTORY, 0o755), (FOLDER, 0o700)):
        if not system.exists(folder):
            system.make_folder(folder, mode)
