"""The command in a sandbox: plan, apply, apply again, take back."""

import errno
import json
import os
import pty
import subprocess
import sys
import tomllib
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest

from onionmx.setup import manifest
from onionmx.setup.programs import postfix, settings
from onionmx.setup.steps import FileState
from onionmx.setup.system import Done
from onionmx.shipped import shipped
from tests.e2e.programs import PROJECT
from tests.onions import V3_ONION
from tests.setup.conftest import WISHES, Setup
from tests.setup.sandbox import Sandbox, snapshot


@dataclass(frozen=True)
class Machine:
    """What most tests need at once."""

    tmp_path: Path
    setup: Setup
    lists: str
    capsys: pytest.CaptureFixture[str]


@pytest.fixture
def machine(tmp_path: Path, setup: Setup, lists: str, capsys: pytest.CaptureFixture[str]) -> Machine:
    return Machine(tmp_path, setup, lists, capsys)


UNITS = {"onionmx-relay.service", "onionmx-relay.socket", "onionmx-sync.timer", "onionmx-watch.service"}
WAYS = [
    ("postfix", "--postfix=table"),
    ("postfix", "--postfix=socketmap"),
    ("exim", "--exim=relay"),
    ("exim", "--exim=helper"),
    ("exim", "--exim=readsocket"),
    ("opensmtpd", "--mta=opensmtpd"),
]


@pytest.mark.parametrize(("mta", "way"), WAYS)
@pytest.mark.parametrize("direction", ["--send", "--receive", "--send --receive"])
def test_there_and_back(machine: Machine, mta: str, way: str, direction: str) -> None:
    tmp_path, setup, lists, capsys = machine.tmp_path, machine.setup, machine.lists, machine.capsys
    sandbox = Sandbox.make(tmp_path / "root", mta)
    before = snapshot(sandbox.root)
    words = ("--yes", way, "--domain", "example.org", *direction.split(), "--lists", lists)

    assert setup(sandbox, "--dry-run", *words) == 0
    assert snapshot(sandbox.root) == before
    assert not sandbox.exists(manifest.FOLDER)

    assert setup(sandbox, *words) == 0
    after = snapshot(sandbox.root)
    assert after != before
    assert ("onionmx-sync.timer" in sandbox.units) == ("--send" in direction)
    assert ("onionmx-watch.service" in sandbox.units) == ("--receive" in direction)

    capsys.readouterr()
    assert setup(sandbox, "--yes") == 0
    assert "nothing was changed" in capsys.readouterr().out
    assert snapshot(sandbox.root) == after

    assert setup(sandbox, "--undo", "--yes") == 0
    assert snapshot(sandbox.root) == before
    assert not sandbox.units
    assert not sandbox.exists(manifest.FOLDER)
    assert setup(sandbox, "--undo", "--yes") == 0


@pytest.mark.parametrize(("mta", "way"), WAYS)
def test_wishes_that_change_leave_nothing_of_the_old_ones(
    tmp_path: Path, setup: Setup, lists: str, mta: str, way: str
) -> None:
    plain = Sandbox.make(tmp_path / "plain", mta)
    words = ("--yes", way, "--domain", "example.org", "--receive", "--lists", lists)
    assert setup(plain, *words) == 0
    sandbox = Sandbox.make(tmp_path / "root", mta)
    before = snapshot(sandbox.root)
    assert setup(sandbox, "--send", *words) == 0
    assert setup(sandbox, "--yes", "--no-send") == 0
    assert snapshot(sandbox.root) == snapshot(plain.root)
    assert sandbox.units == {"onionmx-watch.service"}
    assert setup(sandbox, "--yes", "--send", "--no-receive") == 0
    assert setup(sandbox, "--yes", "--undo") == 0
    assert snapshot(sandbox.root) == before


@pytest.mark.parametrize("mta", ["postfix", "exim"])
@pytest.mark.parametrize(
    ("refusing", "code"),
    [
        ("/usr/bin/tor", 78),
        ("postfix check", 78),
        ("update-exim4.conf", 78),
        ("exim4 -bV", 78),
        ("systemctl reload-or-restart tor@default", 75),
        ("systemctl enable --now onionmx-sync.timer", 75),
        ("systemctl restart exim4", 75),
        ("systemctl reload-or-restart postfix", 75),
    ],
)
def test_what_is_refused_is_put_back(tmp_path: Path, setup: Setup, mta: str, refusing: str, code: int) -> None:
    sandbox = Sandbox.make(tmp_path / "root", mta, refusing=[refusing])
    before = snapshot(sandbox.root)
    if ("postfix" if mta == "exim" else "exim") in refusing:
        code = 0  # that of the other MTA
    assert setup(sandbox) == code
    if code:
        assert snapshot(sandbox.root) == before
        assert not sandbox.units
        assert not sandbox.exists(manifest.FOLDER)


def test_first_sync_that_writes_no_map_ends_before_mail_waits_for_it(
    tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    before = snapshot(sandbox.root)
    sandbox.failing_sync = True
    assert setup(sandbox) == 75
    assert "the first sync wrote no /var/lib/onionmx/onionmx.cdb" in capsys.readouterr().err
    assert snapshot(sandbox.root) == before


def test_changes_of_others_stay(tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "exim")
    before = snapshot(sandbox.root)
    assert setup(sandbox) == 0
    settings = sandbox.real("/etc/exim4/update-exim4.conf.conf")
    settings.write_text(settings.read_text().replace("CFILEMODE='644'", "CFILEMODE='640'"))
    router = sandbox.real("/etc/exim4/conf.d/router/190_onionmx")
    router.write_text("# mine\n" + router.read_text())
    capsys.readouterr()
    assert setup(sandbox, "--yes") == 0
    assert "nothing was changed" in capsys.readouterr().out

    assert setup(sandbox, "--undo", "--yes") == 0
    assert settings.read_text().count("CFILEMODE='640'") == 1
    assert "onionmx" not in settings.read_text()
    assert "kept as /etc/exim4/conf.d/router/190_onionmx.onionmx-kept" in capsys.readouterr().out
    kept = router.with_name("190_onionmx.onionmx-kept")
    assert kept.read_text().startswith("# mine\n")
    kept.unlink()
    settings.write_text(settings.read_text().replace("CFILEMODE='640'", "CFILEMODE='644'"))
    assert snapshot(sandbox.root) == before


def test_modes_stay(tmp_path: Path, setup: Setup) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    sandbox.real("/etc/postfix/main.cf").chmod(0o600)
    sandbox.real("/etc/tor/torrc").chmod(0o640)
    before = snapshot(sandbox.root)
    assert setup(sandbox) == 0
    assert sandbox.real("/etc/postfix/main.cf").stat().st_mode & 0o777 == 0o600
    assert sandbox.real("/etc/tor/torrc").stat().st_mode & 0o777 == 0o640
    assert setup(sandbox, "--undo", "--yes") == 0
    assert snapshot(sandbox.root) == before


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (("--yes", "--send"), "setup cannot know: --domain"),
        (("--yes", "--domain", "example.org"), "setup cannot know: --send, --receive or both"),
        (("--yes", "--domain", "a b", "--send"), "--domain a b: "),
        (("--yes", "--domain", "example.org", "--no-send", "--no-receive"), "neither sending nor receiving"),
        (("--yes", "--domain", "example.org", "--send", "--publish-to", "here"), "--publish-to: "),
        (("--domain", "example.org", "--send"), "there is no terminal to ask on"),
    ],
)
def test_what_is_missing_is_named(
    tmp_path: Path, setup: Setup, words: tuple[str, ...], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    assert setup(sandbox, *words) == 64
    said = capsys.readouterr().err
    assert why in said
    assert len(said.splitlines()) == 1


def test_both_mtas_need_a_word(tmp_path: Path, setup: Setup, lists: str, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    sandbox.real("/usr/sbin/exim4").touch()
    sandbox.real("/etc/exim4").mkdir()
    sandbox.real("/etc/exim4/update-exim4.conf.conf").write_text("")
    assert setup(sandbox, *WISHES, lists) == 64
    assert "--mta exim or --mta postfix" in capsys.readouterr().err
    assert setup(sandbox, *WISHES, lists, "--mta", "postfix") == 0


def test_other_mta_is_told_where_the_relay_is(tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    sandbox.real(postfix.PROGRAM).unlink()
    assert setup(sandbox, "--yes", "--domain", "example.org", "--send") == 78
    said = capsys.readouterr().err
    assert "by SMTP, 127.0.0.1:10025" in said
    assert shipped(said.rpartition("onionmx files ")[2].rstrip(")\n")).is_file()


def test_json_for_programs(tmp_path: Path, setup: Setup, lists: str, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    assert setup(sandbox, *WISHES, lists, "--json", "--dry-run") == 0
    planned = json.loads(capsys.readouterr().out)
    assert setup(sandbox, *WISHES, lists, "--json") == 0
    first = json.loads(capsys.readouterr().out)
    assert setup(sandbox, *WISHES, lists, "--json") == 0
    second = json.loads(capsys.readouterr().out)
    assert (planned["changed"], first["changed"], second["changed"]) == (True, True, False)
    assert planned["plan"] == first["plan"]
    assert {file["path"] for file in first["plan"]["files"]} >= {"/etc/postfix/main.cf", "/etc/tor/torrc"}
    assert second["plan"] == {"files": [], "commands": [], "notes": first["plan"]["notes"]}
    assert first["result"]["records"][0].startswith("_onion-mx._tcp.example.org. 3600 IN SRV 0 5 25 ")
    assert setup(sandbox, "--undo", "--yes", "--json") == 0
    assert json.loads(capsys.readouterr().out)["changed"]
    assert setup(sandbox, "--undo", "--yes", "--json") == 0
    assert not json.loads(capsys.readouterr().out)["changed"]


def test_problem_at_the_end_is_told(tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    sandbox.doctor = [
        {"check": "open-relay", "severity": "problem", "seen": "relays", "fix": "do not"},
        {"check": "record", "severity": "problem", "seen": "no record"},
    ]
    assert setup(sandbox) == 1
    said = capsys.readouterr().out
    assert "problem: open-relay: relays (fix: do not)" in said
    assert "no record" not in said


def test_without_systemd_the_commands_are_named(
    tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    sandbox.real("/run/systemd/system").rmdir()
    before = snapshot(sandbox.root)
    assert setup(sandbox) == 75
    said = capsys.readouterr().out
    commands = [line.strip() for line in said.splitlines() if line.startswith("  systemctl ")]
    assert commands.index("systemctl enable --now onionmx-relay.service") < commands.index(
        "systemctl reload-or-restart postfix"
    )
    assert commands[-1] == "systemctl reload-or-restart tor@default.service"
    assert len(commands) == len(set(commands))
    assert not any(command.startswith("systemctl") for command in sandbox.commands)
    sandbox.real("/run/systemd/system").mkdir()
    assert setup(sandbox, "--yes") == 0
    assert "onionmx-relay.service" in sandbox.units
    assert setup(sandbox, "--undo", "--yes") == 0
    assert snapshot(sandbox.root) == before


def test_units_that_were_on_before_stay_on(tmp_path: Path, setup: Setup) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    (sandbox.root / "run/fake-units").write_text("onionmx-relay.service")
    assert setup(sandbox) == 0
    assert sandbox.units == UNITS
    assert setup(sandbox, "--undo", "--yes") == 0
    assert sandbox.units == {"onionmx-relay.service"}


def test_keys_stay_unless_they_are_to_go(tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    assert setup(sandbox) == 0
    assert setup(sandbox, "--undo", "--yes") == 0
    assert "the key of the onion service stays in /var/lib/tor/onion-mx" in capsys.readouterr().out
    assert sandbox.exists("/var/lib/tor/onion-mx")
    assert setup(sandbox) == 0
    assert setup(sandbox, "--undo", "--yes", "--delete-keys") == 0
    assert not sandbox.exists("/var/lib/tor/onion-mx")


def test_later_run_that_is_refused_leaves_the_earlier_one_in_force(machine: Machine) -> None:
    sandbox = Sandbox.make(machine.tmp_path / "root", "exim")
    words = ("--yes", "--domain", "example.org", "--send", "--lists", machine.lists)
    assert machine.setup(sandbox, *words, "--exim=readsocket") == 0
    before, units = snapshot(sandbox.root), sandbox.units
    sandbox.refusing = ["exim4 -bV"]
    assert machine.setup(sandbox, "--yes", "--exim=relay") == 78
    assert (snapshot(sandbox.root), sandbox.units) == (before, units)
    sandbox.refusing = []
    machine.capsys.readouterr()
    assert machine.setup(sandbox, "--yes") == 0
    assert "nothing was changed" in machine.capsys.readouterr().out


_ON_A_TERMINAL = """
import sys
from pathlib import Path
from onionmx.cli import main, setup
from tests.setup.sandbox import Sandbox
setup.System = lambda: Sandbox(Path(sys.argv[1]), real_tools=False)
setup.os.geteuid = lambda: 0
sys.exit(main(["setup", *sys.argv[2:]]))
"""


def test_on_a_terminal_it_asks_what_it_cannot_know(machine: Machine) -> None:
    sandbox = Sandbox.make(machine.tmp_path / "root", "postfix")
    sandbox.real("/usr/sbin/exim4").touch()
    sandbox.real("/etc/exim4").mkdir()
    sandbox.real("/etc/exim4/update-exim4.conf.conf").write_text("")
    terminal, other = pty.openpty()
    process = subprocess.Popen(
        [sys.executable, "-c", _ON_A_TERMINAL, str(sandbox.root), "--lists", machine.lists],
        stdin=other,
        stdout=other,
        stderr=other,
        cwd=PROJECT,
    )
    os.close(other)
    answers = {b"Mail domains": b"example.org\n", b"both": b"\n", b"which one": b"postfix\n", b"Apply": b"y\n"}
    said = b""
    with suppress(OSError):  # the end of a terminal
        while piece := os.read(terminal, 4096):
            said += piece
            for question in [question for question in answers if question in said and said.rstrip().endswith(b":")]:
                os.write(terminal, answers.pop(question))
    assert process.wait() == 0, said.decode()
    os.close(terminal)
    assert not answers
    assert sandbox.units == UNITS
    assert sandbox.exists("/var/lib/tor/onion-mx")


@pytest.mark.parametrize(
    "path", ["/etc/tor/torrc", "/etc/postfix/main.cf", "/etc/onionmx/onionmx.toml.d/50-setup.toml"]
)
def test_full_disk_is_told_and_all_put_back(machine: Machine, path: str, monkeypatch: pytest.MonkeyPatch) -> None:
    sandbox = Sandbox.make(machine.tmp_path / "root", "postfix")
    before = snapshot(sandbox.root)
    write = sandbox.write
    left = [1]

    def full(name: str, content: bytes, like: FileState | None = None) -> None:
        if name == path and left and left.pop():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), name)
        write(name, content, like)

    monkeypatch.setattr(sandbox, "write", full)
    assert machine.setup(sandbox) == 75
    assert f"onionmx: {path}: No space left on device; all was put back\n" == machine.capsys.readouterr().err
    assert snapshot(sandbox.root) == before
    assert not sandbox.units


def test_profile_is_loaded_where_the_kernel_confines_tor(machine: Machine) -> None:
    sandbox = Sandbox.make(machine.tmp_path / "root", "postfix")
    for name, content in (("sys/module/apparmor/parameters/enabled", "Y\n"), ("usr/sbin/apparmor_parser", "")):
        (sandbox.root / name).parent.mkdir(parents=True, exist_ok=True)
        (sandbox.root / name).write_text(content)
    parser = "apparmor_parser --replace --write-cache /etc/apparmor.d/system_tor"
    assert machine.setup(sandbox) == 0
    assert sandbox.commands.index(parser) < sandbox.commands.index("systemctl reload-or-restart tor@default.service")
    sandbox.commands.clear()
    assert machine.setup(sandbox, "--undo", "--yes") == 0
    assert parser in sandbox.commands


def test_record_is_sent_once_all_else_is_well(
    tmp_path: Path, setup: Setup, lists: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    words = (*WISHES, lists, "--publish-to", "192.0.2.1")
    sandbox.doctor = [{"check": "tor", "severity": "problem", "seen": "no network"}]
    assert setup(sandbox, *words, "--no-wait") == 1
    assert "the record to publish:" in capsys.readouterr().out
    sent = f"onionmx publish example.org --onion {V3_ONION}"
    assert not any(command.endswith(sent) for command in sandbox.commands)

    sandbox.doctor = []
    assert setup(sandbox, *words) == 0
    assert "published:\n  _onion-mx._tcp.example.org." in capsys.readouterr().out
    assert sum(command.endswith(sent) for command in sandbox.commands) == 1
    drop_in = tomllib.loads(sandbox.real(settings.DROP_IN).read_text())
    assert drop_in["publish"] == {"server": "192.0.2.1"}


@pytest.mark.parametrize(("code", "said"), [(75, "could not tell"), (1, "problem")])
def test_name_server_that_does_not_take_the_record(machine: Machine, code: int, said: str) -> None:
    class Refusing(Sandbox):
        def run(self, words: Sequence[str]) -> Done:
            done = super().run(words)
            return Done(code, errors="REFUSED") if list(words)[-2:] == ["--onion", V3_ONION] else done

    sandbox = Refusing.make(machine.tmp_path / "root", "postfix")
    assert machine.setup(sandbox, *WISHES, machine.lists, "--publish-to", "192.0.2.1") == code
    output = machine.capsys.readouterr().out
    assert "the record to publish:\n  _onion-mx._tcp.example.org." in output
    assert f"{said}: onionmx publish ended with {code}: REFUSED" in output
