"""`onionmx publish` where real name servers refuse, do not know the zone, or nobody believes their signatures."""

import asyncio
import re
import socketserver
import threading
import time
from types import SimpleNamespace
from typing import ClassVar

import dns.message
import dns.name
import dns.opcode
import dns.query
import dns.rdatatype
import dns.tsig
import dns.update
import pytest

from onionmx.publish.change import ChangeResult, Current, RecordChange
from onionmx.publish.exchange import Exchange
from onionmx.publish.primary import Primary, Refusal
from onionmx.publish.records import OnionMxRecords
from onionmx.publish.signatures import Signed
from onionmx.publish.verify import Verification, Verifier
from onionmx.target import Target
from tests.mapfile.maps import A

from . import publish_site
from .name_servers import TSIG_ALGORITHM, TSIG_NAME, TSIG_SECRET
from .publish_site import KEY, TTL, Client, Site, serial

site = publish_site.site
client = publish_site.client

ZONES_OF_BOTH = ["unsigned.test", "bind-unsigned.test"]


@pytest.mark.parametrize("zone", ZONES_OF_BOTH)
@pytest.mark.parametrize(
    ("key", "why"),
    [
        (f"{TSIG_NAME}:{TSIG_ALGORITHM}:d3Jvbmc=", "BADSIG, it has another secret for key 'onionmx-test' with hmac-"),
        (f"stranger:{TSIG_ALGORITHM}:{TSIG_SECRET}", "(BADKEY|NOTAUTH), it does not know key 'stranger' with hmac-"),
    ],
)
def test_a_wrong_key(site: Site, client: Client, zone: str, key: str, why: str) -> None:
    server = site.primary_of(zone)
    before = serial(server, zone)
    client.key.write_text(f"{key}\n")
    code, out, err = client.run(zone, zone, "--onion", A)
    assert (code, out, err.count("\n")) == (78, "", 1)
    assert re.match(f"onionmx: {server[0]} port {server[1]}: {why}", err)
    assert serial(server, zone) == before


class WithoutSignatures(socketserver.StreamRequestHandler):
    """Somebody on the way: asks the name server in his own name, and hands on what it says, without a signature."""

    behind: ClassVar[tuple[str, int]]
    seen: ClassVar[list[int]]

    def handle(self) -> None:
        while length := self.rfile.read(2):
            message = dns.message.from_wire(self.rfile.read(int.from_bytes(length, "big")), keyring=False)
            message.tsig = None
            self.seen.append(message.opcode())
            answer = dns.query.tcp(message, self.behind[0], 5, port=self.behind[1]).to_wire()
            self.wfile.write(len(answer).to_bytes(2, "big") + answer)


@pytest.mark.parametrize("zone", ZONES_OF_BOTH)
def test_answers_without_a_signature(site: Site, client: Client, zone: str) -> None:
    before = serial(site.primary_of(zone), zone)

    class Handler(WithoutSignatures):
        behind: ClassVar[tuple[str, int]] = site.primary_of(zone)
        seen: ClassVar[list[int]] = []

    with socketserver.ThreadingTCPServer(("127.0.0.1", 0), Handler) as proxy:
        proxy.daemon_threads = True
        serving = threading.Thread(target=proxy.serve_forever)
        serving.start()
        code, out, err = client.run(zone, zone, "--onion", A, server="{}:{}".format(*proxy.server_address))
        proxy.shutdown()
        serving.join()
    assert (code, out, err.count("\n")) == (75, "", 1)
    assert "its answer is not signed, though the question was" in err
    assert set(Handler.seen) == {dns.opcode.QUERY}, "nothing is updated on the word of nobody knows whom"
    assert serial(site.primary_of(zone), zone) == before


@pytest.mark.parametrize("zone", ZONES_OF_BOTH)
def test_a_clock_that_is_off(site: Site, client: Client, zone: str, monkeypatch: pytest.MonkeyPatch) -> None:
    before = serial(site.primary_of(zone), zone)
    monkeypatch.setattr(dns.message, "time", SimpleNamespace(time=lambda: time.time() + 3600))
    code, out, err = client.run(zone, zone, "--onion", A)
    assert (code, out, err.count("\n")) == (75, "", 1)
    assert "BADTIME, the clocks of this host and of the name server differ by more than 5 minutes" in err
    assert serial(site.primary_of(zone), zone) == before


def test_refused_by_bind(site: Site, client: Client) -> None:
    before = serial(site.bind.address, "closed.test")
    code, _, err = client.run("closed.test", "closed.test", "--onion", A)
    assert code == 78
    assert "closed.test: 127.0.0.1 port" in err
    assert "REFUSED: it takes no update of zone closed.test from us; allow it for the key" in err
    assert serial(site.bind.address, "closed.test") == before


def test_refused_by_knot(site: Site, client: Client) -> None:
    """It takes updates with the key alone; without one, it says NOTAUTH."""
    before = serial(site.servers.authority, "unsigned.test")
    code, _, err = client.run("unsigned.test", "unsigned.test", "--onion", A, "--tsig-file", "")
    assert code == 78
    assert "NOTAUTH: it is not the primary of zone unsigned.test, or takes no update of it from us" in err
    assert serial(site.servers.authority, "unsigned.test") == before


@pytest.mark.parametrize("zone", ZONES_OF_BOTH)
def test_a_name_that_is_not_in_the_zone(site: Site, zone: str) -> None:
    """The zone comes from the server itself, so that only a bug or a change of its zones leads here."""
    server = site.primary_of(zone)
    before = serial(server, zone)

    async def update() -> dict[str, ChangeResult | Refusal]:
        async with Exchange(server, KEY) as exchange:
            wanted = OnionMxRecords("elsewhere.example", (Target(A),), TTL)
            return await Primary(exchange, KEY).update([RecordChange(wanted, Current(dns.name.from_text(zone)))])

    outcome = asyncio.run(update())["elsewhere.example"]
    assert isinstance(outcome, Refusal)
    assert outcome.outcome is ChangeResult.REFUSED
    assert f"NOTZONE: a name of the update is not in zone {zone}" in outcome.words
    assert serial(server, zone) == before


@pytest.mark.parametrize("zone", ZONES_OF_BOTH)
def test_a_domain_that_the_server_does_not_hold(client: Client, zone: str) -> None:
    code, out, err = client.run(zone, "example.org", "example.net", "--onion", A)
    assert code == 78
    assert err.count("REFUSED: it does not hold the zone of example.") == 2
    assert "2 refused; no updates sent" in out


def test_no_server_there(client: Client, site: Site) -> None:
    words = ["--update", "127.0.0.9:1", "unsigned.test", "--onion", A]
    code, out, err = client.run("unsigned.test", *words)
    assert (code, out) == (75, "")
    assert err == "onionmx: 127.0.0.9 port 1: no connection over TCP: Connect call failed ('127.0.0.9', 1)\n"
    assert site.servers.knot.running


def verified(site: Site, domain: str, zone: str) -> Verification:
    async def check() -> Verification:
        return await Verifier(site.dns, site.primary_of(zone)[1]).check(domain, None)

    return asyncio.run(check())


@pytest.mark.parametrize(
    ("zone", "signed", "words"),
    [
        ("island.test", Signed.ISLAND, "no DS record"),
        ("bogus.test", Signed.BOGUS, "the resolver still refuses the zone"),
    ],
)
def test_signatures_that_nobody_believes(site: Site, client: Client, zone: str, signed: Signed, words: str) -> None:
    assert client.run(zone, zone, "--onion", A)[0] == 0
    found = verified(site, zone, zone)
    assert (found.complete, found.signed) == (True, signed)
    assert words in found.signed_words


def test_a_domain_whose_name_servers_cannot_be_found_out(site: Site) -> None:
    found = asyncio.run(Verifier(site.dns).check("example.test", ()))
    assert not found.complete
    assert found.signed is Signed.UNKNOWN
