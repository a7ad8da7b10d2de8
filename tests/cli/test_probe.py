"""`onionmx probe` as an operator and as a monitor call it."""

import asyncio
import json
import os
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import dns.flags
import pytest

from onionmx.cli import main
from onionmx.mapfile.cdb import DEFERS
from onionmx.tor.socks import Cause
from tests.dns.scripted import Reaction, reply, scripted_server
from tests.mapfile.maps import A, B, make_map
from tests.net.certificates import issue
from tests.onions import V2_ONION
from tests.probe.mx import OFFERING_TLS, Mx
from tests.relay.peer import reset, running

SRV = "_onion-mx._tcp."
FEW_SECONDS = 120


class Site:
    """A configuration, a name server and an onion MX."""

    def __init__(self, folder: Path) -> None:
        self.mx = Mx()
        self.reactions: dict[str, Reaction] = {}
        self.questions: list[tuple[str, str]] = []
        self.configuration = folder / "onionmx.toml"
        self.pins = folder / "pins"
        self.pins.write_text("")
        self.map = make_map(folder / "map.cdb", {})

    async def serve(self, started: threading.Event, done: asyncio.Event) -> None:
        async with scripted_server(self.reactions) as (server, address), running(self.mx):
            self.questions = server.questions
            self.configuration.write_text(
                f"""
                [local]
                domains = ["example.org"]
                [map]
                path = "{self.map}"
                [dns]
                nameservers = ["{address}"]
                [sync]
                pins = "{self.pins}"
                [tor]
                socks = "127.0.0.1:{self.mx.port}"
                connect_timeout = {FEW_SECONDS}
                [relay]
                hostname = "client.example"
                """
            )
            started.set()
            await done.wait()
            await self.mx.finish()

    def publish(self, domain: str, *onions: str, flags: int = 0) -> None:
        records = [f"{SRV}{domain}. 60 IN SRV {priority} 5 25 {onion}." for priority, onion in enumerate(onions)]
        self.reactions[SRV + domain] = reply(*records, flags=dns.flags.RA | flags)

    def run(self, *words: str) -> int:
        return main(["probe", "--config", str(self.configuration), *words])

    def start(self, *words: str) -> "subprocess.Popen[str]":
        command = [sys.executable, "-m", "onionmx", "probe", "--config", str(self.configuration), *words]
        return subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)


@pytest.fixture
def site(tmp_path: Path) -> Iterator[Site]:
    site = Site(tmp_path)
    started = threading.Event()
    loop = asyncio.new_event_loop()
    done = asyncio.Event()
    server = threading.Thread(target=lambda: loop.run_until_complete(site.serve(started, done)))
    server.start()
    started.wait()
    yield site
    loop.call_soon_threadsafe(done.set)
    server.join()
    loop.close()


def test_domain_with_two_targets(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.publish("example.org", A, B, flags=dns.flags.AD)
    assert site.run("example.org", "--address", "user@example.org") == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0] == "example.org"
    assert re.fullmatch(r"route +\d+\.\d{3} +2 targets from srv, dnssec, to be kept for 60 s *", lines[1])
    assert f"{A}:25 priority 0 weight 5" in lines
    assert f"{B}:25 priority 1 weight 5" in lines
    rows = [re.sub(r" +\d+\.\d{3} +|  +", "|", line.rstrip()) for line in lines]
    assert rows.count("greeting|220 mx.example") == 2
    assert rows.count("STARTTLS|not offered; the onion service encrypts") == 2
    assert rows.count("RCPT|250 2.0.0 ok") == 2
    assert rows.count("QUIT|221 2.0.0 bye") == 2
    assert site.questions == [(f"{SRV}example.org", "SRV")]


def test_domain_that_defers_is_not_asked_for_in_dns(
    site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    site.publish("waits.example", A)
    path = make_map(tmp_path / "waits.cdb", {"waits.example": DEFERS})
    assert site.run("waits.example", "--map", str(path)) == 75
    assert "could not tell: its record names an onion MX" in capsys.readouterr().out
    assert site.questions == []


def test_pins_come_before_dns_unless_told_otherwise(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.publish("example.net", B)
    site.pins.write_text(f"example.net {A}:2525\n")
    assert site.run("example.net") == 0
    assert site.mx.targets == [(A, 2525)]
    assert "1 target from pin, pinned" in capsys.readouterr().out
    assert site.run("example.net", "--live") == 0
    assert site.mx.targets[1:] == [(B, 25)]


def test_without_an_entry_there_is_no_route_as_for_the_relay(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.publish("example.net", B)
    assert site.run("example.net") == 1
    assert "no entry in the map" in capsys.readouterr().out
    assert site.questions == []


def test_onion_is_never_asked_for_in_dns(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run(f"{A}:2525", "--json") == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["subject"], report["result"], report["exit_code"], report["causes"]) == (f"{A}:2525", "ok", 0, [])
    assert report["route"]["source"] == "onion"
    (target,) = report["targets"]
    assert (target["onion"], target["port"]) == (A, 2525)
    assert [step["name"] for step in target["steps"]] == ["connect", "greeting", "EHLO", "STARTTLS", "QUIT"]
    assert set(target["steps"][0]) == {"name", "seconds", "outcome", "words", "advice", "detail"}
    assert site.questions == []


def test_advice_in_the_table(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.mx.socks = 0xF0
    assert site.run(A, "--address", "user@example.org") == 75
    output = re.sub(r"\s+", " ", capsys.readouterr().out)
    cause = Cause.DESCRIPTOR_NOT_FOUND
    assert f"could not tell: {cause.words} -> {cause.advice} greeting not reached EHLO not reached" in output


def test_tor_that_does_not_run(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    text = site.configuration.read_text()
    site.configuration.write_text(text.replace(f"127.0.0.1:{site.mx.port}", "127.0.0.1:1"))
    assert site.run(A) == 75
    assert Cause.PROXY_UNREACHABLE.words in capsys.readouterr().out


def test_certificate_in_json(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    site.mx.replies |= {"EHLO": OFFERING_TLS, "STARTTLS": "220 go\r\n"}
    site.mx.context = issue("mx.example").context(tmp_path)
    assert site.run(A, "--tls", "--json") == 0
    (target,) = json.loads(capsys.readouterr().out)["targets"]
    (detail,) = (step["detail"] for step in target["steps"] if step["name"] == "certificate")
    assert (detail["names"], detail["self_signed"], detail["expired"]) == (["mx.example"], True, False)
    assert re.match(r"\d{4}-\d\d-\d\dT", detail["not_after"])


@pytest.mark.parametrize("words", [[], ["--json"]])
def test_no_route(site: Site, words: list[str], capsys: pytest.CaptureFixture[str]) -> None:
    words = ["--live", *words]
    assert site.run("example.com", *words) == 1
    assert "no such name in DNS" in capsys.readouterr().out
    site.reactions[f"{SRV}example.com"] = reply(rcode="SERVFAIL")
    assert site.run("example.com", *words) == 75
    assert "SERVFAIL" in capsys.readouterr().out
    assert site.mx.targets == []


def test_exit_codes(site: Site) -> None:
    site.mx.replies["RCPT"] = "550 5.1.1 nobody\r\n"
    assert site.run(A, "--address", "user@example.org") == 1
    assert site.run(A) == 0
    assert site.run(A, "--tls") == 1
    site.mx.faults["EHLO"] = reset
    assert site.run(A) == 75


@pytest.mark.parametrize(
    ("words", "error"),
    [
        ([V2_ONION], "version 2"),
        (["user@example.org"], "e-mail address"),
        ([A, "--address", "nobody"], "not a mailbox"),
        ([A, "--sender", "a b@example.org"], "not a mailbox"),
        ([A, "--timeout", "0"], "--timeout"),
        (["--watch", A], "the domain comes before --watch"),
        ([A, "--watch=0"], "not a number of seconds from 1 to 86400"),
        ([A, "--watch=nan"], "not a number of seconds"),
        ([], "DOMAIN"),
    ],
)
def test_usage(site: Site, words: list[str], error: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert site.run(*words) == 64
    assert error in re.sub(r"\s+", " ", capsys.readouterr().err)
    assert site.mx.targets == []


def ended(watching: "subprocess.Popen[str]", number: signal.Signals) -> tuple[int, str]:
    os.kill(watching.pid, number)
    _, errors = watching.communicate(timeout=FEW_SECONDS)
    return watching.returncode, errors


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_watch_until_a_signal(site: Site, number: signal.Signals) -> None:
    with site.start(A, "--watch=1", "--address", "user@example.org") as watching:
        assert watching.stdout
        pattern = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\+00:00 (ok|failed) \d+\.\d{3} s (.*)\n"
        first = re.fullmatch(pattern, watching.stdout.readline())
        assert first
        assert first.groups() == ("ok", A)
        site.mx.replies["RCPT"] = "550 5.1.1 no \x1b[2J\r\n"
        lines = iter(watching.stdout.readline, "")
        failed = next(found for line in lines if (found := re.fullmatch(pattern, line)) and found[1] == "failed")
        assert failed[2] == f"{A}: {A}: RCPT: 550 5.1.1 no ?[2J"
        assert ended(watching, number) == (1, "")


def test_watch_in_json(site: Site) -> None:
    with site.start(A, "--watch=1", "--json") as watching:
        assert watching.stdout
        reports = [json.loads(watching.stdout.readline()) for _ in range(2)]
        assert [report["result"] for report in reports] == ["ok", "ok"]
        assert reports[0]["time"] <= reports[1]["time"]
        assert reports[0]["targets"][0]["steps"]
        assert ended(watching, signal.SIGTERM) == (0, "")


def test_watch_that_ends_in_its_first_round(site: Site) -> None:
    connected = threading.Event()

    def wait_for_the_signal(_writer: asyncio.StreamWriter) -> None:
        connected.set()

    site.mx.faults["greeting"] = wait_for_the_signal
    with site.start(A, "--watch") as watching:
        assert connected.wait(FEW_SECONDS)
        assert ended(watching, signal.SIGTERM) == (75, "")


def test_watch_that_ends_while_tor_is_silent(site: Site) -> None:
    connected = threading.Event()
    site.mx.on_connect = connected.set
    with site.start(A, "--watch") as watching:
        assert connected.wait(FEW_SECONDS)
        start = time.monotonic()
        assert ended(watching, signal.SIGTERM) == (75, "")
        assert time.monotonic() - start < FEW_SECONDS / 2
