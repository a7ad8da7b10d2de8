"""`onionmx onion` against a real tor: one without a network for torrc and control port, one of the private network."""

import fcntl
import json
import os
import re
import socket
import socketserver
import stat
import subprocess
import tempfile
import threading
from base64 import b32encode
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from hashlib import sha3_256
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onionmx.cli import main
from onionmx.config import TorSection
from onionmx.onion import parse_onion
from onionmx.tor.control import open_control
from onionmx.tor.descriptor import Publication, published
from onionmx.tor.services import mail_services, services
from onionmx.tor.torrc import BEGIN_MARK, END_MARK, Forward

from .conftest import skip_without
from .daemon import free_ports
from .lone_tor import LoneTor
from .programs import find_program
from .socks import Address, socks_connect
from .tor_network import TorNetwork

NOBODY = 65534
FORWARD = "127.0.0.2:2525"
OTHER = "HiddenServiceDir {0}/other\nHiddenServicePort 80 127.0.0.1:8080\nHiddenServiceMaxStreams 7\n"


class Host:
    """A tor, and the configuration that names it."""

    def __init__(self, tor: LoneTor, folder: Path) -> None:
        self.tor = tor
        self.torrc = tor.torrc
        self.directory = folder / "onion-mx"
        self.backup = Path(f"{tor.torrc}.before-onionmx")
        self.configuration = folder / "onionmx.toml"
        self.configure(control=tor.control_address)

    def configure(self, **settings: str) -> None:
        lines = [f'{key} = "{value}"' for key, value in {"torrc": str(self.torrc), **settings}.items()]
        onion = f'[onion]\ndirectory = "{self.directory}"\nforward = "{FORWARD}"\n'
        self.configuration.write_text("[tor]\n" + "\n".join(lines) + "\n" + onion)

    def run(self, *words: str) -> int:
        return main(["onion", words[0], "--config", str(self.configuration), *words[1:]])

    def running(self) -> list[str | None]:
        """The folders of the services that tor has now."""
        with open_control(TorSection(control=self.tor.control_address)) as controller:
            return [service.directory for service in services(controller)]

    def files(self) -> dict[str, bytes]:
        """What lies beside the torrc, without what tor itself writes."""
        return {path.name: path.read_bytes() for path in self.torrc.parent.glob("*torrc*") if path.is_file()}


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    skip_without("tor", "setpriv")
    folder = tmp_path / "tor"
    tor = LoneTor(folder, OTHER.format(tmp_path))
    tor.start()
    yield Host(tor, tmp_path)
    tor.stop()


def test_service_by_torrc(host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    before = host.torrc.read_text()
    host.torrc.chmod(0o640)
    assert host.run("create") == 0
    onion, lead, published = capsys.readouterr().out.splitlines()
    assert parse_onion(onion) == (host.directory / "hostname").read_text().strip()
    assert lead.startswith(f"port 25 leads to {FORWARD}; its key is in {host.directory}")
    assert published == "descriptor could not tell: tor has DisableNetwork 1"
    block = f"{BEGIN_MARK}\nHiddenServiceDir {host.directory}\nHiddenServicePort 25 {FORWARD}\n{END_MARK}\n"
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
    for words in (["--forward", "127.0.0.3:25"], ["--pow"], ["--port", "2525"]):
        assert host.run("create", *words) == 78
        captured = capsys.readouterr()
        assert captured.err.count("\n") == 1
        assert f"there is another service in {host.directory}" in captured.err
        assert f"(HiddenServicePort 25 {FORWARD}); it stays as it is: edit {host.torrc}" in captured.err
    assert host.files() == files


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
    assert f"HiddenServiceDir {host.directory}\nHiddenServicePort 25 {FORWARD}\n" in capsys.readouterr().out
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
    assert f"tor would not accept {host.torrc} with the new service: " in captured.err
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
    """As a file it is right, but a running tor cannot change its DataDirectory."""
    other = host.torrc.parent.parent / "data"
    other.mkdir(mode=0o700)
    host.torrc.write_text(
        host.torrc.read_text().replace(f"DataDirectory {host.torrc.parent}", f"DataDirectory {other}")
    )
    files = host.files()
    assert host.run("create") == 75
    captured = capsys.readouterr()
    assert captured.err.splitlines()[0].startswith("onionmx: tor does not take the new service: Transition not allowed")
    assert captured.err.count("\n") == 1
    assert host.files() == files
    assert host.running() == [f"{host.torrc.parent.parent}/other"]


def test_torrc_of_another_tor(host: Host, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    host.configure(control=host.tor.control_address, torrc=str(tmp_path / "other"))
    assert host.run("create") == 78
    captured = capsys.readouterr()
    assert f"the running tor uses {host.torrc}: set tor.torrc" in captured.err
    assert captured.err.count("\n") == 1


@contextmanager
def without_rights(folder: Path) -> Iterator[None]:
    """Be a user who may look at a folder and not change it."""
    user, mode = os.geteuid(), stat.S_IMODE(folder.stat().st_mode)
    folder.chmod(0o555)
    if user == 0:
        os.seteuid(NOBODY)
    try:
        yield
    finally:
        os.seteuid(user)
        folder.chmod(mode)


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


@contextmanager
def cut_at(word: bytes, tor: Address) -> Iterator[str]:
    """A control port that leads to tor until a word comes; then it hangs up before tor hears it."""

    def pass_on(source: socket.socket, sink: socket.socket) -> None:
        with suppress(OSError):
            while (data := source.recv(65536)) and word not in data:
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client, socket.create_connection(tor) as to_tor:
                back = threading.Thread(target=pass_on, args=(to_tor, client))
                back.start()
                pass_on(client, to_tor)
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.mark.parametrize("word", [b"config-file", b"HiddenServiceOptions", b"HS_DESC", b"LOADCONF"])
def test_control_port_that_closes_half_way(word: bytes, host: Host, capsys: pytest.CaptureFixture[str]) -> None:
    files = host.files()
    with cut_at(word, host.tor.control) as address:
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
    assert host.run("create", "--over-control") == 78
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
    host.configure(control=host.tor.control_address, socks=f"127.0.0.1:{port}")
    assert host.run("create") == 0
    out = capsys.readouterr().out
    assert f"SocksPort {port} OnionTrafficOnly ExtendedErrors\nSocksPort {other}\n" in out
    assert "# ExtendedErrors: tor says why" in out
    assert f"SocksPort {port} OnionTrafficOnly\n" in host.torrc.read_text()


@pytest.fixture
def open_host() -> Iterator[Host]:
    """A tor that asks nobody who it is."""
    skip_without("tor", "setpriv")
    # Not below pytest's folders, where no other user can look.
    with tempfile.TemporaryDirectory(prefix="onionmx-") as name:
        folder = Path(name)
        folder.chmod(0o755)
        tor = LoneTor(folder / "tor", cookie=False)
        tor.start()
        host = Host(tor, folder)
        host.directory = tor.folder / "onion-mx"
        host.configure(control=tor.control_address)
        yield host
        tor.stop()


@pytest.fixture
def host_with_password(tmp_path: Path) -> Iterator[Host]:
    skip_without("tor", "setpriv")
    hashed = subprocess.run(
        [find_program("tor"), "--hush", "--hash-password", 'open "sesame"'], capture_output=True, text=True, check=True
    ).stdout.split()[-1]
    tor = LoneTor(tmp_path / "tor", f"HashedControlPassword {hashed}\n", cookie=False)
    tor.start()
    yield Host(tor, tmp_path)
    tor.stop()


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


class Greeter(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 mx.example.org ESMTP\r\n")
        self.rfile.readline()


@pytest.fixture
def greeter() -> Iterator[Address]:
    with socketserver.ThreadingTCPServer(("127.0.0.2", 0), Greeter) as server:
        thread = threading.Thread(target=server.serve_forever, args=(0.05,))
        thread.start()
        yield "127.0.0.2", server.socket.getsockname()[1]
        server.shutdown()
        thread.join()


def test_published_and_reachable(
    tor_network: TorNetwork, greeter: Address, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    tor = tor_network.services
    other = tor_network.add_onion_service({25: greeter})
    torrc = tor.folder / "torrc"
    before = torrc.read_text()
    directory = tor.folder / "onion-mx"
    configuration = tmp_path / "onionmx.toml"
    configuration.write_text(
        f'[tor]\ncontrol = "{tor.control[0]}:{tor.control[1]}"\ntorrc = "{torrc}"\n'
        f'[onion]\ndirectory = "{directory}"\nforward = "{greeter[0]}:{greeter[1]}"\n'
    )
    words = ["--config", str(configuration), "--json"]
    try:
        assert main(["onion", "create", *words]) == 0
        created = json.loads(capsys.readouterr().out)
        assert created["published"]["state"] == "published"
        assert created["published"]["directories"] >= 2
        for _ in range(2):
            assert main(["onion", "show", *words]) == 0
            shown = json.loads(capsys.readouterr().out)
            (service,) = shown["services"]
            assert service["onion"] == created["onion"]
            assert service["published"]["state"] == "published"
            assert other in shown["ports_unknown"]
        for onion in (created["onion"], other):
            tor_network.client.wait_until_reachable(onion)
            with socks_connect(tor_network.client.socks, onion, 25) as connection:
                assert connection.recv(100).startswith(b"220 mx.example.org")
    finally:
        torrc.write_text(before)
        with tor.controller() as controller:
            controller.load_conf(before)
        tor_network.remove_onion_service(other)


def never_made() -> str:
    """The address of a key that no tor has; tor asks for none that is not the key of anything."""
    key = Ed25519PrivateKey.generate().public_key().public_bytes_raw()
    checksum = sha3_256(b".onion checksum" + key + b"\3").digest()[:2]
    return b32encode(key + checksum + b"\3").decode().lower() + ".onion"


def test_three_answers_of_the_directories(tor_network: TorNetwork, greeter: Address) -> None:
    host, port = tor_network.services.control
    onion = tor_network.add_onion_service({25: greeter})
    with open_control(TorSection(control=f"{host}:{port}")) as controller:
        # More often than there are directories: tor asks none twice in a while.
        answers = [published(controller, onion) for _ in range(9)]
        assert {answer.state for answer in answers} == {Publication.PUBLISHED}, answers
        nowhere = published(controller, never_made())
        assert nowhere.state is Publication.NOT_PUBLISHED
        assert re.fullmatch(r"[1-9] director(y|ies) asked, and none has the descriptor", nowhere.words)
        late = published(controller, never_made(), timeout=0.0)
        assert (late.state, late.words) == (Publication.UNKNOWN, "no directory answered within 0 s")
    tor_network.remove_onion_service(onion)
