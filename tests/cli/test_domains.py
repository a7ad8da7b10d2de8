"""Domains from logs, for `onionmx domains` and for `onionmx sync`; pins replace DNS, so that nothing is asked."""

import gzip
import json
import subprocess
import sys
from pathlib import Path

import pytest

from onionmx.cli import main
from onionmx.mapfile.cdb import MapReader
from tests.mapfile.maps import A, B, make_map

OWN = "own.example"


def exim(domain: str, number: int = 0) -> str:
    return (
        f"2024-05-01 12:34:56 1s2Abc-{number:06}-2z => user@{domain} R=dnslookup T=remote_smtp "
        f'H=mx.{domain} [192.0.2.1] C="250 OK"\n'
    )


def postfix(domain: str) -> str:
    return (
        f"2024-05-01T12:34:56.789+02:00 mail postfix/smtp[1]: 4ABCDEF123: to=<user@{domain}>, "
        f"relay=mx.{domain}[192.0.2.1]:25, delay=1, dsn=2.0.0, status=sent (250 OK)\n"
    )


class Site:
    def __init__(self, folder: Path) -> None:
        self.map = folder / "map.cdb"
        self.log = folder / "mainlog"
        self.pins = folder / "pins"
        self.metrics = folder / "onionmx.prom"
        self.configuration = folder / "onionmx.toml"
        self.configuration.write_text(
            f"""
            local.domains = ["{OWN}"]
            map.path = "{self.map}"
            [sync]
            logs = ["{self.log}*"]
            pins = "{self.pins}"
            metrics_file = "{self.metrics}"
            """
        )
        self.pins.touch()
        self.log.write_text(exim("a.example") * 3 + exim(OWN))
        (folder / "mainlog.1.gz").write_bytes(gzip.compress((postfix("b.example") + postfix(OWN)).encode()))

    def run(self, *words: str | Path) -> int:
        command, *rest = map(str, words)
        return main([command, "--config", str(self.configuration), *rest])


@pytest.fixture
def site(tmp_path: Path) -> Site:
    return Site(tmp_path)


def test_a_list_for_sync(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    make_map(site.map, {"a.example": ((A, 25),)})
    assert site.run("domains") == 0
    output = capsys.readouterr()
    assert output.out == "a.example\nb.example\n"
    assert output.err == "onionmx: 75.0 % of your outgoing mail could go over onion services (3 of 4 recipients)\n"
    assert site.run("domains", "--top", "1", "--counts", site.log) == 0
    assert capsys.readouterr().out == "a.example  # 3\n"


def test_other_sources(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    other = make_map(tmp_path / "other.cdb", {"m.example": ((A, 25),), OWN: ((A, 25),)})
    (tmp_path / "list").write_text("L.example\nm.example\n")
    (tmp_path / "map.yml").write_text(f"{B}:\n- y.example\n")
    words = ("--from-map", other, "--list", tmp_path / "list", "--from-map-yml", tmp_path / "map.yml")
    assert site.run("domains", *words) == 0
    output = capsys.readouterr()
    assert output.out == "l.example\nm.example\ny.example\n"
    assert not output.err
    assert site.run("domains", site.log, "--json", *words) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["domains"][0] == {"domain": "a.example", "recipients": 3}
    assert said["outgoing"] == {"recipients": 3, "with_route": 0, "share": 0.0}


CONTENT = exim("a.example").encode()


@pytest.mark.parametrize("content", [CONTENT, gzip.compress(CONTENT)], ids=["plain", "gzip"])
def test_standard_input(site: Site, content: bytes) -> None:
    command = [sys.executable, "-m", "onionmx", "domains", "--config", str(site.configuration), "-"]
    assert subprocess.run(command, input=content, capture_output=True, check=True).stdout == b"a.example\n"


def test_mistakes(site: Site, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "map.yml").write_text("- no\n")
    assert site.run("domains", "--from-map-yml", tmp_path / "map.yml") == 64
    assert site.run("domains", "--list", tmp_path / "none") == 64
    assert site.run("domains", "--from-map", tmp_path / "none") == 75
    assert site.run("domains", tmp_path) == 78
    site.configuration.write_text("")
    assert site.run("domains") == 78
    assert "nothing to do: name a mail log" in capsys.readouterr().err


def test_sync_takes_the_domains_of_the_logs(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.pins.write_text(f"a.example {A}\nb.example none\n")
    assert site.run("sync") == 0
    output = capsys.readouterr()
    assert output.out.splitlines()[-1] == (
        "75.0 % of your outgoing mail could go over onion services (3 of 4 recipients)"
    )
    with MapReader(site.map) as reader:
        assert dict(reader.entries()) == {"a.example": ((A, 25),)}
    assert "onionmx_sync_listed_domains 2.0" in site.metrics.read_text()
    assert "onionmx_sync_outgoing_recipients_with_route 3.0" in site.metrics.read_text()
    assert site.run("sync", "--quiet") == 0
    assert not capsys.readouterr().out


def test_the_domains_outlive_the_logs(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.pins.write_text(f"a.example {A}\nb.example none\n")
    assert site.run("sync") == 0
    site.log.write_text(exim("a.example", 1))
    site.log.with_name("mainlog.1.gz").unlink()
    capsys.readouterr()
    assert site.run("sync", "--json") == 0
    said = json.loads(capsys.readouterr().out)
    assert said["listed"] == 2
    assert said["outgoing"] == {"recipients": 5, "with_route": 4, "share": 0.8}


def test_a_dry_run_remembers_nothing(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.pins.write_text(f"a.example {A}\nb.example none\n")
    assert site.run("sync", "--dry-run") == 0
    assert "of your outgoing mail" in capsys.readouterr().out
    assert not site.map.with_name("recipients.sqlite").exists()
    assert not site.metrics.exists()


def test_a_failure_stands_in_the_metrics(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.log.unlink()
    site.log.with_name("mainlog.1.gz").unlink()
    assert site.run("sync") == 78
    assert "no file is seen at" in capsys.readouterr().err
    assert "onionmx_sync_exit_code 78.0" in site.metrics.read_text()


UNKNOWN = exim("c.example").replace(" 1s2Abc-000000-2z ", " ") + postfix("d.example").replace("postfix/smtp[1]", "mail")


def test_lines_that_could_not_be_read_are_told_once(site: Site, capsys: pytest.CaptureFixture[str]) -> None:
    site.pins.write_text(f"a.example {A}\nb.example none\n")
    with site.log.open("a") as log:
        log.write(UNKNOWN)
    told = f"onionmx: log {site.log}: lines that look like deliveries and could not be read: "
    assert site.run("domains") == 0
    assert f"{told}2; expected" in capsys.readouterr().err
    for count in (2, 1):
        assert site.run("sync", "--quiet") == 0
        output = capsys.readouterr()
        assert output.err.startswith(f"{told}{count}; expected")
        assert output.err.count("\n") == 1
        with site.log.open("a") as log:
            log.write(exim("a.example", 1) + UNKNOWN.splitlines()[0] + "\n")
    assert site.run("sync", "--quiet") == 0
    capsys.readouterr()
    assert site.run("sync", "--quiet") == 0
    assert not capsys.readouterr().err
