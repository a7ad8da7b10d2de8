"""`onionmx onion` and torrc, against a real tor without a network."""

import fcntl
import json
import os
import stat
from pathlib import Path

import pytest

from onionmx.config import TorSection
from onionmx.onion import parse_onion
from onionmx.tor.control import open_control
from onionmx.tor.service.running import mail_services
from onionmx.tor.service.torrc import BEGIN_MARK, END_MARK, Forward

from . import onion_host
from .onion_host import FORWARD, Host, between, without_rights

pytestmark = pytest.mark.usefixtures("tor_program")

POW = "HiddenServicePoWDefensesEnabled 1"

host = onion_host.host
open_host = onion_host.open_host


def test_service_by_torrc(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    before = host.torrc.read_text()
    host.torrc.chmod(0o640)
    assert host.run("create") == 0
    onion, lead, published = capsys.readouterr().out.splitlines()
    assert parse_onion(onion) == (host.directory / "hostname").read_text().strip()
    assert lead.startswith(f"port 25 leads to {FORWARD}; its key is in {host.directory}")
    assert published == "descriptor could not tell: tor has DisableNetwork 1"
    lines = f"HiddenServiceDir {host.directory}\n{POW}\nHiddenServicePort 25 {FORWARD}\n"
    block = f"{BEGIN_MARK}\n{lines}{END_MARK}\n"
    assert host.torrc.read_text() == f"{before}\n{block}"
    assert stat.S_IMODE(host.torrc.stat().st_mode) == 0o640
    assert host.backup.read_text() == before
    assert host.running() == [f"{host.torrc.parent.parent}/other", str(host.directory)]
    with open_control(TorSection(control=host.tor.control_address)) as controller:
        (service,) = mail_services(controller)
        (other,) = mail_services(controller, 80)
    assert (service.onion, service.ports) == (onion, (Forward(25, "127.0.0.2", 2525),))
    assert other.options == {"HiddenServiceMaxStreams": "7"}


def test_asked_for_twice_it_is_made_once(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run("create", "--haproxy") == 0
    onion = capsys.readouterr().out.splitlines()[0]
    files = host.files()
    torrc = host.torrc.stat()
    assert host.run("create", "--haproxy") == 0
    assert capsys.readouterr().out.splitlines() == [
        onion,
        f"port 25 leads to {FORWARD}; it was there before, nothing was changed",
    ]
    assert host.files() == files
    assert host.torrc.stat() == torrc


def test_service_that_is_there_stays(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run("create") == 0
    files = host.files()
    for words in (["--forward", "127.0.0.3:25"], ["--no-pow"], ["--port", "2525"]):
        assert host.run("create", *words) == 78
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert f"there is another service in {host.directory}" in captured.err
        assert f"(HiddenServicePort 25 {FORWARD}; {POW}); it stays as it is: edit {host.torrc}" in captured.err
    assert host.files() == files


def test_service_without_proofs_of_work(host: Host) -> None:
    """As older versions made it: asked for without a word on them, it stays."""
    assert host.run("create", "--no-pow") == 0
    assert POW not in host.torrc.read_text()
    files = host.files()
    assert host.run("create") == 0
    assert host.files() == files
    assert host.run("create", "--pow") == 78


def test_tor_that_is_too_old_for_proofs_of_work(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    with between(bytes, host.tor.control, lambda data: data.replace(b"HiddenServicePoW", b"Unknown")) as address:
        host.configure(control=address)
        assert host.run("create") == 0
    assert POW not in host.torrc.read_text()
    assert "this tor is too old for HiddenServicePoWDefensesEnabled" in capsys.readouterr().out


def test_all_options_reach_tor(host: Host) -> None:
    words = ["--haproxy", "--pow", "--max-streams", "20", "--long-lived-ports", "--port", "2500"]
    assert host.run("create", *words, "--forward", "[2001:db8::1]:25") == 0
    with open_control(TorSection(control=host.tor.control_address)) as controller:
        (service,) = mail_services(controller, 2500)
        assert controller.get_conf("LongLivedPorts").split(",")[0] == "21"
        assert controller.get_conf("LongLivedPorts").split(",")[-1] == "2500"
    assert service.ports == (Forward(2500, "2001:db8::1", 25),)
    assert service.options == {
        "HiddenServiceExportCircuitID": "haproxy",
        "HiddenServicePoWDefensesEnabled": "1",
        "HiddenServiceMaxStreams": "20",
    }


def test_long_lived_ports_later(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    assert host.run("create") == 0
    onion = capsys.readouterr().out.splitlines()[0]
    assert host.run("create", "--long-lived-ports") == 0
    assert capsys.readouterr().out.splitlines()[0] == onion
    assert host.torrc.read_text().count("HiddenServiceDir") == 2
    files = host.files()
    assert host.run("create", "--long-lived-ports") == 0
    assert host.files() == files


def test_dry_run_shows_and_changes_nothing(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    files = host.files()
    assert host.run("create", "--dry-run") == 0
    assert f"HiddenServiceDir {host.directory}\n{POW}\nHiddenServicePort 25 {FORWARD}\n" in capsys.readouterr().out
    assert host.files() == files
    assert host.running() == [f"{host.torrc.parent.parent}/other"]
    assert not host.directory.exists()


def test_torrc_that_tor_would_not_accept_is_never_put_in_place(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    with host.torrc.open("a") as file:
        file.write("Bogus 1\n")
    files = host.files()
    assert host.run("create") == 78
    captured = capsys.readouterr()
    assert captured.out == ""
    assert captured.err.count("\n") == 1
    assert f"tor would not accept {host.torrc} with the new lines: " in captured.err
    assert "Unknown option 'Bogus'.  Failing; nothing was changed" in captured.err
    assert host.files() == files
    assert host.running() == [f"{host.torrc.parent.parent}/other"]


def test_folder_that_tor_cannot_use(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    """A running tor does not refuse it: it ends."""
    files = host.files()
    host.directory.write_text("a file where the folder should be")
    assert host.run("create") == 78
    assert "is there and is not a folder" in capsys.readouterr().err
    host.directory.unlink()
    host.directory.mkdir()
    if os.geteuid() == 0:
        os.chown(host.directory, 12345, 12345)
        assert host.run("create") == 78
        assert f"not to tor's, 0: chown -R 0 {host.directory}" in capsys.readouterr().err
    assert host.run("create", "--directory", "/var/lib/elsewhere/onion-mx") == 78
    assert f"choose --directory {host.torrc.parent}/onion-mx" in capsys.readouterr().err
    assert host.run("create", "--directory", f"{host.torrc.parent}/none/onion-mx") == 78
    assert "cannot be made: No such file" in capsys.readouterr().err
    assert host.files() == files
    assert host.running() == [f"{host.torrc.parent.parent}/other"]


def test_what_the_running_tor_refuses_leaves_torrc_as_it_was(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    files = host.files()
    # The tor that checks knows what the tor that runs may not know yet.
    with between(lambda data: data.replace(b"SETCONF Hidden", b"SETCONF Unknown"), host.tor.control) as address:
        host.configure(control=address)
        assert host.run("create") == 75
    captured = capsys.readouterr()
    assert captured.err.startswith("onionmx: tor does not take the new lines: Unrecognized option: Unknown")
    assert captured.err.count("\n") == 1
    assert host.files() == files
    assert host.running() == [f"{host.torrc.parent.parent}/other"]
    assert not host.directory.exists()


def test_what_torrc_has_and_tor_does_not_is_left_to_its_next_start(host: Host) -> None:
    """A running tor cannot change its DataDirectory, and is not asked to."""
    other = host.torrc.parent.parent / "data"
    other.mkdir(mode=0o700)
    text = host.torrc.read_text().replace(f"DataDirectory {host.torrc.parent}", f"DataDirectory {other}")
    host.torrc.write_text(text)
    assert host.run("create") == 0
    assert host.torrc.read_text().startswith(text)
    assert host.running() == [f"{host.torrc.parent.parent}/other", str(host.directory)]


def test_torrc_of_another_tor(host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host.configure(control=host.tor.control_address, torrc=str(tmp_path / "other"))
    assert host.run("create") == 78
    captured = capsys.readouterr()
    assert f"the running tor uses {host.torrc}: set tor.torrc" in captured.err
    assert captured.err.count("\n") == 1


def test_torrc_that_cannot_be_written(open_host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    files = open_host.files()
    assert open_host.run("create", "--dry-run") == 0
    with without_rights(open_host.torrc.parent):
        assert open_host.run("create") == 78
    captured = capsys.readouterr()
    assert captured.err.startswith(f"onionmx: {open_host.torrc} cannot be changed: ")
    assert captured.err.endswith("Permission denied; run as root or as its owner\n")
    assert captured.err.count("\n") == 1
    assert open_host.files() == files
    assert open_host.running() == []


def test_two_at_the_same_time(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    files = host.files()
    descriptor = os.open(host.torrc.parent, os.O_RDONLY)
    fcntl.flock(descriptor, fcntl.LOCK_EX)
    try:
        assert host.run("create") == 75
    finally:
        os.close(descriptor)
    assert "another process is changing" in capsys.readouterr().err
    assert host.files() == files


def test_service_in_torrc_that_tor_has_not_read(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    with host.torrc.open("a") as file:
        file.write(f"hiddenservicedir {host.directory}/\nHiddenServicePort 25\n")
    assert host.run("create") == 78
    assert "but tor does not: reload tor" in capsys.readouterr().err


@pytest.mark.parametrize("word", [b"config-file", b"HiddenServiceOptions", b"HS_DESC", b"SETCONF"])
def test_control_port_that_closes_half_way(word: bytes, host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    files = host.files()
    with between(lambda data: b"" if word in data else data, host.tor.control) as address:
        host.configure(control=address)
        assert host.run("create") == 75
    assert capsys.readouterr().err == f"onionmx: tor's control port at {address} closed the connection half-way\n"
    assert host.files() == files
    assert host.running() == [f"{host.torrc.parent.parent}/other"]
    assert not host.directory.exists()


def test_unix_socket(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    host.configure(control=f"unix:{host.tor.socket}")
    assert host.run("create", "--json") == 0
    created = json.loads(capsys.readouterr().out)
    assert created["changed"] is True
    assert parse_onion(created["onion"])
