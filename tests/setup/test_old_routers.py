"""Routers of an older onionmx, copied by hand before setup or over what it has written; judged by a real Exim."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from onionmx.setup.system import Done
from tests.doctor.checks.test_exim_routers import NAME, OLD_HELPER
from tests.e2e.exim import DEBIAN_LIKE, Exim
from tests.setup.conftest import WISHES, Setup
from tests.setup.sandbox import Sandbox, snapshot

ROUTER = f"/etc/exim4/conf.d/{NAME}"
LEAK = 'exim-routers: a leak: router onionmx_unknown takes exit code 1 alone for "no route"'


class Machine(Sandbox):
    """With an Exim that says which routers it has."""

    def run(self, words: Sequence[str]) -> Done:
        """Run the real Exim for its routers, with the fragments that are in the root now."""
        if tuple(words[1:]) != ("-bP", "routers"):
            return super().run(words)
        confd = self.real("/etc/exim4/conf.d")
        ours = {str(path.relative_to(confd)): path.read_text() for path in confd.glob("*/*onionmx*")}
        folder = self.root / f"exim-{len(self.commands)}"
        self.commands.append(" ".join(words))
        done = Exim(folder, "example.org", parts=DEBIAN_LIKE | {NAME: ""} | ours).run(*words[1:])
        return Done(done.returncode, done.stdout, done.stderr)


@pytest.fixture
def machine(tmp_path: Path) -> Sandbox:
    return Machine.make(tmp_path / "root", "exim")


@pytest.mark.parametrize("systemd", [True, False])
def test_copied_router_is_replaced_and_an_undo_calls_it_a_leak(
    machine: Sandbox, setup: Setup, lists: str, capsys: pytest.CaptureFixture[str], *, systemd: bool
) -> None:
    router = machine.real(ROUTER)
    router.write_text(OLD_HELPER)
    if not systemd:
        machine.real("/run/systemd/system").rmdir()
    before = snapshot(machine.root)
    assert setup(machine, *WISHES, lists, "--exim=helper") == (0 if systemd else 75)
    said = capsys.readouterr().out
    assert "-  condition = ${if !match{$address_data}{^1:}}" in said
    assert "problem: " not in said
    assert "^1:" not in router.read_text()

    assert setup(machine, "--undo", "--yes") == 1
    assert f"problem: {LEAK}" in capsys.readouterr().out
    assert snapshot(machine.root) == before


def test_old_router_over_that_of_setup_stands_in_the_way(
    machine: Sandbox, setup: Setup, lists: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup(machine, *WISHES, lists, "--exim=helper") == 0
    router = machine.real(ROUTER)
    ours = router.read_text()
    router.write_text(OLD_HELPER)
    for words in (("--yes",), ("--dry-run",)):
        assert setup(machine, *words) == 78
        assert f"{ROUTER} was changed after onionmx setup had written it, and is a leak" in capsys.readouterr().err
    assert router.read_text() == OLD_HELPER
    router.unlink()
    assert setup(machine, "--yes") == 0
    assert router.read_text() == ours


def test_router_that_setup_does_not_touch_is_told_without_systemd(
    machine: Sandbox, setup: Setup, lists: str, capsys: pytest.CaptureFixture[str]
) -> None:
    machine.real(ROUTER).write_text(OLD_HELPER)
    machine.real("/run/systemd/system").rmdir()
    words = ("--yes", "--domain", "example.org", "--receive", "--lists", lists)
    assert setup(machine, *words) == 1
    assert f"problem: {LEAK}" in capsys.readouterr().out
