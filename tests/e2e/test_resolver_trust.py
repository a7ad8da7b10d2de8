"""Whose AD counts: a real validator, Unbound, and a real forwarder that passes AD on, dnsmasq.

onionmx -> dnsmasq --proxy-dnssec -> Unbound (validates) -> Knot DNS
onionmx -> dnsmasq --proxy-dnssec -> one who sets AD to everything, a forged record too
"""

import asyncio
import json
import os
import random
import subprocess
import sys
import threading
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import dns.flags
import dns.message
import pytest

from onionmx.sync.state.record import DomainRecord, Established
from onionmx.sync.state.sqlite import SqliteStore
from onionmx.target import Trust
from tests.dns.scripted import Query, Reaction, reply, scripted_server
from tests.mapfile.maps import A
from tests.small_disk import with_own_mounts

from .conftest import skip_without
from .daemon import Daemon, free_ports
from .name_servers import LOOPBACK, NameServers, Zone, serves
from .programs import find_program

pytestmark = pytest.mark.skipif(os.geteuid() != 0, reason="port 53, and a resolv.conf of one's own, need root")

PREFIX = "_onion-mx._tcp"
SIGNED, BOGUS = "signed.test", "bogus.test"
BOGUS_NAME = f"ns.{BOGUS}"


@pytest.fixture(scope="module")
def servers() -> Iterator[NameServers]:
    skip_without("knotd", "unbound", "dnsmasq")
    zones = {
        SIGNED: Zone(f"{PREFIX} SRV 0 5 25 {A}.", signed=True),
        BOGUS: Zone(f"{PREFIX} SRV 0 5 25 {A}.", bogus=True),
    }
    with NameServers(zones) as servers:
        yield servers


@contextmanager
def forwarder(folder: Path, upstream: tuple[str, int], address: tuple[str, int]) -> Iterator[None]:
    """Run dnsmasq in front of a resolver."""
    host, port = address
    options = ["--no-daemon", "--conf-file=/dev/null", "--no-resolv", "--no-hosts", "--pid-file=", "--user=root"]
    options += [f"--port={port}", f"--listen-address={host}", "--bind-interfaces", "--except-interface=none"]
    options += ["--server={}#{}".format(*upstream), "--proxy-dnssec", "--cache-size=0"]
    with Daemon("dnsmasq", [find_program("dnsmasq"), *options], folder) as daemon:
        daemon.wait_until(lambda: serves(address, SIGNED, dns.rdatatype.SOA), "an answer")
        yield


def configuration(folder: Path, dns: str) -> Path:
    path = folder / "onionmx.toml"
    path.write_text(
        f'[local]\ndomains = ["{SIGNED}"]\n[map]\npath = "{folder}/map.cdb"\n[dns]\ntimeout = 30\n{dns}\n'
        f'[doctor]\nbogus_name = "{BOGUS_NAME}"\n'
    )
    return path


def onionmx(path: Path, *words: str, before: Sequence[str | Path] = ()) -> Any:  # noqa: ANN401 -- JSON
    command = [*before, Path(sys.executable).with_name("onionmx"), *words, "--config", path, "--json"]
    return json.loads(subprocess.run(command, capture_output=True, check=False).stdout)


def resolver_finding(path: Path, before: Sequence[str | Path] = ()) -> dict[str, str]:
    (finding,) = onionmx(path, "doctor", "--check", "resolver", before=before)["findings"]
    assert isinstance(finding, dict)
    return finding


def test_validator(tmp_path: Path, servers: NameServers) -> None:
    path = configuration(tmp_path, 'nameservers = ["{}:{}"]'.format(*servers.resolver))
    assert resolver_finding(path)["severity"] == "ok"


def test_forwarder_in_front_of_a_validator(tmp_path: Path, servers: NameServers) -> None:
    address = (LOOPBACK, free_ports(1)[0])
    path = configuration(tmp_path, 'nameservers = ["{}:{}"]'.format(*address))
    with forwarder(tmp_path, servers.resolver, address):
        finding = resolver_finding(path)
    assert finding["severity"] == "warning", finding
    assert "calls itself 'dnsmasq-" in finding["seen"]


@contextmanager
def liar() -> Iterator[tuple[str, int]]:
    """Somebody on the way: a forged record, an address for every name, and AD everywhere."""
    forged = dns.flags.RA | dns.flags.AD

    class Reactions(dict[str, Reaction]):
        def get(self, name: str, _default: object = None) -> Reaction:
            def react(query: Query) -> bytes | None:
                kind = dns.rdatatype.to_text(query.question[0].rdtype)
                data = {"SRV": f"0 0 25 {A}.", "A": "192.0.2.1", "SOA": "a. b. 1 2 3 4 5"}.get(kind)
                return (reply(f"{name}. 60 IN {kind} {data}", flags=forged) if data else reply(flags=forged))(query)

            return react

    started, address = threading.Event(), [""]

    async def serve(ended: asyncio.Event) -> None:
        async with scripted_server(Reactions()) as (_, address[0]):
            started.set()
            await ended.wait()

    loop, ended = asyncio.new_event_loop(), asyncio.Event()
    thread = threading.Thread(target=lambda: loop.run_until_complete(serve(ended)))
    thread.start()
    started.wait()
    host, _, port = address[0].rpartition(":")
    try:
        yield host, int(port)
    finally:
        loop.call_soon_threadsafe(ended.set)
        thread.join()
        loop.close()


def test_forwarder_in_front_of_one_who_lies(tmp_path: Path) -> None:
    skip_without("dnsmasq")
    address = (LOOPBACK, free_ports(1)[0])
    path = configuration(tmp_path, 'nameservers = ["{}:{}"]'.format(*address))
    with liar() as upstream, forwarder(tmp_path, upstream, address):
        finding = resolver_finding(path)
    assert finding["severity"] == "problem", finding
    assert "does not validate: it answers for a name whose signatures are wrong" in finding["seen"]
    assert "trusted = []" in finding["fix"]


@pytest.mark.parametrize(
    ("options", "dns", "trust"),
    [
        ("", "", "unsigned"),
        ("options edns0 trust-ad\n", "", "dnssec"),
        ("", 'trusted = ["{}"]', "dnssec"),
        ("options trust-ad\n", "trusted = []", "unsigned"),
        ("", 'nameservers = ["{}"]', "dnssec"),
    ],
)
def test_resolv_conf(tmp_path: Path, servers: NameServers, options: str, dns: str, trust: str) -> None:
    host = f"127.{random.randint(1, 254)}.{random.randint(1, 254)}.53"
    file = tmp_path / "resolv.conf"
    file.write_text(f"nameserver {host}\n{options}")
    before: list[str | Path] = [*with_own_mounts(), "sh", "-c", 'mount --bind "$0" /etc/resolv.conf && exec "$@"', file]
    path = configuration(tmp_path, dns.format(host))
    store = SqliteStore(tmp_path / "state.sqlite")
    store.save([DomainRecord("lost.example", 1.0, established=Established(((A, 25),), Trust.DNSSEC, 1.0, 1.0))])
    store.close()
    with forwarder(tmp_path, servers.resolver, (host, 53)):
        (answer,) = onionmx(path, "lookup", "--live", SIGNED, before=before)
        finding = resolver_finding(path, before)
    assert (answer["answer"], answer["trust"]) == ("found", trust)
    assert finding["severity"] == "warning", finding
    is_missing = "trust-ad" not in options and not dns
    assert ("/etc/resolv.conf does not say that it may be believed" in finding["seen"]) is is_missing
    assert ("counted" in finding["seen"] or "lost.example" in finding["seen"]) is (trust == "unsigned")
