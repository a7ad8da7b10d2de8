"""onionmx machine as root calls it; the unit and tor are played."""

import json
import os
from pathlib import Path

import pytest

from onionmx.cli import machine as cli
from onionmx.cli import main
from onionmx.errors import ControlError
from onionmx.machine.build import PACKAGES_FILE, Say
from onionmx.machine.service import Look, Service

ONION = "a.onion"
_tor = {"version": "1"}


class Unit(Service):
    active, answers, progress = True, True, 100

    def is_active(self) -> bool:
        return self.active

    def restart(self) -> None:
        pass

    def fault(self) -> str:
        return ""

    def look(self) -> Look:
        if not self.answers:
            raise ControlError("tor does not answer")
        return Look("0.4.8", self.progress, (ONION,))

    def verify(self, root: Path) -> None:
        pass


def build(place: Path, _lock: int, say: Say) -> Path:
    say("build")
    file = place / "root" / PACKAGES_FILE
    file.parent.mkdir(parents=True)
    file.write_text(f"libc6 2\ntor {_tor['version']}\n")
    return place / "root"


@pytest.fixture(autouse=True)
def host(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    monkeypatch.setattr(os, "umask", lambda _: 0)
    monkeypatch.setattr(cli, "ROOTS", tmp_path / "machine")
    monkeypatch.setattr(cli, "Service", Unit)
    monkeypatch.setattr(cli, "build_root", build)
    monkeypatch.setattr(cli, "check_programs", lambda: None)
    for name, value in (("active", True), ("answers", True), ("progress", 100)):
        monkeypatch.setattr(Unit, name, value)
    monkeypatch.setitem(_tor, "version", "1")


def test_only_root(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    for name in ("build", "update", "rollback", "status"):
        assert main(["machine", name]) == 78
        assert "run it as root" in capsys.readouterr().err


def test_from_the_first_root_to_a_rollback(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["machine", "update"]) == 78
    assert "onionmx machine build" in capsys.readouterr().err
    assert main(["machine", "status"]) == 0
    assert main(["machine", "build"]) == 0
    assert "built the root with tor 1: systemctl enable --now onionmx-tor.service" in capsys.readouterr().out
    assert main(["machine", "update"]) == 0
    assert capsys.readouterr() == ("", ""), "nothing for cron to send"
    monkeypatch.setitem(_tor, "version", "2")
    assert main(["machine", "update"]) == 0
    assert capsys.readouterr().out == "tor 1 -> 2; the old root is kept for a rollback\n"
    monkeypatch.setattr(Unit, "active", False)
    assert main(["machine", "rollback"]) == 0
    assert capsys.readouterr().out == "tor 2 -> 1; the machine was not running, and was not started\n"
    assert main(["machine", "rollback", "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["changed"], said["tor"], said["packages"]) == (True, "2", {"tor": ["1", "2"]})


def test_status(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    main(["machine", "build"])
    monkeypatch.setitem(_tor, "version", "2")
    main(["machine", "update"])
    capsys.readouterr()
    assert main(["machine", "status"]) == 0
    assert capsys.readouterr().out.splitlines() == [
        *("root: tor 2", "previous: tor 1", "onionmx-tor.service: active"),
        *("tor 0.4.8: 100 % bootstrapped", f"onion: {ONION}"),
    ]
    monkeypatch.setattr(Unit, "progress", 50)
    assert main(["machine", "status", "--json"]) == 1
    said = json.loads(capsys.readouterr().out)
    assert (said["root"]["packages"]["tor"], said["tor"]["bootstrapped"], said["why"]) == ("2", 50, "")
    monkeypatch.setattr(Unit, "answers", False)
    assert main(["machine", "status"]) == 75
    assert "active; tor does not answer" in capsys.readouterr().out
    monkeypatch.setattr(Unit, "active", False)
    assert main(["machine", "status"]) == 1
    assert "not active" in capsys.readouterr().out
