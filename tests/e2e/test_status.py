"""`onionmx status` beside a real tor, relay and MTA: what it tells while all is well, and while something is not.

tor (SOCKS, control, onion service) ── private Tor network
 │ hands over to 127.0.0.2
Exim ── receiver.example
onionmx relay, a map with that onion and with one that does not exist
"""

import json
import os
import re
import smtplib
import socket
import subprocess
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from tests.onions import V3_ONION

from .conftest import skip_without
from .daemon import wait_until
from .doctor_site import DoctorTor, Torrc
from .exim import Exim
from .postfix import Postfix
from .programs import find_program
from .receiving import DOMAIN, Receiver, receiver
from .relay import ONIONMX, Relay
from .tor_network import TorNetwork

GONE = "gone.example"
MESSAGE = "Subject: x\r\n\r\nhello\r\n"
LIMIT = 25.0
"""Seconds for a look of which a source hangs: ten for that one, and a machine that is slow."""


class StatusSite:
    """A host that sends and receives."""

    def __init__(self, folder: Path, tor: DoctorTor, relay: Relay, mta: Receiver) -> None:
        self.tor = tor
        self.relay = relay
        self.mta = mta
        self._folder = folder
        programs = folder / "programs"
        programs.mkdir()
        assert isinstance(mta.mta, Exim)
        mta.mta.write_command(programs / "exim4")
        self.environment: Mapping[str, str] = {"PATH": f"{programs}:/usr/bin:/bin"}

    def status(
        self, *words: str, control: str = "", environment: Mapping[str, str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run the command; with another control port of tor where one is named."""
        text = self.relay.configuration.read_text()
        control = control or f"{self.tor.control[0]}:{self.tor.control[1]}"
        file = self._folder / "status.toml"
        file.write_text(text.replace("[tor]\n", f'[tor]\ncontrol = "{control}"\n', 1))
        command: Sequence[str | Path] = [ONIONMX, "status", "--config", file, *words]
        environment = os.environ | (self.environment if environment is None else environment)
        return subprocess.run(command, env=environment, capture_output=True, text=True, check=False)

    def told(self, control: str = "") -> Any:  # noqa: ANN401 -- JSON
        """The JSON."""
        return json.loads(self.status("--json", control=control).stdout)

    def send(self, *domains: str) -> dict[str, tuple[int, bytes | str]]:
        """Hand a message for one user of each domain to the relay; what was refused."""
        with smtplib.LMTP(*self.relay.lmtp, timeout=240) as session:
            try:
                return dict(session.sendmail("me@sender.example", [f"alice@{domain}" for domain in domains], MESSAGE))
            except smtplib.SMTPDataError as error:
                return dict.fromkeys(domains, (error.smtp_code, error.smtp_error))


@pytest.fixture(scope="module")
def site(tor_network: TorNetwork, tmp_path_factory: pytest.TempPathFactory) -> Iterator[StatusSite]:
    skip_without("exim4", "postqueue", "setpriv")
    folder = tmp_path_factory.mktemp("status")
    for above in (folder, folder.parent):
        above.chmod(0o755)  # for an Exim that runs as another user
    authority = re.search(r"^DirAuthority .*$", (tor_network.client.folder / "torrc").read_text(), re.MULTILINE)
    assert authority is not None
    tor = DoctorTor(folder / "tor", authority[0])
    with receiver("exim", folder / "exim") as mta, _running(tor):
        tor.reconfigure(Torrc(), mta.forward)
        tor_network.client.wait_until_reachable(tor.onion)
        relay = Relay(folder / "relay", tor.socks)
        relay.publish({DOMAIN: tor.onion, GONE: V3_ONION})
        with relay:
            yield StatusSite(folder, tor, relay, mta)


@contextmanager
def _running(tor: DoctorTor) -> Iterator[None]:
    tor.start()
    try:
        tor.wait_until_bootstrapped()
        yield
    finally:
        tor.stop()


def test_what_goes_and_what_fails_is_told_and_survives_a_crash(site: StatusSite) -> None:
    assert not site.send(DOMAIN)
    refused = site.send(GONE)
    assert refused[GONE][0] == 451, refused
    done = site.status("--json")
    assert done.returncode == 0, done.stdout + done.stderr
    told = json.loads(done.stdout)
    assert told["tor"]["answers"] is told["tor"]["has_circuits"] is True
    assert (told["tor"]["bootstrapped"], told["tor"]["why"]) == (100, "")
    assert told["tor"]["circuits"] > 0
    (own,) = told["onions"]["services"]
    assert (own["onion"], own["published"], own["reachable"]) == (site.tor.onion, True, None)
    assert told["map"]["entries"] == 2
    assert told["map"]["waiting"] == []
    assert told["queue"]["mta"] == "Exim"
    assert told["queue"]["waiting"] == 0
    (failing,) = told["failing"]["destinations"]
    assert (failing["onion"], failing["domains"], failing["kind"]) == (V3_ONION, [GONE], "not_published")
    assert "no descriptor found" in failing["reason"]
    today = told["deliveries"]["today"]
    assert (today["delivered"], today["deferred"], today["refused"]) == (1, 1, 0)
    assert len(told["deliveries"]["days"]) == 30

    site.relay.kill()
    stopped = site.told()
    assert stopped["failing"]["destinations"] == told["failing"]["destinations"]
    assert "ran last" in stopped["failing"]["why"]
    assert stopped["deliveries"]["last_30_days"] == told["deliveries"]["last_30_days"]
    site.relay.start()
    again = site.told()
    assert again["failing"]["destinations"] == told["failing"]["destinations"]
    assert again["failing"]["why"] == ""
    assert not site.send(DOMAIN)
    assert site.told()["deliveries"]["today"]["delivered"] == 2

    screen = site.status().stdout
    assert f"{V3_ONION[:16]}...:25 for {GONE}" in screen
    assert "2 recipients over onions; 1 deferred, 0 refused" in screen
    assert all(len(line) <= 80 for line in screen.splitlines())


def test_source_that_hangs_costs_a_line(site: StatusSite) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        begin = time.monotonic()
        done = site.status("--json", control=f"127.0.0.1:{silent.getsockname()[1]}")
        assert time.monotonic() - begin < LIMIT
    assert done.returncode == 75
    told = json.loads(done.stdout)
    assert told["tor"]["answers"] is None
    assert "no answer within" in told["tor"]["why"]
    assert told["onions"]["services"] is None
    assert told["map"]["entries"] == 2
    assert told["failing"]["destinations"] is not None


def test_tor_without_a_control_port_is_known_by_its_socks_port(site: StatusSite) -> None:
    host, port = site.tor.nowhere
    done = site.status("--json", control=f"{host}:{port}")
    assert done.returncode == 75
    told = json.loads(done.stdout)["tor"]
    assert (told["answers"], told["version"], told["has_circuits"]) == (True, None, None)
    assert "its SOCKS port answers" in told["why"]


def test_queue_of_postfix(site: StatusSite, tmp_path: Path) -> None:
    tmp_path.chmod(0o755)
    with receiver("postfix", tmp_path / "postfix") as mta:
        programs = find_program("postqueue").parent
        assert isinstance(mta.mta, Postfix)
        environment = dict(mta.mta.environment) | {"PATH": f"{programs}:/usr/bin:/bin"}
        told = json.loads(site.status("--json", environment=environment).stdout)["queue"]
        assert (told["mta"], told["waiting"], told["why"]) == ("Postfix", 0, "")
    done = site.status("--json", environment=environment | {"MAIL_CONFIG": str(tmp_path / "missing")})
    told = json.loads(done.stdout)["queue"]
    assert done.returncode == 75
    assert told["waiting"] is None
    assert "postqueue -j failed" in told["why"]


def test_watch_goes_on_until_it_is_interrupted(site: StatusSite, tmp_path: Path) -> None:
    command: Sequence[str | Path] = [ONIONMX, "status", "--json", "--watch", "--interval", "1"]
    with (tmp_path / "out").open("wb") as out:
        options = ("--config", site.relay.configuration)
        watching = subprocess.Popen([*command, *options], env=os.environ | site.environment, stdout=out)
        try:
            wait_until(lambda: (tmp_path / "out").read_bytes().count(b"\n") >= 3, "three looks")
        finally:
            watching.terminate()
            watching.wait()
    for line in (tmp_path / "out").read_text().splitlines():
        assert json.loads(line)["map"]["entries"] == 2
