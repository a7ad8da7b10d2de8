"""SRV lookups and sync against real name servers: Knot DNS behind a validating Unbound."""

import json
import subprocess
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest

from onionmx.onion import Endpoint
from onionmx.target import MOST_TARGETS
from tests.mapfile.maps import A, B, C, make_map
from tests.onions import V2_ONION

from .name_servers import NameServers, Zone

PREFIX = "_onion-mx._tcp"
RECORDS = f"""
{PREFIX}             SRV   0 5 25 {A}.
{PREFIX}.two         SRV   20 0 25 {B}.
{PREFIX}.two         SRV   10 0 2525 {A}.
{PREFIX}.off         SRV   0 0 0 .
{PREFIX}.mixed       SRV   0 0 25 mail.example.test.
{PREFIX}.mixed       SRV   5 0 25 {V2_ONION}.
{PREFIX}.mixed       SRV   9 0 25 {C}.
{PREFIX}.clear       SRV   0 0 25 mail.example.test.
{PREFIX}.alias       CNAME {PREFIX}
{PREFIX}.away        CNAME {PREFIX}.unsigned.test.
{PREFIX}.dangling    CNAME nowhere
{PREFIX}.loop        CNAME loop
loop                 CNAME {PREFIX}.loop
{PREFIX}.other       TXT   "no SRV"
*.wild               SRV   0 0 25 {B}.
mail                 A     127.0.0.1
"""
MANY = 40  # SRV records of one name: more than a UDP answer holds


@pytest.fixture(scope="module")
def servers() -> Iterator[NameServers]:
    many = "\n".join(f"{PREFIX}.many SRV {priority} 0 {priority + 1} {A}." for priority in range(MANY))
    zones = {
        "example.test": Zone(RECORDS, signed=True),
        "unsigned.test": Zone(f"{PREFIX} SRV 0 5 25 {B}.\n{many}"),
        "bogus.test": Zone(f"{PREFIX} SRV 0 5 25 {A}.", bogus=True),
        "changing.test": Zone(f"{PREFIX} SRV 0 5 25 {A}."),
    }
    with NameServers(zones) as servers:
        yield servers


class Client:
    """The `onionmx` command with its configuration, in a folder of its own."""

    def __init__(self, folder: Path, servers: NameServers) -> None:
        self.map = folder / "map.cdb"
        self._environment = {"ONIONMX_CONFIG": str(folder / "onionmx.toml")}
        (folder / "onionmx.toml").write_text(
            f'[map]\npath = "{self.map}"\n'
            f'[dns]\nnameservers = ["{"{}:{}".format(*servers.resolver)}"]\nretries = 0\ntimeout = 30.0\n'
            f'[sync]\npins = "{folder}/pins"\nhold = 0\nhold_removal = 0\n'
        )
        (folder / "pins").touch()

    def run(self, *words: str, lines: str = "") -> subprocess.CompletedProcess[str]:
        command: list[str | Path] = [Path(sys.executable).with_name("onionmx"), *words]
        return subprocess.run(command, env=self._environment, input=lines, capture_output=True, text=True, check=False)

    def lookup(self, *domains: str) -> list[Any]:
        found: list[Any] = json.loads(self.run("lookup", "--live", "--json", *domains).stdout)
        return found

    def sync(self, *domains: str) -> Any:  # noqa: ANN401 -- JSON
        return json.loads(self.run("sync", "--json", "--all", "-", lines="\n".join(domains)).stdout)


@pytest.fixture
def client(tmp_path: Path, servers: NameServers) -> Client:
    return Client(tmp_path, servers)


def endpoints(answer: Mapping[str, Any]) -> list[Endpoint]:
    return [(target["onion"], target["port"]) for target in answer["targets"]]


FOUND = {
    "example.test": ([(A, 25)], "dnssec"),
    "two.example.test": ([(A, 2525), (B, 25)], "dnssec"),
    "mixed.example.test": ([(C, 25)], "dnssec"),
    "alias.example.test": ([(A, 25)], "dnssec"),
    "away.example.test": ([(B, 25)], "unsigned"),
    "unsigned.test": ([(B, 25)], "unsigned"),
    "many.unsigned.test": ([(A, port + 1) for port in range(MOST_TARGETS)], "unsigned"),
}


@pytest.mark.parametrize("domain", FOUND)
def test_found(client: Client, domain: str) -> None:
    (answer,) = client.lookup(domain)
    targets, trust = FOUND[domain]
    assert (endpoints(answer), answer["trust"], answer["source"]) == (targets, trust, "srv")
    assert 0 < answer["ttl"] <= 300


def test_targets_that_are_no_onions_are_reported(client: Client) -> None:
    (answer,) = client.lookup("mixed.example.test")
    assert len(answer["notes"]) == 2
    (answer,) = client.lookup("clear.example.test")
    assert answer["answer"] == "no route"
    assert "'mail.example.test' is not an onion address" in answer["notes"][0]


@pytest.mark.parametrize("name", ["none", "off", "dangling", "other"])
def test_no_route(client: Client, name: str) -> None:
    assert client.run("lookup", "--live", f"{name}.example.test").returncode == 1


@pytest.mark.parametrize("domain", ["bogus.test", "loop.example.test"])
def test_could_not_tell(client: Client, domain: str) -> None:
    result = client.run("lookup", "--live", domain)
    assert result.returncode == 75
    assert f"_onion-mx._tcp.{domain}: no resolver could answer" in result.stdout
    assert "SERVFAIL" in result.stdout


def test_no_question_but_srv_was_ever_asked(client: Client, servers: NameServers) -> None:
    client.lookup(*FOUND, "clear.example.test", A, "x.onion")
    assert {query.type for query in servers.queries()} == {"SRV"}
    assert not [query for query in servers.queries() if query.name.endswith("onion")]


def test_sync_follows_the_zone(client: Client, servers: NameServers) -> None:
    report = client.sync("changing.test", "example.test", "none.example.test", "bogus.test")
    assert report["counts"] | {"kept": 0} == {
        "added": 2,
        "changed": 0,
        "removed": 0,
        "kept": 0,
        "undecided": 1,
        "without": 1,
    }
    servers.change_zone("changing.test", Zone(f"{PREFIX} SRV 0 5 2525 {C}."))
    assert client.sync("changing.test", "example.test")["counts"]["changed"] == 1
    servers.change_zone("changing.test", Zone(""))
    assert client.sync("changing.test", "example.test")["counts"]["removed"] == 1
    servers.change_zone("changing.test", Zone(f"{PREFIX} SRV 0 5 25 {A}."))
    assert client.sync("changing.test", "example.test")["counts"]["added"] == 1


def test_failing_dns_keeps_the_map(client: Client, servers: NameServers) -> None:
    make_map(client.map, {"example.test": ((A, 25),), "unsigned.test": ((B, 25),)})
    before = client.map.read_bytes()
    servers.stop_authority()
    servers.flush("example.test")
    servers.flush("unsigned.test")
    try:
        result = client.run("sync", "-", lines="example.test\nunsigned.test\n")
        assert result.returncode == 75
        assert "every lookup failed (2), nothing was published" in result.stderr
        assert client.map.read_bytes() == before
    finally:
        servers.start_authority()
    servers.flush("example.test")


def test_resolver_that_is_gone(client: Client, servers: NameServers) -> None:
    make_map(client.map, {"example.test": ((A, 25),)})
    servers.stop_resolver()
    try:
        result = client.run("sync", "-", lines="example.test\n")
        assert result.returncode == 75
        assert "no resolver could answer; 127.0.0.1 port" in result.stderr
    finally:
        servers.start_resolver()
    assert client.sync("example.test")["counts"]["kept"] == 1
