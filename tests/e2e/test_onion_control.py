"""`onionmx onion` and the control port, against a real tor without a network."""

import json
import os
import stat
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.net.stranger import root_only

from . import onion_host
from .daemon import free_ports
from .onion_host import FORWARD, NOBODY, Host

pytestmark = pytest.mark.usefixtures("tor_program")

host = onion_host.host
host_with_password = onion_host.host_with_password


def test_over_the_control_port(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    files = host.files()
    assert host.run("create", "--over-control", "--max-streams", "5", "--pow") == 0
    onion, _, repeat, _ = capsys.readouterr().out.splitlines()
    assert "repeat this command after each start of tor" in repeat
    key = host.directory / "hs_ed25519_secret_key"
    assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert stat.S_IMODE(host.directory.stat().st_mode) == 0o700
    assert host.files() == files

    assert host.run("create", "--over-control", "--max-streams", "5", "--pow") == 0
    assert capsys.readouterr().out.splitlines()[0] == onion
    assert host.run("create", "--over-control", "--no-pow", "--max-streams", "5") == 78
    assert "there is another service" in capsys.readouterr().err

    assert host.run("show") == 75
    shown = capsys.readouterr().out.splitlines()
    assert shown[:3] == [onion, f"  port 25 leads to {FORWARD}", "  made over the control port"]
    assert shown[-1] == "  descriptor could not tell: tor has DisableNetwork 1"

    host.tor.stop()
    host.tor.start()
    assert host.run("show") == 1
    capsys.readouterr()
    assert host.run("create", "--over-control") == 0
    assert capsys.readouterr().out.splitlines()[0] == onion


def test_key_of_a_service_over_control_serves_torrc_too(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run("create", "--over-control") == 0
    onion = capsys.readouterr().out.splitlines()[0]
    host.tor.stop()
    host.tor.start()
    assert host.run("create") == 0
    assert capsys.readouterr().out.splitlines()[0] == onion
    assert host.run("create", "--over-control") == 78
    assert "is the HiddenServiceDir of a service in torrc" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("spoil", "why"),
    [
        (lambda key: key.chmod(0o644), "has mode 0644"),
        (lambda key: key.write_bytes(b"x"), "is not the key of an onion service"),
    ],
)
def test_key_that_cannot_be_used(spoil: object, why: str, host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.directory.mkdir()
    key = host.directory / "hs_ed25519_secret_key"
    key.touch(0o600)
    assert callable(spoil)
    spoil(key)
    assert host.run("create", "--over-control") == 78
    assert why in capsys.readouterr().err
    assert host.run("show") == 1


@root_only
def test_root_keeps_the_key_as_the_owner_of_the_folder(host: Host, tmp_path: Path) -> None:
    """The watch, which is tor's user, reads it; and in tor's folder a link may lead anywhere."""
    with TemporaryDirectory() as name:
        folder = Path(name)
        folder.chmod(0o755)
        os.chown(folder, NOBODY, NOBODY)
        host.directory = folder / "onion-mx"
        host.configure(control=host.tor.control_address)
        for _ in range(2):
            assert host.run("create", "--over-control") == 0
            assert {path.stat().st_uid for path in (host.directory, *host.directory.iterdir())} == {NOBODY}
            host.tor.stop()
            host.tor.start()
        link = folder / "link"
        link.symlink_to(tmp_path)
        os.chown(link, NOBODY, NOBODY, follow_symlinks=False)
        before = sorted(tmp_path.iterdir())
        assert host.run("create", "--over-control", "--directory", str(link)) == 78
        assert sorted(tmp_path.iterdir()) == before


def test_options_that_only_torrc_has(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run("create", "--over-control", "--haproxy") == 64
    assert "exist in torrc only" in capsys.readouterr().err


def test_services_of_other_programs(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    with host.tor.controller() as controller:
        label = controller.create_ephemeral_hidden_service({25: 25}, detached=True).service_id
    assert host.run("show") == 75
    assert f"{label}.onion\n  its ports are not known" in capsys.readouterr().out
    assert host.run("show", "--json") == 75
    assert json.loads(capsys.readouterr().out) == {"services": [], "ports_unknown": [f"{label}.onion"]}


def test_address_that_cannot_be_read(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run("create") == 0
    (host.directory / "hostname").write_text("nonsense\n")
    capsys.readouterr()
    assert host.run("show") == 75
    assert "its address is not known" in capsys.readouterr().out


def test_client_port_is_advised_and_left(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    port, other = free_ports(2)
    text = host.torrc.read_text()
    # DisableNetwork keeps it closed; its line counts.
    host.torrc.write_text(text.replace("SocksPort 0\n", f"SocksPort {port} OnionTrafficOnly\nSocksPort {other}\n"))
    host.tor.stop()
    host.tor.start()
    host.configure(control=host.tor.control_address, socks=f"127.0.0.1:{port}")
    assert host.run("create") == 0
    out = capsys.readouterr().out
    assert f"SocksPort {port} OnionTrafficOnly ExtendedErrors\nSocksPort {other}\n" in out
    assert "# ExtendedErrors: tor says why" in out
    assert f"SocksPort {port} OnionTrafficOnly\n" in host.torrc.read_text()


def test_password(host_with_password: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host, password = host_with_password, tmp_path / "password"
    assert host.run("show") == 75
    assert "tor asks for a password" in capsys.readouterr().err
    host.configure(control=host.tor.control_address, control_password_file=str(password))
    assert host.run("show") == 78
    assert "does not exist" in capsys.readouterr().err
    password.write_text("wrong\n")
    password.chmod(0o600)
    assert host.run("show") == 75
    assert "does not take the password" in capsys.readouterr().err
    password.write_text('open "sesame"\n')
    assert host.run("show") == 1
    assert "onionmx onion create makes one" in capsys.readouterr().out
