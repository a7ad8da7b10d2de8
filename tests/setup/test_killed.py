"""kill -9 at every step: before and after each write, in the middle of each, before and after each command."""

import os
import signal
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

from onionmx.cli import main
from onionmx.setup import manifest
from onionmx.setup.system import Done
from tests.setup.conftest import WISHES, Setup
from tests.setup.sandbox import Sandbox, snapshot

_KILLED = -signal.SIGKILL


class Mortal(Sandbox):
    """It kills its process at a step."""

    left: int | None = None

    def write(self, *arguments: object, **more: object) -> None:
        self._step()
        super().write(*arguments, **more)  # type: ignore[arg-type]
        self._step()

    def _commit(self, draft: Path, real: Path) -> None:
        self._step()
        super()._commit(draft, real)

    def remove(self, path: str) -> None:
        self._step()
        super().remove(path)

    def remove_tree(self, path: str) -> None:
        self._step()
        super().remove_tree(path)

    def remove_folder(self, path: str) -> None:
        self._step()
        super().remove_folder(path)

    def make_folder(self, path: str, mode: int = 0o755) -> None:
        self._step()
        super().make_folder(path, mode)
        self._step()

    def run(self, words: Sequence[str]) -> Done:
        self._step()
        done = super().run(words)
        self._step()
        return done

    def _step(self) -> None:
        if self.left is None:
            return
        if self.left == 0:
            os.kill(os.getpid(), signal.SIGKILL)
        self.left -= 1


def killed_at(step: int, sandbox: Mortal, words: Sequence[str]) -> int:
    """Run the command in a process of its own that dies at a step; its exit code."""
    process = os.fork()
    if process == 0:
        code = 70
        try:
            os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
            sandbox.left = step
            code = main(["setup", *words])
        finally:
            os._exit(code)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


@pytest.fixture
def machine(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> Callable[[str, int], Mortal]:
    # Who is killed leaves its drafts behind.
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path_factory.mktemp("drafts")))
    monkeypatch.setattr("onionmx.cli.setup.os.geteuid", lambda: 0)

    def make(mta: str, step: int) -> Mortal:
        sandbox = Mortal.make(tmp_path / f"{mta}{step}", mta, real_tools=False)
        monkeypatch.setattr("onionmx.cli.setup.System", lambda: sandbox)
        return sandbox

    return make


@pytest.mark.parametrize("then", ["set up again", "take back"])
@pytest.mark.parametrize("mta", ["postfix", "exim"])
def test_killed_while_setting_up(
    machine: Callable[[str, int], Mortal], setup: Setup, lists: str, mta: str, then: str
) -> None:
    words = (*WISHES, lists)
    whole = machine(mta, -1)
    before = snapshot(whole.root)
    assert setup(whole) == 0
    after, units = snapshot(whole.root), whole.units
    step = 0
    while True:
        sandbox = machine(mta, step)
        code = killed_at(step, sandbox, words)
        if code == 0:
            break
        assert code == _KILLED
        if then == "set up again":
            assert setup(sandbox) == 0, f"after step {step}"
            assert (snapshot(sandbox.root), sandbox.units) == (after, units), f"after step {step}"
        assert setup(sandbox, "--undo", "--yes") == 0
        assert snapshot(sandbox.root) == before, f"after step {step}"
        assert not sandbox.units
        assert not sandbox.exists(manifest.FOLDER)
        step += 1
    assert step > 50


@pytest.mark.parametrize("mta", ["postfix", "exim"])
def test_killed_while_taking_back(machine: Callable[[str, int], Mortal], setup: Setup, mta: str) -> None:
    step = 0
    while True:
        sandbox = machine(mta, step)
        before = snapshot(sandbox.root)
        assert setup(sandbox) == 0
        after = snapshot(sandbox.root)
        code = killed_at(step, sandbox, ("--undo", "--yes"))
        if code == 0:
            break
        assert code == _KILLED
        if step % 2:
            assert setup(sandbox) == 0
            assert snapshot(sandbox.root) == after, f"after step {step}"
        assert setup(sandbox, "--undo", "--yes") == 0
        assert snapshot(sandbox.root) == before, f"after step {step}"
        assert not sandbox.units
        step += 1
    assert step > 20


@pytest.mark.parametrize("mta", ["postfix", "exim"])
def test_killed_while_putting_back_what_was_refused(
    machine: Callable[[str, int], Mortal], setup: Setup, lists: str, mta: str
) -> None:
    """The second tool refuses, and the process dies somewhere on the way back."""
    step = 0
    while True:
        sandbox = machine(mta, step)
        before = snapshot(sandbox.root)
        sandbox.refusing = ["postfix check", "exim4 -bV"]
        code = killed_at(step, sandbox, (*WISHES, lists))
        sandbox.refusing = []
        if code != _KILLED:
            assert code == 78
            break
        assert setup(sandbox) == 0
        assert setup(sandbox, "--undo", "--yes") == 0
        assert snapshot(sandbox.root) == before, f"after step {step}"
        step += 1


def test_killed_while_sending_is_taken_away(machine: Callable[[str, int], Mortal], setup: Setup, lists: str) -> None:
    """OpenSMTPD has a drop-in in a folder of its own, which goes with it."""
    receiving = ("--yes", "--domain", "example.org", "--receive", "--lists", lists)
    plain = machine("opensmtpd", -1)
    assert setup(plain, *receiving) == 0
    after, units = snapshot(plain.root), plain.units
    step = 0
    while True:
        sandbox = machine("opensmtpd", step)
        before = snapshot(sandbox.root)
        assert setup(sandbox, *receiving, "--send") == 0
        code = killed_at(step, sandbox, ("--yes", "--no-send"))
        if code == 0:
            break
        assert code == _KILLED
        assert setup(sandbox, "--yes", "--no-send") == 0
        assert (snapshot(sandbox.root), sandbox.units) == (after, units), f"after step {step}"
        assert setup(sandbox, "--undo", "--yes") == 0
        assert snapshot(sandbox.root) == before, f"after step {step}"
        step += 1
    assert step > 20
