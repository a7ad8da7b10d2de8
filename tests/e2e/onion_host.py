"""A tor without a network, and a host with `onionmx onion` that has it."""

import getpass
import subprocess
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from onionmx.cli import main
from onionmx.config import TorSection
from onionmx.tor.control import open_control
from onionmx.tor.service.running import services

from .conftest import skip_without
from .lone_tor import LoneTor
from .programs import find_program

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
