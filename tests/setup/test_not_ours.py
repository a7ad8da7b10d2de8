"""What belongs to the administrator stays, and what setup cannot know it does not touch."""

from collections.abc import Sequence
from pathlib import Path

import pytest

from onionmx.errors import UsageError
from onionmx.setup.programs.wishes import SetupOptions, checked
from onionmx.setup.system import Done
from tests.onions import V3_ONION
from tests.setup.conftest import Setup
from tests.setup.sandbox import Sandbox, snapshot

SHOP = "HiddenServiceDir /var/lib/tor/shop\nHiddenServicePort 80 127.0.0.1:80\nHiddenServicePort 25 127.0.0.2:25\n"


def test_key_of_a_service_that_was_there_is_never_deleted(tmp_path: Path, setup: Setup) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    key = sandbox.root / "var/lib/tor/shop/hs_ed25519_secret_key"
    key.parent.mkdir()
    key.write_bytes(b"the only one")
    (key.parent / "hostname").write_text(f"{V3_ONION}\n")
    with (sandbox.root / "etc/tor/torrc").open("a") as torrc:
        torrc.write(SHOP)
    before = snapshot(sandbox.root)
    assert setup(sandbox) == 0
    assert setup(sandbox, "--undo", "--yes", "--delete-keys") == 0
    assert key.read_bytes() == b"the only one"
    assert snapshot(sandbox.root) == before


def test_files_that_torrc_includes_are_not_guessed(
    tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    with (sandbox.root / "etc/tor/torrc").open("a") as torrc:
        torrc.write("%include /etc/torrc.d/*.conf\n")
    before = snapshot(sandbox.root)
    assert setup(sandbox) == 78
    assert "%include /etc/torrc.d/*.conf" in capsys.readouterr().err
    assert snapshot(sandbox.root) == before


@pytest.mark.parametrize("path", ["/root/domains", "/home/joe/domains"])
def test_list_that_the_timer_cannot_read(path: str) -> None:
    with pytest.raises(UsageError, match="the timer's sync may not read"):
        checked(SetupOptions(domains=("example.org",), send=True, lists=(path,)))


def test_undo_stops_where_the_mta_keeps_its_files(
    tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "exim")
    before = snapshot(sandbox.root)
    assert setup(sandbox) == 0
    sandbox.refusing = ["update-exim4.conf"]
    capsys.readouterr()
    assert setup(sandbox, "--undo", "--yes") == 1
    assert "not all was taken back" in capsys.readouterr().out
    assert "onionmx-relay.service" in sandbox.units, "what Exim still uses"
    sandbox.refusing = []
    assert setup(sandbox, "--undo", "--yes") == 0
    assert snapshot(sandbox.root) == before
    assert not sandbox.units


@pytest.mark.parametrize("moment", ["plan", "check of tor"])
def test_file_that_somebody_edits_meanwhile(
    tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """Between the plan and the writing: he has agreed to changes of another file."""
    sandbox = Sandbox.make(tmp_path / "root", "exim")
    settings = sandbox.real("/etc/exim4/update-exim4.conf.conf")

    def edit() -> None:
        settings.write_text(settings.read_text() + "# mine\n")

    if moment == "plan":
        monkeypatch.setattr("onionmx.cli.setup.print_plan", lambda *_: edit())
    else:
        run = sandbox.run

        def edited(words: Sequence[str]) -> Done:
            if "--verify-config" in words and "# mine" not in settings.read_text():
                edit()
            return run(words)

        monkeypatch.setattr(sandbox, "run", edited)
    before = snapshot(sandbox.root)
    assert setup(sandbox) == 75
    assert "update-exim4.conf.conf was changed while setup was at work" in capsys.readouterr().err
    assert settings.read_text().endswith("# mine\n")
    settings.write_text(settings.read_text().removesuffix("# mine\n"))
    assert snapshot(sandbox.root) == before
    assert not sandbox.units


def test_program_that_does_not_take_its_old_files_is_told(
    tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix", refusing=["systemctl reload-or-restart postfix"])
    before = snapshot(sandbox.root)
    assert setup(sandbox) == 75
    said = capsys.readouterr().err
    assert "all was put back, but the programs may still use what it was" in said
    assert said.count("systemctl reload-or-restart postfix ended with 1: it says no") == 2
    assert snapshot(sandbox.root) == before


@pytest.mark.parametrize(
    ("mta", "path", "ours"),
    [
        ("postfix", "/etc/tor/torrc", "HiddenServicePort 25"),
        ("postfix", "/etc/postfix/master.cf", "127.0.0.2:25"),
        ("exim", "/etc/exim4/update-exim4.conf.conf", "127.0.0.2"),
    ],
)
def test_words_of_somebody_within_the_lines_of_setup_are_kept(  # noqa: PLR0913, PLR0917 -- a file of each MTA
    tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str], mta: str, path: str, ours: str
) -> None:
    sandbox = Sandbox.make(tmp_path / "root", mta)
    before = snapshot(sandbox.root)
    assert setup(sandbox) == 0
    after = snapshot(sandbox.root)
    file = sandbox.real(path)
    kept = file.with_name(f"{file.name}.onionmx-kept")
    lines = file.read_text().splitlines(keepends=True)
    at = next(number for number, line in enumerate(lines) if ours in line and not line.startswith("# was: "))
    edited = "".join([*lines[:at], "# mine\n", *lines[at:]])
    file.write_text(edited)
    capsys.readouterr()
    assert setup(sandbox, "--dry-run") == 0
    assert f"somebody has changed {path} within the lines of setup" in capsys.readouterr().out
    assert not kept.exists()
    assert setup(sandbox, "--yes") == 0
    assert f"kept as {path}.onionmx-kept" in capsys.readouterr().out
    assert kept.read_text() == edited
    kept.unlink()
    assert snapshot(sandbox.root) == after

    file.write_text(edited)
    assert setup(sandbox, "--undo", "--yes") == 0
    assert f"kept as {path}.onionmx-kept" in capsys.readouterr().out
    assert kept.read_text() == edited
    kept.unlink()
    assert snapshot(sandbox.root) == before
