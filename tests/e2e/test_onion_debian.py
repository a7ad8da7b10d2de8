"""`onionmx onion create` and a real tor that is started as Debian's tor@default starts it.

Its DataDirectory, user, control socket and client ports are in no torrc: `--defaults-torrc` brings them.
"""

import os
import pwd
import shutil
import socket
import stat
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from stem.control import Controller

from onionmx.cli import main
from onionmx.config import TorSection
from onionmx.onion import parse_onion
from onionmx.tor.control import open_control
from onionmx.tor.service.client_keys import new_client_key
from onionmx.tor.service.running import services
from onionmx.tor.service.wanted import POW
from tests.own_network import OWN_NETWORK

from .conftest import skip_without
from .daemon import Daemon, free_ports
from .programs import find_program

pytestmark = pytest.mark.usefixtures("tor_program")

USER = "nobody" if os.geteuid() == 0 else pwd.getpwuid(os.geteuid()).pw_name
FORWARD = "127.0.0.2:2525"
OTHER = 'HiddenServiceDir {0}/lib/"other"\nHiddenServicePort 80 unix:"/run/the web"\nHiddenServiceMaxStreams 7\n'
# Not DisableNetwork: with it and a User, tor opens no control port.
_NOWHERE = f"DirAuthority nobody orport=1 no-v2 v3ident={'A' * 40} 127.0.0.1:9 {'B' * 40}\n"
TORRCS = {
    "as installed": "## Configuration file for a typical Tor user\n",
    "SocksPort of its own": "SocksPort {1} IsolateDestAddr\n",
    "one SocksPort more": "+SocksPort {1} OnionTrafficOnly\n",
    "no SocksPort": "/SocksPort\n",
    "other services": OTHER + 'HiddenServiceDir "{0}/lib/second"\nHiddenServicePort 25\nDNSPort {1}\n',
    "LongLivedPorts": "LongLivedPorts 22,23\nSafeLogging 0\n",
}


class DebianTor:
    """tor@default.service, in folders of its own and without a network."""

    def __init__(self, folder: Path, torrc: str) -> None:
        packaged = find_program("tor").parent.parent / "share/tor/tor-service-defaults-torrc"
        self.lib, self.run, self.etc = (folder / name for name in ("lib", "run", "etc"))
        for place, mode in ((self.lib, 0o2700), (self.run, 0o2755), (self.etc, 0o755)):
            place.mkdir()
            place.chmod(mode)
        if os.geteuid() == 0:
            user = pwd.getpwnam(USER)
            for place in (self.lib, self.run):
                os.chown(place, user.pw_uid, user.pw_gid)
        defaults = folder / "tor-service-defaults-torrc"
        text = packaged.read_text()
        for debian, here in {
            "/var/lib/tor": str(self.lib),
            "/run/tor/": f"{self.run}/",
            "debian-tor": USER,
            "SocksPort 9050": f"SocksPort {free_ports(1)[0]}",
            "Log notice syslog": "Log notice stdout",
        }.items():
            assert debian in text
            text = text.replace(debian, here)
        defaults.write_text(text)
        self.torrc = self.etc / "torrc"
        self.torrc.write_text(f"{_NOWHERE}{torrc.format(folder, *free_ports(1))}")
        words: list[str | Path] = ["--defaults-torrc", defaults, "-f", self.torrc, "--RunAsDaemon", "0"]
        # Without a SocksPort it opens the default one, which a tor of this machine may have.
        network = OWN_NETWORK if os.geteuid() == 0 else ()
        self.daemon = Daemon("tor", [*network, find_program("tor"), *words], folder)
        self.control = f"unix:{self.run}/control"
        self.directory = self.lib / "onion-mx"
        self.configuration = folder / "onionmx.toml"
        self.configuration.write_text(
            f'[tor]\ncontrol = "{self.control}"\nuser = "{USER}"\ntorrc = "{self.torrc}"\n'
            f'[onion]\ndirectory = "{self.directory}"\nforward = "{FORWARD}"\n'
        )

    def start(self) -> None:
        (self.run / "control.authcookie").unlink(missing_ok=True)  # of the last time
        self.daemon.start()
        self.daemon.wait_until((self.run / "control.authcookie").exists, "its cookie")
        self.daemon.wait_until(lambda: _answers(self.run / "control"), "its control socket")

    def create(self, *words: str) -> int:
        return main(["onion", "create", "--config", str(self.configuration), "--wait", "0", *words])

    def options(self) -> list[str]:
        """All that differs from tor's own defaults, without what belongs to onion services."""
        with open_control(TorSection(control=self.control, user=USER)) as controller:
            lines = controller.get_info("config-text").splitlines()
            ports = [_said(controller, name) for name in ("SocksPort", "ControlSocket", "DataDirectory", "User")]
        return [line for line in lines if not line.startswith("HiddenService")] + ports

    def services(self) -> list[tuple[str | None, list[str], dict[str, str]]]:
        with open_control(TorSection(control=self.control, user=USER)) as controller:
            found = services(controller)
        return [(one.directory, [str(port) for port in one.ports], dict(one.options)) for one in found]


def _answers(path: Path) -> bool:
    with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM) as client:
        return client.connect_ex(str(path)) == 0


def _said(controller: Controller, name: str) -> str:
    return f"{name} {controller.msg(f'GETCONF {name}')}"


@pytest.fixture(params=TORRCS)
def tor(request: pytest.FixtureRequest) -> Iterator[DebianTor]:
    skip_without("tor", "setpriv", "unshare")
    # Not below pytest's folders, where tor's user cannot look.
    folder = Path(tempfile.mkdtemp(prefix="onionmx-"))
    folder.chmod(0o755)
    tor = DebianTor(folder, TORRCS[request.param])
    try:
        tor.start()
        yield tor
    finally:
        tor.daemon.stop()
        shutil.rmtree(folder)


def test_service_is_made_and_nothing_else_changes(tor: DebianTor, capsys: pytest.CaptureFixture[str]) -> None:
    options, others, text = tor.options(), tor.services(), tor.torrc.read_text()
    assert tor.create() == 0
    onion = parse_onion(capsys.readouterr().out.splitlines()[0])
    assert tor.options() == options
    assert tor.services() == [*others, (str(tor.directory), [f"25 {FORWARD}"], {POW: "1"})]
    assert tor.torrc.read_text().startswith(text)

    tor.daemon.stop()
    tor.start()
    assert tor.options() == options
    assert tor.services() == [*others, (str(tor.directory), [f"25 {FORWARD}"], {POW: "1"})]
    assert tor.create() == 0
    assert capsys.readouterr().out.splitlines()[0] == onion


def test_more_options_and_a_failure_that_takes_them_back(tor: DebianTor, capsys: pytest.CaptureFixture[str]) -> None:
    options, others, text = tor.options(), tor.services(), tor.torrc.read_text()
    backup = Path(f"{tor.torrc}.before-onionmx")
    backup.mkdir()  # the old text cannot be kept there: noticed when tor has its new service
    assert tor.create("--long-lived-ports", "--haproxy") == 78
    assert "cannot be changed" in capsys.readouterr().err
    assert (tor.options(), tor.services(), tor.torrc.read_text()) == (options, others, text)

    backup.rmdir()
    assert tor.create("--long-lived-ports", "--haproxy") == 0
    assert tor.services()[-1][2] == {"HiddenServiceExportCircuitID": "haproxy", POW: "1"}
    changed = [line for line in tor.options() if line not in options]
    assert [line.partition(" ")[0] for line in changed] == ["LongLivedPorts"]
    assert changed[0].endswith(",25")


def test_private_service_and_key_belong_to_tor(tor: DebianTor) -> None:
    assert tor.create() == 0
    options, others = tor.options(), tor.services()
    sent = tor.etc / "sent"
    words = ["--config", str(tor.configuration)]
    assert main(["onion", "authorize", *words, "--wait", "0", "partner.example", "--output", str(sent)]) == 0
    assert main(["onion", "use-key", *words, str(sent)]) == 0
    folder = tor.lib / "onion-auth"
    made = [folder, *folder.iterdir(), tor.directory / "authorized_clients/partner.example.auth"]
    assert {path.owner() for path in made} == {USER}
    assert {stat.S_IMODE(path.stat().st_mode) for path in made[1:]} == {0o600}
    assert sent.stat().st_uid == os.geteuid()
    assert [line for line in tor.options() if line not in options] == [f"ClientOnionAuthDir {folder}"]
    assert tor.services() == others

    tor.daemon.stop()
    tor.start()
    assert [line for line in tor.options() if line not in options] == [f"ClientOnionAuthDir {folder}"]
    assert main(["onion", "revoke", *words, "--wait", "0", "partner.example"]) == 0
    assert [path.name for path in (tor.directory / "authorized_clients").iterdir()] == ["nobody.auth"]
    assert tor.services() == others


@pytest.mark.skipif(os.geteuid() != 0, reason="only root could follow a link where tor's user could not")
def test_link_of_tors_user_leads_nowhere(tor: DebianTor, capsys: pytest.CaptureFixture[str]) -> None:
    assert tor.create() == 0
    roots = tor.etc / "roots"
    roots.mkdir()
    clients = tor.directory / "authorized_clients"
    clients.rmdir()
    clients.symlink_to(roots)
    words = ["onion", "authorize", "--config", str(tor.configuration), "--wait", "0", "x", new_client_key("").public]
    assert main(words) == 78
    assert "Permission denied; run as root or as tor's user; nothing was changed" in capsys.readouterr().err
    assert not list(roots.iterdir())


def test_tor_that_checks_torrc_runs_with_the_defaults_of_the_distribution(tor: DebianTor) -> None:
    """What the unit's ExecStartPre does with the torrc that onionmx leaves."""
    assert tor.create() == 0
    command = [*tor.daemon.command, "--verify-config"]
    assert subprocess.run(command, capture_output=True, check=False).returncode == 0


def test_torrc_is_checked_with_the_rights_of_tor(
    tor: DebianTor, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Whatever tor says of itself, and by no program that others can change or that is first on PATH."""
    tor.torrc.chmod(0o600)  # tor read it as root
    assert tor.create("--dry-run") == 0
    program = tor.etc / "tor"
    program.write_text('#!/bin/sh\necho "x [warn] I am $(id -u) in $(id -G)"\nexit 1\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", str(tor.etc), prepend=os.pathsep)
    assert tor.create("--dry-run") == 0
    monkeypatch.setattr("onionmx.tor.service.torrc_file.PROGRAM", str(program))
    assert tor.create("--dry-run") == 78
    user = pwd.getpwnam(USER)
    assert f"I am {user.pw_uid} in {user.pw_gid}" in capsys.readouterr().err
    program.chmod(0o777)
    assert tor.create("--dry-run") == 78
    assert f"{program} can be changed by others than root" in capsys.readouterr().err
