"""On a host with another MTA the command names the page to read, and changes nothing."""

from pathlib import Path

import pytest

from onionmx.setup.programs import exim, postfix
from onionmx.setup.programs.mtas import MTAS, SENDMAIL
from tests.setup.conftest import WISHES, Setup
from tests.setup.sandbox import UNITS_ON, Sandbox, snapshot

_BY_NAME = {signs.name: signs for signs in MTAS}
_LINKS = {
    "Sendmail": "/etc/alternatives/sendmail",
    "msmtp": "../bin/msmtp",
    "esmtp": "../bin/esmtp",
    "ssmtp": "ssmtp",
    "dma": "dma",
    "notqmail": "../../var/qmail/bin/sendmail",
}
"""What `SENDMAIL` is a link to: as in the packages of Debian 12 and 13; of notqmail, as its INSTALL says."""


def _touch(sandbox: Sandbox, path: str) -> None:
    sandbox.real(path).parent.mkdir(parents=True, exist_ok=True)
    sandbox.real(path).touch()


def _install(sandbox: Sandbox, name: str, *, with_sendmail: bool = True) -> None:
    """Put an MTA where its package puts it."""
    signs = _BY_NAME[name]
    for path in (*signs.programs[:1], signs.sendmail if signs.sendmail != SENDMAIL else ""):
        if path:
            _touch(sandbox, path)
    if not with_sendmail or not signs.sendmail:
        return
    sendmail = sandbox.real(SENDMAIL)
    sendmail.unlink(missing_ok=True)
    if link := _LINKS.get(name):
        sendmail.symlink_to(link)
    else:
        sendmail.touch()
    if name == "Sendmail":
        _touch(sandbox, "/etc/alternatives/other")
        sandbox.real("/etc/alternatives/sendmail").symlink_to(signs.sendmail)


def _without_postfix(tmp_path: Path) -> Sandbox:
    """A host on which Postfix was removed, but not its configuration."""
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    sandbox.real(postfix.PROGRAM).unlink()
    return sandbox


@pytest.mark.parametrize("name", [signs.name for signs in MTAS if not signs.mta])
@pytest.mark.parametrize("wished", [(), ("--mta", "postfix")])
def test_page_is_named(
    tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str], name: str, wished: tuple[str, ...]
) -> None:
    sandbox = _without_postfix(tmp_path)
    _install(sandbox, name)
    before = snapshot(sandbox.root)
    assert setup(sandbox, "--yes", *wished) == 78
    said = capsys.readouterr()
    assert said.err.startswith(f"onionmx: {name} handles the mail of this host")
    assert "onionmx files docs/other-mtas.md" in said.err
    assert len(said.err.splitlines()) == 1
    assert not said.out
    assert snapshot(sandbox.root) == before
    assert not [command for command in sandbox.commands if "is-active" not in command]


@pytest.mark.parametrize("name", ["mox", "Haraka", "Stalwart"])
def test_unit_of_an_mta_that_is_in_a_place_of_its_own(
    tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str], name: str
) -> None:
    sandbox = _without_postfix(tmp_path)
    _touch(sandbox, f"/etc/systemd/system/{_BY_NAME[name].units[0]}")
    assert setup(sandbox, "--yes") == 78
    assert f'read "{name}" in docs/other-mtas.md' in capsys.readouterr().err


@pytest.mark.parametrize(("mta", "program"), [("postfix", SENDMAIL), ("exim", "/usr/sbin/exim4")])
def test_sendmail_of_exim_and_postfix_is_theirs(
    tmp_path: Path, setup: Setup, lists: str, mta: str, program: str
) -> None:
    sandbox = Sandbox.make(tmp_path / "root", mta)
    sendmail = sandbox.real(SENDMAIL)
    if program == SENDMAIL:
        sendmail.touch()
    else:
        sendmail.symlink_to("exim4")
    _touch(sandbox, "/usr/bin/msmtp")  # a client of one user
    _install(sandbox, "Haraka")  # tried once, and left
    (sandbox.root / UNITS_ON).write_text(f"{mta}.service" if mta == "postfix" else "exim4.service")
    assert setup(sandbox, *WISHES, lists) == 0


def test_of_an_mta_that_runs_and_one_that_does_not(
    tmp_path: Path, setup: Setup, lists: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "exim")
    sandbox.real(SENDMAIL).symlink_to("exim4")
    _install(sandbox, "mox")
    before = snapshot(sandbox.root)
    (sandbox.root / UNITS_ON).write_text("mox.service")
    assert setup(sandbox, *WISHES, lists) == 78
    assert 'read "mox" in docs/other-mtas.md' in capsys.readouterr().err
    (sandbox.root / UNITS_ON).write_text("exim4.service mox.service")
    assert setup(sandbox, *WISHES, lists) == 64
    said = capsys.readouterr().err
    assert 'which of them handles the mail is not clear: --mta exim, or read "mox" in docs/other-mtas.md' in said
    assert len(said.splitlines()) == 1
    assert snapshot(sandbox.root) == before
    (sandbox.root / UNITS_ON).write_text("exim4.service")
    assert setup(sandbox, *WISHES, lists) == 0


def test_where_systemd_cannot_say_what_runs_the_wish_counts(
    tmp_path: Path, setup: Setup, lists: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "exim", refusing=["systemctl is-active"])
    _install(sandbox, "mox")
    assert setup(sandbox, *WISHES, lists) == 64
    assert "which of them handles the mail is not clear" in capsys.readouterr().err
    sandbox.refusing.clear()
    assert setup(sandbox, *WISHES, lists, "--mta", "exim") == 0


def test_without_systemd_sendmail_says_it(
    tmp_path: Path, setup: Setup, lists: str, capsys: pytest.CaptureFixture[str]
) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "exim")
    sandbox.real("/run/systemd/system").rmdir()
    _install(sandbox, "Sendmail")
    assert setup(sandbox, *WISHES, lists) == 78
    assert 'read "Sendmail" in docs/other-mtas.md' in capsys.readouterr().err
    sandbox.real(SENDMAIL).unlink()
    sandbox.real(SENDMAIL).symlink_to("exim4")
    assert setup(sandbox, *WISHES, lists) == 75  # done, and the commands are left to somebody


def test_both_known_ones_and_one_runs(tmp_path: Path, setup: Setup, lists: str) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "postfix")
    _touch(sandbox, exim.PROGRAM)
    _touch(sandbox, exim.SETTINGS)
    (sandbox.root / UNITS_ON).write_text("postfix.service")
    assert setup(sandbox, *WISHES, lists) == 0
    assert "onionmx" in sandbox.real(postfix.MAIN).read_text()


def test_links_that_lead_to_nothing(tmp_path: Path) -> None:
    sandbox = _without_postfix(tmp_path)
    assert not sandbox.leads_to(SENDMAIL)
    sandbox.real(SENDMAIL).symlink_to("sendmail")
    assert not sandbox.leads_to(SENDMAIL)
    sandbox.real(SENDMAIL).unlink()
    sandbox.real(SENDMAIL).symlink_to("gone")
    assert not sandbox.leads_to(SENDMAIL)
