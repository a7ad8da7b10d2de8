"""The real networks that end-to-end tests share: each started once a run, on first use, and always taken down."""

import shutil
from collections.abc import Callable, Iterator, Mapping
from contextlib import ExitStack
from pathlib import Path
from tempfile import TemporaryDirectory

import pytest

from tests.net.stranger import folder_for_others

from .daemon import free_ports
from .name_servers import NameServers, Zone
from .programs import MissingProgramError, find_program
from .tor_network import TorNetwork

StartNameServers = Callable[[Mapping[str, Zone]], NameServers]


def skip_without(*programs: str) -> None:
    """Skip the test, with the name of the program, when one is missing."""
    try:
        for program in programs:
            find_program(program)
    except MissingProgramError as error:
        pytest.skip(str(error))


@pytest.fixture
def tmp_path() -> Iterator[Path]:
    """Return a new folder: programs that root starts here are other users when they read a file of it."""
    with folder_for_others() as folder:
        yield folder


@pytest.fixture(scope="session")
def installed_tor() -> Iterator[Path]:
    """Return a copy of the tor that the set-up has unpacked where, as where Debian has it, every user can run it."""
    skip_without("tor")
    with TemporaryDirectory(prefix="onionmx-") as folder:
        Path(folder).chmod(0o755)
        yield Path(shutil.copy(find_program("tor"), folder))


@pytest.fixture
def tor_program(monkeypatch: pytest.MonkeyPatch, installed_tor: Path) -> None:
    """Have onionmx run this tor."""
    monkeypatch.setattr("onionmx.tor.service.torrc_file.PROGRAM", str(installed_tor))


@pytest.fixture(scope="session")
def tor_network(tmp_path_factory: pytest.TempPathFactory) -> Iterator[TorNetwork]:
    """Return a running private Tor network. A test that stops its client starts it again."""
    skip_without("tor", "tor-gencert", "setpriv")
    with TorNetwork(parent=tmp_path_factory.getbasetemp()) as network:
        yield network


@pytest.fixture(scope="session")
def name_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[StartNameServers]:
    """Return a function that starts an authority and a resolver for zones; they run to the end of the tests."""
    skip_without("knotd", "knotc", "keymgr", "unbound", "unbound-control", "setpriv")
    parent = tmp_path_factory.getbasetemp()
    with ExitStack() as running:
        yield lambda zones: running.enter_context(NameServers(zones, parent))


@pytest.fixture(scope="module")
def exit_port(tor_network: TorNetwork) -> Iterator[str]:
    """Return a SocksPort, as IP:PORT, through which connections leave the network."""
    (port,) = free_ports(1)
    with tor_network.services.controller() as controller:
        controller.set_conf("SocksPort", f"127.0.0.1:{port}")
        yield f"127.0.0.1:{port}"
        controller.set_conf("SocksPort", "0")
