"""A tor without a network, and a host with `onionmx onion` that has it."""

import getpass
import os
import socket
import stat
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from onionmx.cli import main
from onionmx.config import TorSection
from onionmx.tor.control import open_control
from onionmx.tor.service.running import services

from .conftest import skip_without
from .lone_tor import LoneTor
from .programs import find_program
from .socks import Address

NOBODY = 65534
USER = getpass.getuser()
"""LoneTor runs as the user of the tests."""
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
        lines = [f'{key} = "{value}"' for key, value in {"torrc": str(self.torrc), "user": USER, **settings}.items()]
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


@contextmanager
def between(change: Callable[[bytes], bytes], tor: Address, answers: Callable[[bytes], bytes] = bytes) -> Iterator[str]:
    """A control port that leads to tor and changes what is said to it, or back; where nothing is left, it hangs up."""

    def pass_on(source: socket.socket, sink: socket.socket, change: Callable[[bytes], bytes]) -> None:
        with suppress(OSError):
            while data := change(source.recv(65536)):
                sink.sendall(data)
        for end in (source, sink):
            with suppress(OSError):
                end.shutdown(socket.SHUT_RDWR)

    with socket.create_server(("127.0.0.1", 0)) as server:

        def serve() -> None:
            client, _ = server.accept()
            with client, socket.create_connection(tor) as to_tor:
                back = threading.Thread(target=pass_on, args=(to_tor, client, answers))
                back.start()
                pass_on(client, to_tor, change)
                back.join()

        thread = threading.Thread(target=serve)
        thread.start()
        yield f"127.0.0.1:{server.getsockname()[1]}"
        thread.join()


@pytest.fixture
def host(tmp_path: Path) -> Iterator[Host]:
    skip_without("tor", "setpriv")
    folder = tmp_path / "tor"
    tor = LoneTor(folder, OTHER.format(tmp_path))
    tor.start()
    yield Host(tor, tmp_path)
    tor.stop()


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
