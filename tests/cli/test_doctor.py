"""`onionmx doctor` as a command: output, choice of checks, exit codes."""

import json
from pathlib import Path

import pytest

from onionmx.cli import main
from onionmx.doctor.checks import TOPICS
from tests.mapfile.maps import A, make_map

MAP_CHECKS = ("--check", "map", "--check", "pins", "--check", "local-domains")


@pytest.fixture
def configuration(tmp_path: Path) -> Path:
    make_map(tmp_path / "map.cdb")
    (tmp_path / "pins").touch()
    file = tmp_path / "onionmx.toml"
    file.write_text(
        f'[local]\ndomains = ["own.example"]\n[map]\npath = "{tmp_path}/map.cdb"\n[sync]\npins = "{tmp_path}/pins"\n'
    )
    return file


def run(configuration: Path, *words: str) -> int:
    return main(["doctor", "--config", str(configuration), *words])


def test_sound(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(configuration, *MAP_CHECKS) == 0
    lines = capsys.readouterr().out.splitlines()
    assert [line.split(":")[0].split() for line in lines[:3]] == [
        ["ok", "map"],
        ["ok", "local-domains"],
        ["ok", "pins"],
    ]
    assert lines[3:] == ["3 ok, 0 warning, 0 problem, 0 not checked"]
    assert run(configuration, *MAP_CHECKS, "--quiet") == 0
    assert capsys.readouterr().out == ""


def test_problem_with_reason_and_what_fixes_it(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    folder = configuration.parent
    make_map(folder / "map.cdb", {"own.example": ((A, 25),)})
    assert run(configuration, *MAP_CHECKS, "--quiet") == 1
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["problem", "local-domains:", "in", "the", "map:", "own.example"]
    assert lines[1].strip().startswith("why: mail for a local domain would leave this host")
    assert [line.strip() for line in lines[2:]] == [f"fix: {folder}/pins: own.example none", "fix: onionmx sync"]
    assert run(configuration, *MAP_CHECKS, "--json") == 1
    report = json.loads(capsys.readouterr().out)
    assert report["counts"] == {"ok": 2, "warning": 0, "problem": 1, "not checked": 0}
    (finding,) = [one for one in report["findings"] if one["severity"] == "problem"]
    assert finding == {
        "check": "local-domains",
        "severity": "problem",
        "seen": "in the map: own.example",
        "why": finding["why"],
        "cause": "",
        "fix": f"{folder}/pins: own.example none\nonionmx sync",
    }
    assert run(configuration, *MAP_CHECKS, "--json", "--quiet") == 1
    assert len(json.loads(capsys.readouterr().out)["findings"]) == 1


def test_warnings_do_not_count(configuration: Path) -> None:
    text = configuration.read_text() + "[doctor]\nmap_max_age = 1e-6\n"
    configuration.write_text(text)
    assert run(configuration, "--check", "map-age") == 0


def test_essential_check_that_cannot_be_made(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    configuration.write_text(configuration.read_text().replace('["own.example"]', "[]"))
    assert run(configuration, "--check", "open-relay") == 75
    assert "not checked" in capsys.readouterr().out
    assert run(configuration, "--check", "rights") == 0


def test_names_from_outside_are_escaped(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (configuration.parent / "pins").write_text("\x1b[31mexample.org none\n")
    assert run(configuration, "--check", "pins") == 1
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize(
    ("change", "code", "words"),
    [
        (("own.example", "user@own.example"), 78, "e-mail address"),
        (("[local]", "[doctor]\nforeign_domain = 'a b'\n[local]"), 78, "doctor"),
        (("[local]", "[doctor]\ntimeout = 0\n[local]"), 78, "doctor.timeout"),
        (("[local]", "[local]\nfile = '/none'"), 78, "local.file /none cannot be read"),
    ],
)
def test_bad_configuration(
    configuration: Path, change: tuple[str, str], code: int, words: str, capsys: pytest.CaptureFixture[str]
) -> None:
    configuration.write_text(configuration.read_text().replace(*change))
    assert run(configuration) == code
    captured = capsys.readouterr()
    assert words in captured.err
    assert captured.out == ""


def test_unknown_check(configuration: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert run(configuration, "--check", "weather") == 64
    assert "weather" in capsys.readouterr().err


def test_help_names_every_check(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["doctor", "--help"]) == 0
    shown = "".join(capsys.readouterr().out.split())
    assert all(topic.name in shown for topic in TOPICS)
