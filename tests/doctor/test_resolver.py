"""Whether the resolver validates: the judgement, and questions to a resolver that says what a test wants."""

import asyncio

import dns.flags
import msgspec
import pytest

from onionmx.config import Configuration, DnsSection, OwnSection
from onionmx.doctor.finding import Finding, Severity
from onionmx.doctor.machine import Machine
from onionmx.doctor.resolver import CHECK, Root, judge_resolver
from onionmx.doctor.runner import run_checks
from tests.dns.scripted import Reaction, reply, scripted_server
from tests.mapfile.maps import A

SRV = "_onion-mx._tcp.example.org"
RECORD = f"{SRV}. 60 IN SRV 0 5 25 {A}."
SOA = ". 60 IN SOA a.example. b.example. 1 1 1 1 1"
VALIDATED = dns.flags.RA | dns.flags.AD


@pytest.mark.parametrize(
    ("root", "severity"),
    [
        (Root.VALIDATED, Severity.OK),
        (Root.NOT_BELIEVED, Severity.WARNING),
        (Root.NOT_VALIDATED, Severity.WARNING),
        (Root.UNKNOWN, Severity.NOT_CHECKED),
    ],
)
def test_judgement(root: Root, severity: Severity) -> None:
    assert judge_resolver(root, "").severity is severity
    assert judge_resolver(root, "example.org").severity is Severity.OK


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
            settings = DnsSection(nameservers=(address,), trusted=trusted, timeout=2.0)
            own = OwnSection(domains=("example.org",))
            machine = Machine(msgspec.structs.replace(Configuration(), dns=settings, own=own))
            try:
                return await run_checks([CHECK], machine, 10.0)
            finally:
                await machine.close()

    (finding,) = asyncio.run(run())
    assert finding.severity is severity, finding
