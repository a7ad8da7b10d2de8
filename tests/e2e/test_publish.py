"""`onionmx publish` against real name servers: Knot DNS and BIND as primaries, a secondary that lags, nsupdate."""

import asyncio
import json
import subprocess
import time
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from types import SimpleNamespace
from typing import Any, NamedTuple

import dns.message
import dns.name
import dns.query
import dns.rdatatype
import dns.tsig
import dns.update
import pytest

from onionmx.cli import main
from onionmx.config import DnsSection
from onionmx.publish.change import Change, Current, Outcome
from onionmx.publish.exchange import Exchange
from onionmx.publish.primary import Primary, Refusal
from onionmx.publish.records import OnionMxRecords
from onionmx.publish.run import verify
from onionmx.publish.signatures import Signed
from onionmx.publish.verify import State, Verification, Verifier, check_domain
from onionmx.target import Target
from tests.mapfile.maps import A, B

from .bind import Bind, Secondary, environment
from .conftest import skip_without
from .name_servers import TSIG_ALGORITHM, TSIG_NAME, TSIG_SECRET, NameServers, Zone
from .programs import find_program

PREFIX = "_onion-mx._tcp"
OTHERS = f"""
@                 NS    ns2
ns2               A     127.0.0.2
www               A     127.0.0.1
_other._tcp       SRV   1 2 3 www
{PREFIX}          TXT   "stays"
{PREFIX}.alias    CNAME www
*.wild            CNAME www
*.srv.wild        SRV   7 7 7 www
"""
ONE_SERVER = OTHERS.replace("@                 NS    ns2", "")
KEY = dns.tsig.Key(TSIG_NAME, TSIG_SECRET, TSIG_ALGORITHM)
TTL = 600


class Site(NamedTuple):
    """A primary and the resolver that knows its zones."""

    servers: NameServers
    bind: Bind

    def primary_of(self, zone: str) -> tuple[str, int]:
        return self.bind.address if zone in self.bind.zones else self.servers.authority

    @property
    def dns(self) -> DnsSection:
        return DnsSection(nameservers=("{}:{}".format(*self.servers.resolver),))


@pytest.fixture(scope="module")
def site() -> Iterator[Site]:
    skip_without("knotd", "knotc", "keymgr", "unbound", "unbound-control", "setpriv", "named")
    knot_zones = {
        "signed.test": Zone(ONE_SERVER, signed=True),
        "unsigned.test": Zone(ONE_SERVER),
        "island.test": Zone(ONE_SERVER, signed=True, anchored=False),
        "bogus.test": Zone(ONE_SERVER, bogus=True),
        "lagging.test": Zone(OTHERS),
    }
    bind_zones = {
        "bind-signed.test": Zone(ONE_SERVER, signed=True),
        "bind-unsigned.test": Zone(ONE_SERVER),
        "bind-lagging.test": Zone(OTHERS, signed=True),
        "closed.test": Zone(ONE_SERVER),
    }
    with (
        Bind(bind_zones, closed=frozenset({"closed.test"})) as bind,
        NameServers(knot_zones, elsewhere=bind.elsewhere()) as servers,
    ):
        yield Site(servers, bind)


class Client:
    """The command, with the port that the test's name servers have instead of 53."""

    def __init__(self, folder: Path, site: Site, capsys: pytest.CaptureFixture[str]) -> None:
        self._site = site
        self._capsys = capsys
        self.key = folder / "key"
        self.key.write_text(f'key "{TSIG_NAME}" {{ algorithm {TSIG_ALGORITHM}; secret "{TSIG_SECRET}"; }};\n')
        self.key.chmod(0o600)
        self.configuration = folder / "onionmx.toml"
        self.configuration.write_text(
            f'[dns]\nnameservers = ["{"{}:{}".format(*site.servers.resolver)}"]\ntimeout = 3.0\n'
            f'[publish]\nttl = {TTL}\ntsig_file = "{self.key}"\n'
            f'[tor]\ncontrol_password_file = "{folder}/no-tor-here"\n'
        )

    def run(self, zone: str, *words: str) -> tuple[int, str, str]:
        server = "{}:{}".format(*self._site.primary_of(zone))
        code = main(["publish", "--config", str(self.configuration), "--update", server, *words])
        return code, *self._capsys.readouterr()

    def report(self, zone: str, *words: str) -> tuple[int, dict[str, Any]]:
        code, out, _ = self.run(zone, "--json", *words)
        return code, json.loads(out)


@pytest.fixture
def client(tmp_path: Path, site: Site, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> Client:
    def on_the_port(*words: Any, **named: Any) -> Any:  # noqa: ANN401 -- whatever verify takes and gives
        zones = {zone.to_text(omit_final_dot=True) for zone in named["zones"].values()}
        (port,) = {site.primary_of(zone)[1] for zone in zones} or {53}
        return verify(*words, **named, port=port)

    monkeypatch.setattr("onionmx.cli.publish.verify", on_the_port)
    return Client(tmp_path, site, capsys)


def held(server: tuple[str, int], name: str, kind: str = "SRV") -> list[str]:
    query = dns.message.make_query(name, kind)
    reply = dns.query.tcp(query, server[0], 3, port=server[1])
    return sorted(
        data.to_text() for rrset in reply.answer for data in rrset if rrset.rdtype == query.question[0].rdtype
    )


def serial(server: tuple[str, int], zone: str) -> str:
    return held(server, zone, "SOA")[0].split()[2]


PRIMARIES = {
    "signed.test": "signed and valid",
    "unsigned.test": "unsigned",
    "bind-signed.test": "signed and valid",
    "bind-unsigned.test": "unsigned",
}


@pytest.mark.parametrize("zone", PRIMARIES)
def test_from_nothing_to_a_record_and_back(site: Site, client: Client, zone: str) -> None:
    server = site.primary_of(zone)
    name = f"{PREFIX}.{zone}"
    code, report = client.report(zone, zone, "--onion", A)
    assert (code, report["domains"][0]["outcome"], report["updates"]) == (0, "added", 1)
    (verified,) = report["verification"]
    assert (verified["zone"], verified["complete"], verified["signed"]) == (zone, True, PRIMARIES[zone])
    assert held(server, name) == [f"0 5 25 {A}."]

    before = serial(server, zone)
    code, out, err = client.run(zone, zone, "--onion", A)
    assert (code, err) == (0, "")
    assert "1 same; no updates sent" in out
    assert client.run(zone, "-q", zone, "--onion", A) == (0, "", "")
    assert serial(server, zone) == before

    difference = f"-{name}. {TTL} IN SRV 0 5 25 {A}.\n+{name}. {TTL} IN SRV 10 0 2525 {B}.\n"
    code, out, _ = client.run(zone, zone, "--onion", f"{B}:2525:10:0", "--dry-run")
    assert (code, out.startswith(difference), serial(server, zone)) == (1, True, before)
    code, out, _ = client.run(zone, zone, "--onion", f"{B}:2525:10:0")
    assert (code, out.startswith(difference)) == (0, True)
    assert held(server, name) == [f"10 0 2525 {B}."]

    code, report = client.report(zone, zone, "--withdraw")
    assert (code, report["domains"][0]["outcome"]) == (0, "removed")
    assert held(server, name) == []
    assert held(server, name, "TXT") == ['"stays"']
    assert held(server, f"_other._tcp.{zone}") == [f"1 2 3 www.{zone}."]


@pytest.mark.parametrize("zone", ["unsigned.test", "bind-signed.test"])
def test_names_below_a_wildcard(site: Site, client: Client, zone: str) -> None:
    """A wildcard answers for the name, and is no obstacle; the wildcard itself stays."""
    domains = [f"x.wild.{zone}", f"x.srv.wild.{zone}", f"plain.{zone}"]
    code, report = client.report(zone, *domains, "--onion", A)
    assert (code, {each["outcome"] for each in report["domains"]}) <= (0, {"added", "changed"})
    for domain in domains:
        assert held(site.primary_of(zone), f"{PREFIX}.{domain}") == [f"0 5 25 {A}."]
    assert held(site.primary_of(zone), f"y.srv.wild.{zone}") == [f"7 7 7 www.{zone}."]
    assert client.report(zone, *domains, "--withdraw")[0] in {0, 75}  # the wildcards answer again
    assert held(site.primary_of(zone), f"{PREFIX}.plain.{zone}") == []


@pytest.mark.parametrize("zone", ["unsigned.test", "bind-unsigned.test"])
def test_a_cname_at_the_name(site: Site, client: Client, zone: str) -> None:
    code, out, err = client.run(zone, f"alias.{zone}", f"beside.{zone}", "--onion", A)
    assert code == 78
    assert err == (
        f"onionmx: alias.{zone}: a CNAME at {PREFIX}.alias.{zone}. leads to www.{zone}., and no other record can "
        "stand beside it: remove it first\n"
    )
    assert "1 added, 1 refused; 1 update sent" in out
    assert held(site.primary_of(zone), f"{PREFIX}.beside.{zone}") == [f"0 5 25 {A}."]
    assert held(site.primary_of(zone), f"{PREFIX}.alias.{zone}", "CNAME") == [f"www.{zone}."]
    client.run(zone, f"beside.{zone}", "--withdraw")


def target(onion: str) -> OnionMxRecords:
    return OnionMxRecords("unsigned.test", (Target(onion, 25, 0, 5),), TTL)


def somebody_else(server: tuple[str, int], zone: str, domain: str, onion: str) -> None:
    message = dns.update.UpdateMessage(zone)
    message.replace(f"{PREFIX}.{domain}.", 60, "SRV", f"1 1 25 {onion}.")
    message.use_tsig(KEY)
    assert dns.query.tcp(message, server[0], 3, port=server[1]).rcode() == 0


@pytest.mark.parametrize("zone", ["unsigned.test", "bind-unsigned.test"])
@pytest.mark.parametrize("was_there", [True, False])
def test_a_change_by_somebody_else_between_question_and_update(site: Site, zone: str, *, was_there: bool) -> None:
    server = site.primary_of(zone)
    domains = [f"{number}.{'old' if was_there else 'new'}.{zone}" for number in range(8)]
    if was_there:
        for domain in domains:
            somebody_else(server, zone, domain, A)

    async def race() -> tuple[dict[str, Outcome | Refusal], int]:
        async with Exchange(server, KEY) as exchange:
            primary = Primary(exchange, KEY)
            readings = await primary.read(domains)
            somebody_else(server, zone, domains[3], B)
            changes = []
            for domain, reading in readings.items():
                assert isinstance(reading, Current)
                changes.append(Change(OnionMxRecords(domain, (Target(A, 2525),), TTL), reading))
            return await primary.update(changes), primary.updates

    outcomes, updates = asyncio.run(race())
    lost = outcomes.pop(domains[3])
    assert isinstance(lost, Refusal)
    assert lost.outcome is Outcome.CONFLICT
    assert "changed on the name server meanwhile" in lost.words
    assert set(outcomes.values()) == {Outcome.CHANGED if was_there else Outcome.ADDED}
    assert updates == 2
    assert held(server, f"{PREFIX}.{domains[3]}") == [f"1 1 25 {B}."]
    assert held(server, f"{PREFIX}.{domains[4]}") == [f"0 0 2525 {A}."]


ZONES_OF_BOTH = ["unsigned.test", "bind-unsigned.test"]


@pytest.mark.parametrize("zone", ZONES_OF_BOTH)
@pytest.mark.parametrize(
    ("key", "why"),
    [
        (f"{TSIG_NAME}:{TSIG_ALGORITHM}:d3Jvbmc=", "BADSIG, it has another secret for key 'onionmx-test' with hmac-"),
        (f"stranger:{TSIG_ALGORITHM}:{TSIG_SECRET}", "BADKEY, it does not know key 'stranger' with hmac-sha256"),
    ],
)
def test_a_wrong_key(site: Site, client: Client, zone: str, key: str, why: str) -> None:
    server = site.primary_of(zone)
    before = serial(server, zone)
    client.key.write_text(f"{key}\n")
    code, out, err = client.run(zone, zone, "--onion", A)
    assert (code, out, err.count("\n")) == (78, "", 1)
    assert f"onionmx: {server[0]} port {server[1]}: {why}" in err
    assert serial(server, zone) == before


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

    async def update() -> dict[str, Outcome | Refusal]:
        async with Exchange(server, KEY) as exchange:
            wanted = OnionMxRecords("elsewhere.example", (Target(A),), TTL)
            return await Primary(exchange, KEY).update([Change(wanted, Current(dns.name.from_text(zone)))])

    outcome = asyncio.run(update())["elsewhere.example"]
    assert isinstance(outcome, Refusal)
    assert outcome.outcome is Outcome.REFUSED
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


@pytest.mark.parametrize("zone", ["lagging.test", "bind-lagging.test"])
def test_a_secondary_that_lags(site: Site, client: Client, zone: str) -> None:
    primary = site.primary_of(zone)
    with Secondary(primary, [zone]) as secondary:
        code, out, _ = client.run(zone, zone, "--onion", A)
        assert code == 75
        assert f"ns.{zone}" in out
        assert "has none; lags behind: serial " in out
        looks: list[Verification] = []

        def on_answer(result: Verification) -> None:
            looks.append(result)
            if not result.complete:
                secondary.catch_up()

        wanted = [OnionMxRecords(zone, (Target(A, 25, 0, 5),), TTL)]
        done = asyncio.run(verify(wanted, site.dns, on_answer, zones={}, wait=60, port=primary[1]))
        assert [look.complete for look in looks] == [False, True]
        assert {view.address: view.state for view in done[0].servers} == dict.fromkeys(
            ("127.0.0.1", "127.0.0.2"), State.SERVES
        )
        assert client.run(zone, zone, "--onion", A, "--wait=60")[0] == 0
    code, out, _ = client.run(zone, zone, "--onion", A, "--wait=1.5")
    assert code == 75
    assert "could not tell: " in out


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
    found = asyncio.run(check_domain("example.test", (), site.dns))
    assert not found.complete
    assert found.signed is Signed.UNKNOWN


@pytest.mark.parametrize("zone", ["signed.test", "bind-unsigned.test"])
@pytest.mark.parametrize("program", ["nsupdate", "knsupdate"])
def test_scripts_for_nsupdate(site: Site, client: Client, tmp_path: Path, zone: str, program: str) -> None:
    """The script does what the update would do; run a second time, its prerequisites stop it."""
    skip_without(program)
    server = site.primary_of(zone)
    domains = [f"{program}{number}.{zone}" for number in range(3)]
    somebody_else(server, zone, domains[0], B)
    code, script, _ = client.run(zone, *domains, "--onion", A, "--onion", f"{B}:2525:10", "--dry-run", "-f", "nsupdate")
    assert (code, script.count("send")) == (1, 1)
    assert run_script(tmp_path, program, script).returncode == 0
    for domain in domains:
        assert held(server, f"{PREFIX}.{domain}") == [f"0 5 25 {A}.", f"10 5 2525 {B}."]
    again = run_script(tmp_path, program, script)
    assert "NXRRSET" in again.stderr + again.stdout or "YXRRSET" in again.stderr + again.stdout
    assert client.run(zone, *domains, "--onion", A, "--onion", f"{B}:2525:10")[0] == 0

    assert main(["publish", *domains, "--withdraw", "-f", "nsupdate", "--config", str(client.configuration)]) == 0
    plain = client._capsys.readouterr().out  # noqa: SLF001 -- what the call above printed
    assert plain.count("send\n") == len(domains)
    script = f"server {server[0]} {server[1]}\nzone {zone}\n{plain}"
    assert run_script(tmp_path, program, script).returncode == 0
    assert held(server, f"{PREFIX}.{domains[1]}") == []


def run_script(folder: Path, program: str, script: str) -> subprocess.CompletedProcess[str]:
    (folder / "script").write_text(script)
    command = [str(find_program(program)), "-y", f"{TSIG_ALGORITHM}:{TSIG_NAME}:{TSIG_SECRET}", str(folder / "script")]
    return subprocess.run(command, capture_output=True, text=True, check=False, env=environment())


def test_zone_text_is_what_bind_takes(client: Client, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["publish", "a.example", "--onion", A, "--config", str(client.configuration)]) == 0
    records = capsys.readouterr().out
    zone = tmp_path / "zone"
    zone.write_text(f"$TTL 300\n@ SOA ns.a.example. x.a.example. 1 2 3 4 5\n@ NS ns\nns A 127.0.0.1\n{records}")
    check = partial(subprocess.run, capture_output=True, text=True, check=False, env=environment())
    result = check([str(find_program("named-checkzone")), "-D", "a.example", str(zone)])
    assert result.returncode == 0, result.stdout + result.stderr
    assert f"{TTL} IN SRV\t0 5 25 {A}." in result.stdout
