"""`onionmx publish` against real name servers: Knot DNS and BIND as primaries, a secondary that lags, nsupdate."""

import asyncio
import subprocess
from functools import partial
from pathlib import Path

import pytest

from onionmx.cli import main
from onionmx.publish.change import ChangeResult, Current, RecordChange
from onionmx.publish.exchange import Exchange
from onionmx.publish.primary import Primary, Refusal
from onionmx.publish.records import OnionMxRecords
from onionmx.publish.run import verify
from onionmx.publish.verify import ServerState, Verification
from onionmx.target import Target
from tests.mapfile.maps import A, B

from . import publish_site
from .bind import Secondary, environment
from .conftest import skip_without
from .name_servers import TSIG_ALGORITHM, TSIG_NAME, TSIG_SECRET
from .programs import find_program
from .publish_site import KEY, PREFIX, TTL, Client, Site, held, serial, somebody_else

site = publish_site.site
client = publish_site.client

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
        "be beside it: remove it first\n"
    )
    assert "1 added, 1 refused; 1 update sent" in out
    assert held(site.primary_of(zone), f"{PREFIX}.beside.{zone}") == [f"0 5 25 {A}."]
    assert held(site.primary_of(zone), f"{PREFIX}.alias.{zone}", "CNAME") == [f"www.{zone}."]
    client.run(zone, f"beside.{zone}", "--withdraw")


@pytest.mark.parametrize("zone", ["unsigned.test", "bind-unsigned.test"])
@pytest.mark.parametrize("was_there", [True, False])
def test_a_change_by_somebody_else_between_question_and_update(site: Site, zone: str, *, was_there: bool) -> None:
    server = site.primary_of(zone)
    domains = [f"{number}.{'old' if was_there else 'new'}.{zone}" for number in range(8)]
    if was_there:
        for domain in domains:
            somebody_else(server, zone, domain, A)

    async def race() -> tuple[dict[str, ChangeResult | Refusal], int]:
        async with Exchange(server, KEY) as exchange:
            primary = Primary(exchange, KEY)
            readings = await primary.read(domains)
            somebody_else(server, zone, domains[3], B)
            changes = []
            for domain, reading in readings.items():
                assert isinstance(reading, Current)
                changes.append(RecordChange(OnionMxRecords(domain, (Target(A, 2525),), TTL), reading))
            return await primary.update(changes), primary.updates

    outcomes, updates = asyncio.run(race())
    lost = outcomes.pop(domains[3])
    assert isinstance(lost, Refusal)
    assert lost.outcome is ChangeResult.CONFLICT
    assert "changed on the name server meanwhile" in lost.words
    assert set(outcomes.values()) == {ChangeResult.CHANGED if was_there else ChangeResult.ADDED}
    assert updates == 2
    assert held(server, f"{PREFIX}.{domains[3]}") == [f"1 1 25 {B}."]
    assert held(server, f"{PREFIX}.{domains[4]}") == [f"0 0 2525 {A}."]


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
            ("127.0.0.1", "127.0.0.2"), ServerState.SERVES
        )
        assert client.run(zone, zone, "--onion", A, "--wait=60")[0] == 0
    code, out, _ = client.run(zone, zone, "--onion", A, "--wait=1.5")
    assert code == 75
    assert "could not tell: " in out


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
