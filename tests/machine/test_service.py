"""The unit is played by what systemctl would say; tor is a real one."""

from collections.abc import Iterator, Sequence
from pathlib import Path

import pytest

from onionmx.config import TorSection
from onionmx.errors import ConfigurationError, ControlError, TemporaryError
from onionmx.machine import service
from onionmx.machine.service import Look, Service, why_not_sound
from tests.e2e.lone_tor import LoneTor


@pytest.fixture
def tor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[LoneTor]:
    folder = tmp_path / "tor"
    lone = LoneTor(folder, f"HiddenServiceDir {folder}/onion\nHiddenServicePort 25 unix:{folder}/smtp\n")
    monkeypatch.setattr(service, "CONTROL", TorSection(control=f"unix:{lone.socket}"))
    lone.start()
    yield lone
    lone.stop()


class Active(Service):
    def fault(self) -> str:
        return ""


def test_what_tor_says(tor: LoneTor) -> None:
    onion = (tor.folder / "onion/hostname").read_text().strip()
    look = Service().look()
    assert (look.onions, look.problem, look.is_ready) == ((onion,), "", False)
    assert look.version.startswith("0.4.")
    assert why_not_sound(Active(), Look("0", 0, (onion,)), 0, lambda: 0) == ""
    assert "it has lost other.onion" in why_not_sound(Active(), Look("0", 0, (onion, "other.onion")), 0, lambda: 0)
    assert "bootstrapped to " in why_not_sound(Active(), Look("0", 100, (onion,)), 0, lambda: 0)


def test_no_tor(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(service, "CONTROL", TorSection(control=f"unix:{tmp_path}/none"))
    with pytest.raises(ControlError):
        Service().look()
    times = iter((0.0, 1.0, 99.0))
    assert "does not answer" in why_not_sound(Active(), None, 5, lambda: next(times))


@pytest.mark.parametrize(
    ("state", "restarts", "fault"),
    [
        ("active", "0", ""),
        ("activating", "0", ""),
        ("active", "1", "tor ended by itself"),
        ("failed", "0", "onionmx-tor.service is failed"),
    ],
)
def test_the_unit(monkeypatch: pytest.MonkeyPatch, state: str, restarts: str, fault: str) -> None:
    said = {"--property=ActiveState": state, "--property=NRestarts": restarts}
    monkeypatch.setattr(service, "run", lambda words, **_: f"{said[words[2]]}\n")
    assert Service().fault() == fault
    assert why_not_sound(Service(), None, 0, lambda: 0) if fault else Service().is_active()


def test_a_start_is_counted_from_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    monkeypatch.setattr(service, "run", lambda words, **_: ran.append(words[1]))
    Service().restart()
    assert ran == ["reset-failed", "restart"]


def test_a_unit_that_does_not_start(monkeypatch: pytest.MonkeyPatch) -> None:
    def fails(words: Sequence[str], **_: object) -> str:
        raise TemporaryError(f"{words[0]} ended with 1")

    monkeypatch.setattr(service, "run", fails)
    with pytest.raises(TemporaryError, match=r"does not start: journalctl -u onionmx-tor.service says why"):
        Service().restart()


def test_torrc_is_checked_in_the_new_root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    ran: list[str] = []
    why = ""

    def ask(words: Sequence[object], **_: object) -> str:
        ran.append(" ".join(map(str, words)))
        if why:
            raise TemporaryError(why)
        return ""

    monkeypatch.setattr(service, "run", ask)
    monkeypatch.setattr(service, "prepare", lambda: None)
    for name in ("NSPAWN", "TORRC"):
        monkeypatch.setattr(service, name, tmp_path / name)
    with pytest.raises(ConfigurationError, match=r"NSPAWN is missing: docs/tor-machine.md"):
        Service().verify(tmp_path)
    assert not ran, "without its settings nspawn would run it as root"
    for name in ("NSPAWN", "TORRC"):
        (tmp_path / name).touch()
    Service().verify(tmp_path)
    assert f"--directory={tmp_path} /usr/bin/tor --verify-config -f {tmp_path}/TORRC" in ran[0]
    why = "systemd-run ended with 1: [warn] Unknown option; [err] Reading config failed"
    with pytest.raises(ConfigurationError, match=r"refuses .*TORRC: .*Unknown option"):
        Service().verify(tmp_path)
    why = "systemd-run ended with 1: Failed to connect to bus"
    with pytest.raises(TemporaryError, match="connect to bus"):
        Service().verify(tmp_path)
