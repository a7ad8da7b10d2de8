"""What one run has done, to put all of it back when something fails: the machine is then as it was before the run."""

import shlex
from dataclasses import dataclass, field

from onionmx.setup.manifest import Manifest, remove, store
from onionmx.setup.steps import FileState, SetupStage
from onionmx.setup.system import System


@dataclass(slots=True)
class WayBack:
    """What there is to put back.

    Attributes:
        system: the machine.
        systemd: whether it runs here.
        before: files as they were, in the order in which they were changed.
        folders: that did not exist.
        enabled: units that were off.
        disabled: units that were on.
        begun: stages.
        problems: commands that failed on it.
    """

    system: System
    systemd: bool = field(kw_only=True)
    before: list[tuple[str, FileState | None]] = field(default_factory=list)
    folders: list[str] = field(default_factory=list)
    enabled: list[str] = field(default_factory=list)
    disabled: list[str] = field(default_factory=list)
    begun: list[SetupStage] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)

    def go(self, old: Manifest | None) -> None:
        """Put all back.

        Args:
            old: the manifest of before the run; `None` if there was none.
        """
        for unit in reversed(self.enabled):
            self._run(("systemctl", "disable", "--now", unit))
        self._files()
        for stage in reversed(self.begun):
            for command in stage.back:
                if self.systemd or not command.needs_systemd:
                    self._run(command.words, may_fail=command.may_fail)
        self._units()
        if old is None:
            remove(self.system)
        else:
            store(self.system, old)

    def _files(self) -> None:
        for path, state in reversed(self.before):
            self.system.clear_draft(path)
            if state is None:
                self.system.remove(path)
            else:
                for folder in self.system.missing_folders(path):
                    self.system.make_folder(folder)
                self.system.write(path, state.content, state)
        for folder in reversed(self.folders):
            self.system.remove_folder(folder)

    def _units(self) -> None:
        """Units that were on run again, with what their files say now."""
        for unit in self.disabled:
            self._run(("systemctl", "enable", "--now", unit))
        stay = [unit for stage in self.begun for unit in stage.units if unit not in self.enabled]
        for unit in stay if self.systemd else ():
            self._run(("systemctl", "try-restart", unit))

    def _run(self, words: tuple[str, ...], *, may_fail: bool = False) -> None:
        done = self.system.run(words)
        if done.code and not may_fail:
            self.problems.append(f"{shlex.join(words)} ended with {done.code}: {done.said}")
