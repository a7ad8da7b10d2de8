"""Whether the resolver validates: the judgement, and questions to a resolver that says what a test wants."""

import asyncio
from dataclasses import replace
from pathlib import Path

import dns.flags
import msgspec
import pytest

from onionmx.config import Configuration, DnsSection, LocalSection, MapSection
from onionmx.doctor.checks.resolver import CHECK, Bogus, ResolverTrust, Root, View, judge_resolver
from onionmx.doctor.finding import Finding, Severity
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import run_checks
from tests.dns.scripted import Reaction, reply, scripted_server
from tests.mapfile.maps import A

SRV = "_onion-mx._tcp.example.org"
RECORD = f"{SRV}. 60 IN SRV 0 5 25 {A}."
SOA = ". 60 IN SOA a.example. b.example. 1 1 1 1 1"
VALIDATED = dns.flags.RA | dns.flags.AD


BELIEVED = ResolverTrust(are_believed=True)
NOT_BELIEVED = ResolverTrust(are_believed=False)
TRUST_AD_MISSING = ResolverTrust(are_believed=False, is_trust_ad_missing=True, losing=("a.example", "b.example"))
VALIDATES = View("127.0.0.1 port 53", Root.VALIDATED, Bogus.REFUSED, "unbound 1.17.1")
FORWARDS = replace(VALIDATES, program="dnsmasq-2.90")
TAKES = replace(VALIDATES, bogus=Bogus.TAKEN, program="")
JUDGEMENTS = {
    "validates": ([VALIDATES], BELIEVED, Severity.OK, "what is signed wrongly is refused"),
    "says AD": ([replace(VALIDATES, bogus=Bogus.UNKNOWN)], BELIEVED, Severity.OK, "the root zone is validated"),
    "one takes what is forged": ([VALIDATES, TAKES], BELIEVED, Severity.PROBLEM, "does not validate: it answers for"),
    "forwarder": ([FORWARDS], BELIEVED, Severity.WARNING, "calls itself 'dnsmasq-2.90': a forwarder"),
    "not believed": ([VALIDATES], NOT_BELIEVED, Severity.WARNING, "neither on this machine nor asked over TLS"),
    "trust-ad is missing": ([VALIDATES], TRUST_AD_MISSING, Severity.WARNING, "signed count as unsigned"),
    "not validated": ([replace(TAKES, root=Root.NOT_VALIDATED)], BELIEVED, Severity.WARNING, "does not validate"),
    "unknown": ([View("x", Root.UNKNOWN)], BELIEVED, Severity.NOT_CHECKED, "tells nothing"),
    "through tor": ([], NOT_BELIEVED, Severity.NOT_CHECKED, "tells nothing"),
}


@pytest.mark.parametrize(("views", "standing", "severity", "words"), JUDGEMENTS.values(), ids=list(JUDGEMENTS))
def test_judgement(views: list[View], standing: ResolverTrust, severity: Severity, words: str) -> None:
    found = judge_resolver(views, standing, "")
    assert found.severity is severity
    assert words in found.seen
    is_in_disguise = standing.are_believed and (TAKES in views or FORWARDS in views)
    assert (judge_resolver(views, standing, "example.org").severity is Severity.OK) is not is_in_disguise


def test_few_of_many_routes_are_named() -> None:
    standing = ResolverTrust(are_believed=False, losing=tuple(f"d{number}.example" for number in range(9)))
    assert judge_resolver([VALIDATES], standing, "").seen.endswith("d3.example, d4.example and 4 more")


@pytest.mark.parametrize(
    ("root", "record", "trusted", "severity"),
    [
        (reply(SOA, flags=VALIDATED), reply(RECORD), ("loopback",), Severity.OK),
        (reply(SOA, flags=VALIDATED), reply(RECORD), (), Severity.WARNING),
        (reply(SOA), reply(RECORD), ("loopback",), Severity.WARNING),
        (reply(SOA), reply(RECORD, flags=VALIDATED), ("loopback",), Severity.OK),
        (reply(rcode="REFUSED"), reply(RECORD), ("loopback",), Severity.NOT_CHECKED),
        (reply(rcode="REFUSED"), reply(RECORD, flags=VALIDATED), ("loopback",), Severity.OK),
        (reply(rcode="SERVFAIL"), reply(rcode="SERVFAIL"), ("loopback",), Severity.NOT_CHECKED),
    ],
)
def test_resolver(root: Reaction, record: Reaction, trusted: tuple[str, ...], severity: Severity) -> None:
    async def run() -> list[Finding]:
        # The name of the root is written "." or empty.
        async with scripted_server({"": root, ".": root, "@": root, SRV: record}) as (_, address):
            settings = DnsSection(nameservers=(address,), trusted=trusted, timeout=60.0)
            local = LocalSection(domains=("example.org",))
            machine = Machine(msgspec.structs.replace(Configuration(), dns=settings, local=local))
            try:
                return await run_checks([CHECK], machine, 60.0)
            finally:
                await machine.close()

    (finding,) = asyncio.run(run())
    assert finding.severity is severity, finding


def test_routes_that_cannot_be_looked_at(tmp_path: Path) -> None:
    """A resolver that is not believed takes the trust from routes; that none has it is not known then."""
    (tmp_path / "state.sqlite").write_bytes(b"no database" * 1000)

    async def run() -> list[Finding]:
        async with scripted_server({}) as (_, address):
            settings = DnsSection(nameservers=(address,), trusted=(), timeout=2.0)
            machine = Machine(Configuration(dns=settings, map=MapSection(path=str(tmp_path / "map.cdb"))))
            try:
                return await run_checks([CHECK], machine, 10.0)
            finally:
                await machine.close()

    last = asyncio.run(run())[-1]
    assert last.severity is Severity.NOT_CHECKED
    assert "routes that were signed" in last.seen
    assert "state.sqlite" in last.seen
