"""`onionmx onion` in the private network: whether the descriptor of a service is published."""

import json
import re
import socketserver
from collections.abc import Iterator
from getpass import getuser
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from onionmx.cli import main
from onionmx.config import TorSection
from onionmx.tor.control import open_control
from onionmx.tor.nobody import onion_with
from onionmx.tor.service.descriptor import Publication, published

from .socks import Address, socks_connect
from .tcp_server import tcp_server
from .tor_network import TorNetwork

pytestmark = pytest.mark.usefixtures("tor_program")


class Greeter(socketserver.StreamRequestHandler):
    def handle(self) -> None:
        self.wfile.write(b"220 mx.example.org ESMTP\r\n")
        self.rfile.readline()


@pytest.fixture
def greeter() -> Iterator[Address]:
    with tcp_server(Greeter) as address:
        yield address


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
        f'[tor]\ncontrol = "{tor.control[0]}:{tor.control[1]}"\nuser = "{getuser()}"\ntorrc = "{torrc}"\n'
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
    return onion_with(Ed25519PrivateKey.generate().public_key().public_bytes_raw())


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
