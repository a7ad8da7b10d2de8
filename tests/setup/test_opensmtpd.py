"""OpenSMTPD on a whole machine: the list that it reads, and who tells it of another one."""

import subprocess
import sys
import tomllib
from pathlib import Path
from typing import Any

import pytest

from onionmx.setup.programs import opensmtpd, settings
from onionmx.setup.programs.blocks import stripped
from tests.setup.conftest import Setup
from tests.setup.sandbox import SMTPD_CONF, Sandbox, snapshot

_LIST = {"path": "/var/lib/onionmx/opensmtpd", "template": "{domain}", "labels": "ascii", "under_onion": "*.onion"}


@pytest.fixture
def sandbox(tmp_path: Path) -> Sandbox:
    return Sandbox.make(tmp_path / "root", "opensmtpd")


def _drop_in(sandbox: Sandbox) -> dict[str, Any]:
    return tomllib.loads(sandbox.real(settings.DROP_IN).read_text())


def _configure(sandbox: Sandbox, text: str) -> None:
    sandbox.real(settings.FILE).write_text(text)


def test_list_is_there_before_smtpd_reads_it(sandbox: Sandbox, setup: Setup) -> None:
    assert setup(sandbox) == 0
    assert _drop_in(sandbox)["map"] == {"exports": [_LIST]}
    assert "table onions file:/var/lib/onionmx/opensmtpd\n" in sandbox.real(opensmtpd.CONF).read_text()
    commands = sandbox.commands
    synced = next(number for number, command in enumerate(commands) if command.endswith("onionmx sync"))
    assert synced < commands.index("smtpd -n") < commands.index("systemctl restart opensmtpd.service")


def test_smtpd_is_told_of_another_list(sandbox: Sandbox, setup: Setup) -> None:
    assert setup(sandbox) == 0
    assert settings.MAP_PATH in sandbox.units
    drop_in = sandbox.real(settings.MAP_COMMAND).read_text().splitlines()
    assert drop_in[1:] == [
        "[Service]",
        "Group=opensmtpq",
        "ExecStart=",
        "ExecStart=/usr/sbin/smtpctl update table onions",
    ]
    assert "systemctl daemon-reload" in sandbox.commands
    assert setup(sandbox, "--undo", "--yes") == 0
    assert not sandbox.real(settings.MAP_COMMAND).parent.exists()


def test_drop_in_is_read_where_a_package_has_brought_the_units(sandbox: Sandbox, setup: Setup) -> None:
    for unit in settings.UNITS:
        sandbox.real(f"/usr/lib/systemd/system/{unit}").touch()
    assert setup(sandbox) == 0
    assert sandbox.commands.count("systemctl daemon-reload") == 1
    assert sandbox.commands.index("systemctl daemon-reload") < sandbox.commands.index(
        "systemctl enable --now onionmx-map.path"
    )


def test_list_of_the_administrator_is_read(sandbox: Sandbox, setup: Setup) -> None:
    _configure(sandbox, '[[map.exports]]\npath = "/var/lib/onionmx/mine"\nunder_onion = ".onion"\n')
    sandbox.real("/var/lib/onionmx").mkdir()
    sandbox.real("/var/lib/onionmx/mine").write_text(".onion\n")
    assert setup(sandbox) == 0
    assert "map" not in _drop_in(sandbox)
    assert "table onions file:/var/lib/onionmx/mine\n" in sandbox.real(opensmtpd.CONF).read_text()


@pytest.mark.parametrize("form", ['template = "{domain}:x"', 'labels = "unicode"', 'under_onion = ""'])
def test_list_that_smtpd_could_not_read_stays_beside_its_own(sandbox: Sandbox, setup: Setup, form: str) -> None:
    _configure(sandbox, f'[[map.exports]]\npath = "/var/lib/onionmx/mine"\n{form}\n')
    assert setup(sandbox) == 0
    assert [export["path"] for export in _drop_in(sandbox)["map"]["exports"]] == [
        "/var/lib/onionmx/mine",
        "/var/lib/onionmx/opensmtpd",
    ]


def test_listener_of_all_addresses_leaves_another_port(sandbox: Sandbox, setup: Setup) -> None:
    conf = sandbox.real(opensmtpd.CONF)
    conf.write_text(SMTPD_CONF.replace("listen on localhost", "listen on 0.0.0.0"))
    assert setup(sandbox) == 0
    assert "listen on 127.0.0.2 port 26 tag onion-mx\n" in conf.read_text()
    assert "HiddenServicePort 25 127.0.0.2:26\n" in sandbox.real("/etc/tor/torrc").read_text()
    assert _drop_in(sandbox)["onion"]["forward"] == "127.0.0.2:26"


def test_what_smtpd_refuses_is_put_back(tmp_path: Path, setup: Setup, capsys: pytest.CaptureFixture[str]) -> None:
    sandbox = Sandbox.make(tmp_path / "root", "opensmtpd", refusing=["smtpd -n"])
    before = snapshot(sandbox.root)
    assert setup(sandbox) == 78
    assert "smtpd -n refuses: it says no; all was put back" in capsys.readouterr().err
    assert snapshot(sandbox.root) == before


def test_later_run_that_is_refused_has_its_drop_in_back(sandbox: Sandbox, setup: Setup) -> None:
    assert setup(sandbox) == 0
    before, units = snapshot(sandbox.root), sandbox.units
    sandbox.refusing = ["smtpd -n"]
    assert setup(sandbox, "--yes", "--no-send") == 78
    assert (snapshot(sandbox.root), sandbox.units) == (before, units)


def test_relay_where_it_listens(sandbox: Sandbox, setup: Setup) -> None:
    _configure(sandbox, '[relay]\nsmtp_listen = ["unix:/run/relay", "127.0.0.1:2525"]\n')
    assert setup(sandbox) == 0
    assert 'action onionmx relay host "smtp+notls://127.0.0.1:2525"\n' in sandbox.real(opensmtpd.CONF).read_text()


def test_without_a_list_of_domains_nothing_is_done(
    sandbox: Sandbox, setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    assert setup(sandbox, "--yes", "--domain", "example.org", "--send") == 64
    assert "--lists FILE" in capsys.readouterr().err


def test_lines_of_others_stay(sandbox: Sandbox, setup: Setup) -> None:
    assert setup(sandbox) == 0
    conf = sandbox.real(opensmtpd.CONF)
    mine = 'match from any for domain "example.org" action "local"\n'
    conf.write_text(conf.read_text().replace(f"# {mine}", mine))
    assert setup(sandbox, "--undo", "--yes") == 0
    assert conf.read_text() == SMTPD_CONF.replace(f"# {mine}", mine)
    assert stripped(conf.read_text()) == conf.read_text()


def test_drop_in_is_what_the_command_reads(sandbox: Sandbox, setup: Setup) -> None:
    _configure(sandbox, "")
    assert setup(sandbox) == 0
    done = subprocess.run(
        [sys.executable, "-m", "onionmx", "config", "--config", str(sandbox.real(settings.FILE))],
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert 'under_onion = "*.onion"' in done.stdout


def test_relay_that_would_have_mail_bounced_is_refused_before_anything_is_changed(
    sandbox: Sandbox, setup: Setup, capsys: pytest.CaptureFixture[str]
) -> None:
    """The list and the map are never the same at each moment."""
    _configure(sandbox, '[relay]\nunrouted = "reject"\n')
    before = snapshot(sandbox.root)
    assert setup(sandbox) == 78
    assert "relay.unrouted" in capsys.readouterr().err
    assert snapshot(sandbox.root) == before
