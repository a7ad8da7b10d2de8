"""A private onion MX on the private Tor network: who has a key delivers, who has none is told why."""

import secrets
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.tor.keys.service_key import files_of

from .daemon import Daemon
from .private_site import PrivateSite
from .socks import socks_connect
from .tor_network import INTERVAL, TorNetwork

pytestmark = pytest.mark.usefixtures("tor_program")

MISSING = "asks for a client authorization that tor does not have (F4)"
WRONG = "does not take the client authorization that tor has (F5)"


@pytest.fixture(scope="module")
def site(tor_network: TorNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[PrivateSite]:
    folder = tmp_path_factory.mktemp("private")
    folder.chmod(0o755)  # for Exim's user
    with PrivateSite(tor_network, folder) as site:
        yield site


def refused(site: PrivateSite, why: str) -> None:
    code, text = site.send()
    assert (code, text.split()[0]) == (451, "4.7.0"), text
    assert why in text


def delivered(site: PrivateSite) -> None:
    code, text = site.send()
    assert code == 250, text


def test_key_opens_and_revocation_closes(site: PrivateSite, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """At once in both directions, though the sender's tor keeps descriptors, and its relay a session."""
    host, sender = site.host, site.sender
    assert host.run("create") == 0
    onion = capsys.readouterr().out.splitlines()[0]
    site.start_relay(onion)
    delivered(site)

    first, second, other = (tmp_path / name for name in ("first", "second", "other"))
    assert host.run("authorize", "sender.example", "--output", str(first)) == 0
    out = capsys.readouterr().out
    assert "private: 1 client can reach it, nobody else" in out
    assert "descriptor published" in out
    assert host.run("show") == 0
    refused(site, MISSING)
    torrc = sender.torrc.read_text()
    assert sender.run("use-key", str(first)) == 0
    assert sender.torrc.read_text() == (
        f"{torrc}\n# >>> onionmx: keys of private onions >>>\n"
        f"ClientOnionAuthDir {sender.tor.folder}/onion-auth\n# <<< onionmx <<<\n"
    )
    delivered(site)

    assert host.run("authorize", "other.example", "--output", str(other)) == 0
    delivered(site)
    assert host.run("revoke", "sender.example") == 0
    assert "private: 1 client can reach it, nobody else" in capsys.readouterr().out
    refused(site, WRONG)

    assert host.run("authorize", "sender.example", "--output", str(second)) == 0
    assert sender.run("use-key", str(second)) == 0
    site.restart_relay()  # which leaves an onion alone that has failed twice
    delivered(site)
    assert len(site.exim.wait_for_delivered(4)) == 4


def test_last_revocation_does_not_open_it(site: PrivateSite, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.host.run("revoke", "other.example") == 0
    assert site.host.run("revoke", "sender.example") == 0
    assert "closed: nobody can reach it" in capsys.readouterr().out
    refused(site, WRONG)
    assert site.host.run("list") == 0
    assert capsys.readouterr().out == "closed: nobody can reach it; onionmx onion authorize lets a client in\n"
    assert site.host.run("revoke", "nobody", "--open") == 0
    assert "open: everybody who knows the address can reach it" in capsys.readouterr().out
    site.restart_relay()
    delivered(site)


@pytest.fixture
def front(site: PrivateSite, tmp_path: Path) -> Iterator[str]:
    """The onion of a real Onionbalance, in front of an instance on the host."""
    files = files_of(secrets.token_bytes(32))
    front = files["hostname"].decode().strip()
    directory = site.host.tor.folder / "instance"
    assert site.host.run("create", "--instance-of", front, "--directory", str(directory)) == 0
    instance = (directory / "hostname").read_text().strip()
    (tmp_path / "key").write_bytes(files["hs_ed25519_secret_key"])
    configuration = tmp_path / "onionbalance.yaml"
    configuration.write_text(f"services:\n- key: {tmp_path}/key\n  instances:\n  - address: {instance}\n")
    program: list[str | Path] = [sys.executable, Path(__file__).with_name("balance_process.py"), str(INTERVAL)]
    words = ["--is-testnet", "-v", "info", "-c", str(configuration), "-p", str(site.host.tor.control[1])]
    daemon = Daemon("onionbalance", [*program, *words], tmp_path)
    daemon.start()
    yield front
    daemon.stop()


def test_instance_takes_what_comes_to_the_front(site: PrivateSite, front: str) -> None:
    site.sender_tor.wait_until_reachable(front)
    with socks_connect(site.sender_tor.socks, front, 25) as connection:
        assert connection.recv(100).startswith(b"220 ")
