"""`onionmx probe` against a real Exim behind a real onion service, and against an onion that nobody serves."""

import json
import subprocess
import sys
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from onionmx.tor.socks import Cause
from tests.net.certificates import issue
from tests.onions import V3_ONION, make_onion

from .conftest import StartNameServers, skip_without
from .exim import ONION_CLIENTS, Exim
from .exim_tls import EximWithTls
from .name_servers import NameServers, Zone
from .tor_network import TorNetwork

DOMAIN = "probed.test"
WITH_DEAD_BACKUP = "backup.test"
MX = f"mx.{DOMAIN}"
NO_KEY = make_onion("nobody serves it")
"""Its checksum is right, but it names no point of the curve, which only tor finds out."""
PLENTY = 240
"""Seconds: tor may try 120 for an onion."""


class Site:
    """An onion MX, its records, and the configuration of somebody who looks at it."""

    def __init__(self, exim: Exim, onion: str, dns: NameServers, configuration: Path) -> None:
        self.exim = exim
        self.onion = onion
        self.dns = dns
        self._configuration = configuration

    def probe(self, *words: str) -> tuple[int, dict[str, Any]]:
        """Run it; exit code and report."""
        command: list[str | Path] = [
            sys.executable,
            "-m",
            "onionmx",
            "probe",
            "--config",
            self._configuration,
            "--json",
            *words,
        ]
        result = subprocess.run(command, capture_output=True, text=True, check=False, timeout=PLENTY)
        assert result.stderr == ""
        report: dict[str, Any] = json.loads(result.stdout)
        assert report["exit_code"] == result.returncode
        return result.returncode, report


@pytest.fixture(scope="module")
def site(
    tor_network: TorNetwork, name_servers: StartNameServers, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Site]:
    skip_without("exim4", "setpriv")
    folder = tmp_path_factory.mktemp("probe")
    with ExitStack() as started:
        exim = started.enter_context(EximWithTls(folder / "exim", MX, [DOMAIN], issue(MX)))
        onion = tor_network.add_onion_service({25: (ONION_CLIENTS, exim.port)})
        started.callback(tor_network.remove_onion_service, onion)
        record = f"_onion-mx._tcp 3600 SRV 0 5 25 {onion}."
        dead = f"_onion-mx._tcp 3600 SRV 10 5 25 {V3_ONION}."
        dns = name_servers({DOMAIN: Zone(record, signed=True), WITH_DEAD_BACKUP: Zone(f"{record}\n{dead}")})
        configuration = folder / "onionmx.toml"
        (folder / "none").touch()
        configuration.write_text(
            f'[local]\ndomains = ["{DOMAIN}"]\n[map]\npath = "{folder}/none.cdb"\n[sync]\npins = "{folder}/none"\n'
            f'[dns]\nnameservers = ["{"{}:{}".format(*dns.resolver)}"]\n'
            f'[tor]\nsocks = "{"{}:{}".format(*tor_network.client.socks)}"\n'
            '[relay]\nhostname = "client.example"\n'
        )
        tor_network.client.wait_until_reachable(onion)
        yield Site(exim, onion, dns, configuration)


def steps_of(target: dict[str, Any]) -> dict[str, dict[str, Any]]:
    return {step["name"]: step for step in target["steps"]}


def test_local_domain_with_everything(site: Site) -> None:
    code, report = site.probe(DOMAIN, "--address", f"alice@{DOMAIN}", "--tls")
    assert code == 0
    assert (report["route"]["source"], report["route"]["trust"]) == ("srv", "dnssec")
    (target,) = report["targets"]
    assert target["onion"] == site.onion
    steps = steps_of(target)
    assert {step["outcome"] for step in steps.values()} == {"ok"}
    assert MX in steps["greeting"]["words"]
    assert "PIPELINING" in steps["EHLO"]["detail"]["extensions"]
    assert steps["STARTTLS"]["detail"]["version"] == "TLSv1.3"
    certificate = steps["certificate"]["detail"]
    assert (certificate["names"], certificate["matching"], certificate["self_signed"]) == ([MX], [MX], True)
    assert steps["RCPT"]["detail"]["code"] == 250
    # Replies that came together took no time.
    assert all(steps[name]["seconds"] >= 0 for name in ("greeting", "EHLO", "STARTTLS", "MAIL", "RCPT"))
    assert steps["connect"]["seconds"] > 0


@pytest.mark.parametrize("address", [f"nobody@{DOMAIN}", "alice@foreign.example"])
def test_address_refused(site: Site, address: str) -> None:
    code, report = site.probe(DOMAIN, "--address", address, "--sender", "probe@client.example")
    assert code == 1
    steps = steps_of(report["targets"][0])
    assert (steps["RCPT"]["outcome"], steps["RCPT"]["detail"]["code"]) == ("failed", 550)
    assert (steps["RSET"]["outcome"], steps["QUIT"]["outcome"]) == ("ok", "ok")


def test_dead_backup(site: Site) -> None:
    code, report = site.probe(WITH_DEAD_BACKUP, "--live")
    assert code == 75
    assert report["route"]["trust"] == "unsigned"
    alive, dead = report["targets"]
    assert (alive["onion"], alive["exit_code"]) == (site.onion, 0)
    assert (dead["onion"], dead["exit_code"]) == (V3_ONION, 75)
    cause = Cause.DESCRIPTOR_NOT_FOUND
    connect = steps_of(dead)["connect"]
    assert (connect["words"], connect["advice"]) == (cause.words, cause.advice)
    assert connect["detail"]["reply"] == 0xF0


def test_onion_that_cannot_exist(site: Site) -> None:
    code, report = site.probe(NO_KEY)
    assert code == 1
    assert steps_of(report["targets"][0])["connect"]["words"] == Cause.BAD_ADDRESS.words


def test_port_on_which_nothing_listens(site: Site) -> None:
    code, report = site.probe(f"{site.onion}:26")
    assert code == 75
    steps = steps_of(report["targets"][0])
    assert steps["connect"]["outcome"] == "could not tell"
    assert steps["greeting"]["outcome"] == "not reached"


def test_onion_itself_leaves_no_trace(site: Site) -> None:
    asked = len(site.dns.queries())
    code, report = site.probe(site.onion, "--address", f"alice@{DOMAIN}")
    assert code == 0
    assert report["route"]["source"] == "onion"
    assert site.dns.queries()[asked:] == []
    assert not [query for query in site.dns.queries() if "onion" in query.name.removeprefix("_onion-mx")]
    assert site.exim.delivered() == []
    assert " <= " not in site.exim.log_text()
