"""A machine to be set up by the command itself."""

from collections.abc import Callable
from pathlib import Path

import pytest

from onionmx.cli import main
from tests.setup.sandbox import Sandbox

Setup = Callable[..., int]
WISHES = ("--yes", "--domain", "example.org", "--send", "--receive", "--lists")


@pytest.fixture(autouse=True)
def no_waiting_for_the_disk(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process that is killed loses nothing that it has written; only a machine that loses its power does."""
    monkeypatch.setattr("onionmx.setup.system.os.fsync", lambda _descriptor: None)


@pytest.fixture
def lists(tmp_path: Path) -> str:
    path = tmp_path / "domains"
    path.write_text("example.net\n")
    return str(path)


@pytest.fixture
def setup(monkeypatch: pytest.MonkeyPatch, lists: str) -> Setup:
    """Run `onionmx setup` in a sandbox; without words, with all that is needed."""
    monkeypatch.setattr("onionmx.cli.setup.os.geteuid", lambda: 0)

    def run(sandbox: Sandbox, *words: str) -> int:
        monkeypatch.setattr("onionmx.cli.setup.System", lambda: sandbox)
        return main(["setup", *(words or (*WISHES, lists))])

    return run
