"""What all tests share."""

import logging
import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import settings

from tests.stalls import leave_out_stalls

# A slow machine must not fail a property; deadlines belong to make bench. The same examples each time: a run tells of
# the change that it tests. HYPOTHESIS_PROFILE=explore looks for new ones.
settings.register_profile("onionmx", deadline=None, print_blob=True, derandomize=True)
settings.register_profile("quick", parent=settings.get_profile("onionmx"), max_examples=20)
settings.register_profile("explore", parent=settings.get_profile("onionmx"), derandomize=False, max_examples=1000)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "onionmx"))


@pytest.hookimpl(tryfirst=True)  # xdist's own hook looks for the marks
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Where tests run side by side, never two Tor networks at once, and the other servers one test after the other."""
    for item in items:
        if "tor_network" in getattr(item, "fixturenames", ()):
            item.add_marker(pytest.mark.xdist_group("tor"))
        elif item.path.parent.name == "e2e":
            item.add_marker(pytest.mark.xdist_group("servers"))


@pytest.fixture(autouse=True)
def no_configuration_of_this_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Tests see the defaults, and their own folder as the state of a plain user."""
    monkeypatch.setattr("onionmx.config.file.DEFAULT_FILE", tmp_path / "no-such.toml")
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path))
    monkeypatch.delenv("ONIONMX_CONFIG", raising=False)


@pytest.fixture(autouse=True)
def log_ends_with_the_test(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    """What a command begins lasts as long as its process, and its standard error as long as the test."""
    root, ours = logging.getLogger(), logging.getLogger("onionmx")
    handlers, levels = list(root.handlers), (root.level, ours.level)
    monkeypatch.setattr("onionmx.log.handlers._Log.handler", None)
    monkeypatch.setattr("onionmx.log.handlers._Log.is_verbose", False)
    yield
    for handler in set(root.handlers) - set(handlers):
        root.removeHandler(handler)
        handler.close()
    root.setLevel(levels[0])
    ours.setLevel(levels[1])


@pytest.fixture(autouse=True)
def time_without_stalls(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> None:
    """Beside real programs, whose clocks count the stalls too, the loops of a test keep the time of the machine."""
    if request.path.parent.name != "e2e":
        leave_out_stalls(monkeypatch)
