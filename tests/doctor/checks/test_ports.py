"""tor's ports: the judgement of each, and what answers there."""

import asyncio
from collections.abc import Awaitable, Callable, Mapping, Sequence

import msgspec
import pytest

from onionmx.config import Configuration, MapSection, TorSection
from onionmx.doctor.checks import ports
from onionmx.doctor.checks.ports import CHECKS, judge_listeners, judge_socks
from onionmx.doctor.finding import Finding, Severity
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import run_checks
from onionmx.tor.nobody import UNUSED_ONION
from onionmx.tor.socks import Cause
from tests.dns.scripted import reply, scripted_server

WHERE = "127.0.0.1:9050"
DEFAULTS = TorSection()
SOUND = (Cause.BAD_ADDRESS, Cause.NOT_ALLOWED)


def severities(findings: Sequence[Finding]) -> dict[str, Severity]:
    return {finding.check: finding.severity for finding in findings}


@pytest.mark.parametrize(
    ("mistyped", "clear", "warned"),
    [
        (*SOUND, set()),
        (Cause.GENERAL, Cause.NOT_ALLOWED, {"extended-errors"}),
        (Cause.BAD_ADDRESS, Cause.GENERAL, {"onion-traffic-only"}),
        (Cause.BAD_ADDRESS, None, {"onion-traffic-only"}),
        (Cause.HOST_UNREACHABLE, Cause.REFUSED, {"extended-errors", "onion-traffic-only"}),
    ],
)
def test_flags_by_what_is_refused(mistyped: Cause, clear: Cause | None, warned: set[str]) -> None:
    findings = judge_socks(WHERE, mistyped, clear)
    assert {finding.check for finding in findings if finding.severity is Severity.WARNING} == warned
    for finding in findings:
        assert bool(finding.fix) is (finding.check in warned)
        if finding.fix:
            assert f"torrc: SocksPort {WHERE} ExtendedErrors OnionTrafficOnly" in finding.fix
            assert "restart" in finding.fix


def test_port_that_gave_no_answer_is_not_called_one_without_the_flag() -> None:
    """As when tor is started again between the two questions."""
    assert severities(judge_socks(WHERE, Cause.BAD_ADDRESS, Cause.PROXY_UNREACHABLE)) == {
        "socks": Severity.OK,
        "extended-errors": Severity.OK,
        "onion-traffic-only": Severity.NOT_CHECKED,
    }


@pytest.mark.parametrize("cause", [Cause.PROXY_UNREACHABLE, Cause.PROXY_SILENT, Cause.TIMEOUT])
def test_silent_socks_port(cause: Cause) -> None:
    assert severities(judge_socks(WHERE, cause, cause)) == {
        "socks": Severity.PROBLEM,
        "extended-errors": Severity.NOT_CHECKED,
        "onion-traffic-only": Severity.NOT_CHECKED,
    }


def test_socks_port_of_a_host_that_cannot_be_found() -> None:
    configuration = Configuration(tor=TorSection(socks="nosuch.invalid:9050"))
    findings = asyncio.run(ports.look_at_socks(Machine(configuration)))
    assert [finding.severity for finding in findings] == [Severity.PROBLEM, *[Severity.NOT_CHECKED] * 2]
    assert "host nosuch.invalid" in findings[0].seen
    assert "getent ahosts" in findings[0].fix


def judged(listeners: Mapping[str, Sequence[str]], *policy: str, settings: TorSection = DEFAULTS) -> list[Severity]:
    return [finding.severity for finding in judge_listeners(listeners, policy, settings)]


def test_listeners_on_loopback() -> None:
    listeners = {
        "SocksPort": ["127.0.0.1:9050", "[::1]:9050", "unix:/run/tor/socks"],
        "ControlPort": ["unix:/run/tor/control"],
        "DNSPort": ["127.0.0.53:5300"],
    }
    assert judged(listeners) == [Severity.OK]


@pytest.mark.parametrize("option", ["SocksPort", "DNSPort", "ControlPort", "TransPort", "HTTPTunnelPort"])
@pytest.mark.parametrize("address", ["0.0.0.0:9000", "[::]:9000", "192.0.2.1:9000", "10.0.0.2:9000"])
def test_listeners_that_others_reach(option: str, address: str) -> None:
    (finding,) = judge_listeners({"SocksPort": ["127.0.0.1:9050"], option: [address]}, (), TorSection())
    assert finding.severity is Severity.PROBLEM
    assert f"torrc: {option} 127.0.0.1:9000" in finding.fix
    assert address in finding.seen


def test_tor_on_a_machine_of_its_own() -> None:
    listeners = {"SocksPort": ["10.0.0.2:9050"], "DNSPort": ["10.0.0.2:5300"]}
    own = TorSection(socks="10.0.0.2:9050", dnsport="10.0.0.2:5300", control="10.0.0.2:9051")
    assert judged(listeners, settings=own) == [Severity.WARNING, Severity.WARNING]
    assert judged(listeners, "accept 10.0.0.1", "reject *", settings=own) == [Severity.OK]
    assert judged({"ControlPort": ["10.0.0.2:9051"]}, "reject *", settings=own) == [Severity.PROBLEM]


Serve = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


async def look(name: str, settings: TorSection, *, transport_path: str = "") -> list[Finding]:
    configuration = msgspec.structs.replace(
        Configuration(), tor=settings, map=MapSection(transport_path=transport_path)
    )
    machine = Machine(configuration)
    checks = [check for check in CHECKS if name in {topic.name for topic in check.topics}]
    try:
        return await run_checks(checks, machine, 120.0)
    finally:
        await machine.close()


def look_at_socks(serve: Serve) -> dict[str, Severity]:
    async def run() -> list[Finding]:
        async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
            return await look("socks", TorSection(socks="{}:{}".format(*server.sockets[0].getsockname())))

    return severities(asyncio.run(run()))


def test_proxy_that_is_not_tor() -> None:
    """As `ssh -D`: it speaks SOCKS5, and could not resolve the name."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        if await reader.readexactly(1) == b"\x05":
            await reader.readexactly((await reader.readexactly(1))[0])
            writer.write(b"\x05\x00")
            await reader.readexactly(4)
            writer.write(b"\x05\x04\x00\x01\x00\x00\x00\x00\x00\x00")
        writer.close()

    assert look_at_socks(serve)["socks"] is Severity.PROBLEM


def test_server_that_hangs_up() -> None:
    async def serve(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.close()

    found = look_at_socks(serve)
    assert found["socks"] is Severity.PROBLEM
    assert found["extended-errors"] is Severity.NOT_CHECKED


@pytest.mark.parametrize(
    ("answer", "severity"),
    [
        (reply(f"{UNUSED_ONION}. 60 IN A 127.200.0.1"), Severity.OK),
        (reply(f"{UNUSED_ONION}. 60 IN A 198.51.100.1"), Severity.PROBLEM),
        (reply(rcode="NXDOMAIN"), Severity.PROBLEM),
        (reply(), Severity.PROBLEM),
    ],
)
def test_dnsport_with_and_without_automap(answer: Callable[[object], bytes], severity: Severity) -> None:
    async def run() -> list[Finding]:
        async with scripted_server({UNUSED_ONION: answer}) as (_, address):
            return await look("dnsport", TorSection(dnsport=address))

    assert severities(asyncio.run(run())) == {"dnsport": Severity.OK, "automap": severity}


@pytest.mark.parametrize(("transport", "severity"), [("", Severity.PROBLEM), ("/etc/transport.cdb", Severity.WARNING)])
def test_dnsport_is_for_exim(transport: str, severity: Severity) -> None:
    async def run() -> list[Finding]:
        async with scripted_server({}) as (_, address):
            pass
        return await look("dnsport", TorSection(dnsport=address), transport_path=transport)

    assert severities(asyncio.run(run())) == {"dnsport": severity, "automap": Severity.NOT_CHECKED}
