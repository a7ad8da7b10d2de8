"""`onionmx explain`."""

import json
from typing import Any

import dns.flags
import pytest
from msgspec.structs import replace

from onionmx.authenticate.demand.requirement import Demand, EnforcedPolicy, Kind
from onionmx.mapfile.cdb import DEFERS
from onionmx.sync.state.record import DomainRecord, Proof
from onionmx.sync.state.sqlite import SqliteStore
from tests.cli import test_commands
from tests.cli.test_commands import FAILING, SRV, Site, srv
from tests.mapfile.maps import A, B, C, make_map

site = test_commands.site


def told(site: Site, capsys: pytest.CaptureFixture[str], domain: str) -> str:
    capsys.readouterr()
    assert site.run("explain", domain) == 0
    return capsys.readouterr().out


def told_in_json(site: Site, capsys: pytest.CaptureFixture[str], domain: str) -> Any:  # noqa: ANN401 -- JSON
    capsys.readouterr()
    assert site.run("explain", "--json", domain) == 0
    return json.loads(capsys.readouterr().out)


def save(site: Site, record: DomainRecord) -> None:
    store = SqliteStore(site.map.with_name("state.sqlite"))
    store.save([record])
    store.close()


def known(site: Site, domain: str) -> DomainRecord:
    store = SqliteStore(site.map.with_name("state.sqlite"))
    record = store.get([domain])[domain]
    store.close()
    return record


def test_a_route(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.domains.write_text("example.org\n")
    site.reactions.update(srv("example.org", A, flags=dns.flags.AD))
    assert site.run("sync") == 0
    output = told(site, capsys, "EXAMPLE.org.")
    for words in (
        f"map         {A}",
        "because     dnssec record",
        "source      srv, dnssec",
        "trust       tofu",
        "DNS         found at 20",
        "TTL 60 s",
        "next question at 20",
        f"route       {A} (dnssec), taken 20",
        "changes it  a signed change is taken at once, an unsigned one when seen for 30 days",
        "a pin overrides DNS",
        f"taken {A}: dnssec record",
    ):
        assert words in output, words
    found = told_in_json(site, capsys, "example.org")
    assert (found["source"], found["trust"], found["published"]) == ("srv", "dnssec", [[A, 25]])
    assert found["record"]["ttl"] == 60
    assert [event["event"] for event in found["history"]] == ["taken"]


def test_a_change_that_waits(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.domains.write_text("example.org\n")
    for onion in (A, B):
        site.reactions.update(srv("example.org", onion))
        assert site.run("sync", "--all") == 0
    output = told(site, capsys, "example.org")
    for words in (
        f"map         {A}",
        "the route stays: a change waits: unsigned answer of another record",
        f"waiting     {B}, since 20",
        "DNS saying so for 3 more days, a signature, or `onionmx sync --accept-change example.org` takes the change",
        "`onionmx sync --refuse-change example.org` keeps what is there",
        f"pending {B}",
    ):
        assert words in output, words
    assert site.run("sync", "--refuse-change", "example.org") == 0
    assert "the change was refused" in told(site, capsys, "example.org")


def test_failures(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.domains.write_text("example.org\nother.example\n")
    site.reactions.update(srv("example.org", A))
    assert site.run("sync") == 0
    site.reactions[f"{SRV}example.org"] = FAILING
    assert site.run("sync", "--all") == 0
    output = told(site, capsys, "example.org")
    for words in (
        "the route stays: DNS does not answer",
        "DNS         could not tell: _onion-mx._tcp.example.org: no resolver could answer",
        "1 failed lookups in a row, since 20",
        "DNS that does not answer for 30 days and 10 times removes the route",
    ):
        assert words in output, words


def test_no_route(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.domains.write_text("example.org\n")
    assert site.run("sync") == 0
    output = told(site, capsys, "example.org")
    for words in ("map         no entry", "because     no such name in DNS", "an SRV record that leads to an onion"):
        assert words in output, words
    assert "source" not in output


def test_value_that_defers(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    make_map(site.map, {"example.org": DEFERS})
    assert "  map         mail waits (could-not-tell.onion)\n" in told(site, capsys, "example.org")
    assert told_in_json(site, capsys, "example.org")["published"] == [["could-not-tell.onion", 25]]


def test_pins_local_domains_and_strangers(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.pins.write_text(f"pinned.example {C}:2525\nnever.example none\n")
    site.domains.write_text("a.example\n")
    site.configuration.write_text(f'[local]\ndomains = ["own.example"]\n{site.configuration.read_text()}')
    output = told(site, capsys, "pinned.example")
    assert "map         no entry" in output
    assert f"{C}:2525 after the next `onionmx sync`" in output
    assert site.run("sync") == 0
    output = told(site, capsys, "pinned.example")
    for words in (f"map         {C}:2525", "the operator pinned it", "source      pin, pinned", "the file of pins"):
        assert words in output, words
    assert "pinned it to none" in told(site, capsys, "never.example")
    assert "local domain" in told(site, capsys, "own.example")
    stranger = told(site, capsys, "stranger.example")
    assert "it is in no list and not pinned, and never was" in stranger
    assert "put it into a list of domains, or pin it" in stranger
    found = told_in_json(site, capsys, "stranger.example")
    assert (found["record"], found["published"], found["endpoints"]) == (None, None, [])
    site.domains.write_text("")
    assert site.run("sync") == 0
    assert "listed      not any more" in told(site, capsys, "a.example")


def test_demand_and_proof(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.domains.write_text("example.org\n")
    site.reactions.update(srv("example.org", A))
    assert site.run("sync") == 0
    record = known(site, "example.org")
    now = record.asked_at or 0.0
    assert "demands     no certificate of its MX" in told(site, capsys, "example.org")
    requirement = EnforcedPolicy(
        "example.org", Demand(Kind.MTA_STS, ("mx.example.org",)), now + 9e4, now + 9e6, trouble="blocked"
    )
    record = replace(record, requirement=requirement.to_text(), requirement_expires=now + 9e4)
    save(site, record)
    output = told(site, capsys, "example.org")
    for words in (
        f"map         {A}",
        "no entry after the next `onionmx sync`",
        "demands     mta-sts: mx.example.org",
        "; not fetched again: blocked)",
    ):
        assert words in output, words
    save(site, replace(record, proof=Proof(((A, 25),), "mta-sts", ("mx.example.org",), now, now + 9e5)))
    output = told(site, capsys, "example.org")
    assert f"proof       mta-sts: mx.example.org by {A}, shown 20" in output
    assert "after the next" not in output


def test_bad_input(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run("explain", "user@example.org") == 64
    assert site.run("explain") == 64
    site.map.write_bytes(b"x")
    assert site.run("explain", "example.org") == 75
    site.pins.write_text("x\n")
    assert site.run("explain", "example.org") == 78
    assert capsys.readouterr().err
    assert not site.map.with_name("state.sqlite").exists()
