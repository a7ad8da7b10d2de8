"""Whether the daemons answer."""

import asyncio
from collections.abc import Sequence
from pathlib import Path

import msgspec
import pytest

from onionmx.config import Configuration, MapSection, RelaySection, ServeSection
from onionmx.doctor.checks.daemons import CHECKS, Presence, Socket, judge_daemon, judge_result
from onionmx.doctor.finding import Finding, Severity
from onionmx.doctor.machine import Machine
from onionmx.doctor.runner import run_checks
from tests.net.stranger import as_stranger

HERE = Socket("127.0.0.1:1", Presence.ANSWERS, "answers")
NOBODY = Socket("127.0.0.1:2", Presence.NOBODY, "nothing listens")
CLOSED = Socket("unix:/run/x", Presence.UNKNOWN, "Permission denied")
WRONG = Socket("127.0.0.1:3", Presence.WRONG, "it hung up")


@pytest.mark.parametrize(
    ("sockets", "needed", "severity"),
    [
        ([HERE, HERE], False, Severity.OK),
        ([NOBODY, NOBODY], False, Severity.NOT_CHECKED),
        ([NOBODY, NOBODY], True, Severity.PROBLEM),
        ([HERE, NOBODY], False, Severity.PROBLEM),
        ([HERE, CLOSED], False, Severity.NOT_CHECKED),
        ([CLOSED, CLOSED], True, Severity.NOT_CHECKED),
        ([CLOSED, WRONG], False, Severity.PROBLEM),
        ([HERE, WRONG], False, Severity.PROBLEM),
        ([], False, Severity.NOT_CHECKED),
    ],
)
def test_judgement(sockets: Sequence[Socket], needed: bool, severity: Severity) -> None:  # noqa: FBT001 -- a parameter
    assert judge_daemon("relay", "onionmx-relay", sockets, needed=needed).severity is severity


@pytest.mark.parametrize("result", ["smtp:[127.0.0.1]:10025", "relay:[127.0.0.1]", ":[127.0.0.1]"])
def test_result_that_obeys_a_fallback_relay(result: str) -> None:
    [finding] = judge_result(result)
    assert finding.severity is Severity.WARNING
    assert "smtp_fallback_relay" in finding.seen


@pytest.mark.parametrize("result", [ServeSection().result, "smtptor:[{onion}]:{port}", "error:5.4.4 no"])
def test_result_that_cannot_leave(result: str) -> None:
    assert judge_result(result) == []


async def look(configuration: Configuration) -> dict[str, Finding]:
    machine = Machine(configuration)
    try:
        return {finding.check: finding for finding in await run_checks(CHECKS, machine, 120.0)}
    finally:
        await machine.close()


def with_peer(answer: bytes, section: str, key: str, *, unix: Path | None = None, **more: object) -> Finding:
    """The finding where one socket of a daemon is played by a peer that says this at once."""

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(answer)
        await reader.read()
        writer.close()

    async def run() -> Finding:
        start = asyncio.start_unix_server(serve, unix) if unix else asyncio.start_server(serve, "127.0.0.1", 0)
        async with await start as server:
            where = f"unix:{unix}" if unix else "{}:{}".format(*server.sockets[0].getsockname())
            keys = {"relay": ("smtp_listen", "lmtp_listen")}.get(
                section, ("socketmap_listen", "tcp_table_listen", "readsocket_listen", "http_listen")
            )
            kinds = {"relay": RelaySection, "serve": ServeSection}
            made = kinds[section](**(dict.fromkeys(keys, ()) | {key: (where,)} | more))
            found = await look(msgspec.structs.replace(Configuration(), **{section: made}))
            return found["relay" if section == "relay" else "lookup-daemon"]

    return asyncio.run(run())


@pytest.mark.parametrize(
    ("section", "key", "good"),
    [
        ("relay", "smtp_listen", b"220 relay.example ESMTP\r\n"),
        ("relay", "lmtp_listen", b"220-relay.example\r\n220 LMTP\r\n"),
        ("serve", "socketmap_listen", b"9:NOTFOUND ,"),
        ("serve", "tcp_table_listen", b"500 no%20onion%20MX\n"),
        ("serve", "readsocket_listen", b"none no onion MX\n"),
        ("serve", "http_listen", b"HTTP/1.1 200 OK\r\n\r\n"),
    ],
)
def test_each_language(tmp_path: Path, section: str, key: str, good: bytes) -> None:
    assert with_peer(good, section, key).severity is Severity.OK
    assert with_peer(good, section, key, unix=tmp_path / "socket").severity is Severity.OK
    finding = with_peer(b"421 \x1b[31mthis is somebody else entirely\r\n", section, key)
    assert finding.severity is Severity.PROBLEM
    assert "somebody else" in finding.seen
    assert finding.seen.isprintable()


def test_relay_that_the_second_map_leads_to(tmp_path: Path) -> None:
    relay = RelaySection(smtp_listen=(), lmtp_listen=(f"unix:{tmp_path}/lmtp",))
    for result, severity in (("onion:unix:/elsewhere", "not checked"), (f"onion:unix:{tmp_path}/lmtp", "problem")):
        second = MapSection(transport_path=str(tmp_path / "transport.cdb"), transport_result=result)
        found = asyncio.run(look(msgspec.structs.replace(Configuration(), relay=relay, map=second)))
        assert found["relay"].severity == severity


def test_socket_that_the_user_may_not_connect_to(tmp_path: Path) -> None:
    """Its daemon may be sound: what is not known is no fault of it."""

    async def run() -> Finding:
        path = tmp_path / "socketmap"
        async with await asyncio.start_unix_server(lambda _, writer: writer.close(), path):
            path.chmod(0)
            serve = ServeSection(
                socketmap_listen=(f"unix:{path}",), tcp_table_listen=(), readsocket_listen=(), http_listen=()
            )
            with as_stranger():
                return (await look(Configuration(serve=serve)))["lookup-daemon"]

    finding = asyncio.run(run())
    assert finding.severity is Severity.NOT_CHECKED
    assert "Permission denied" in finding.seen
