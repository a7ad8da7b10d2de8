"""Each part runs where it can, and what it needs is made before."""

import re
from pathlib import Path

import pytest

from tests.e2e.programs import PROJECT

from .__main__ import main
from .documents import section
from .roots import RELEASES
from .run import LIMITS
from .stages import ALL_MTAS, KINDS, MACHINE, PACKAGE, stages

FOLDER = Path("/nowhere")
DEFAULT = [name for name, kind in KINDS.items() if kind.is_default]


def names(*words: str, releases: list[str] | None = None) -> list[list[str]]:
    asked = stages(words, releases or list(RELEASES), list(ALL_MTAS), {"trixie": "e2e"}, FOLDER)
    return [[part.name for part in stage] for stage in asked]


def test_parts_for_an_mta_have_its_machine_made_before() -> None:
    assert names("setup", releases=["trixie"]) == [
        ["package trixie", "machine trixie exim", "machine trixie postfix", "machine trixie opensmtpd"],
        ["setup trixie exim", "setup trixie postfix", "setup trixie opensmtpd"],
    ]


def test_other_mtas_have_a_part_of_their_own() -> None:
    made, done = names("other-mta", "units", releases=["trixie"])
    assert "units trixie exim" in done
    assert {"other-mta trixie opensmtpd"} <= set(done)
    assert {"machine trixie exim", "machine trixie opensmtpd"} <= set(made)
    assert "machine trixie postfix" not in made


def test_machines_are_made_without_network_but_for_what_debian_does_not_have() -> None:
    made, done = stages(["other-mta", "documents"], ["trixie"], list(ALL_MTAS), {}, FOLDER)
    machines = [part for part in made if part.kind == "machine"]
    assert [part.mta for part in machines if part.is_online] == ["haraka"]
    assert len(machines) == len(ALL_MTAS)
    assert not any(part.is_online for part in done)


def test_once_is_enough_where_a_release_more_would_show_nothing() -> None:
    assert names("pipeline", "tor-machine")[1] == ["tor-machine bookworm exim", "pipeline bookworm"]
    assert names("pod", "pipeline", releases=["bookworm"]) == [[], ["pipeline bookworm"]]


def test_fresh_roots_need_nothing_and_have_their_suites() -> None:
    made, done = stages(["fresh"], list(RELEASES), list(ALL_MTAS), {"trixie": "e2e"}, FOLDER)
    assert not made
    assert [part.suite for part in done] == ["", "e2e", ""]


def test_whatever_runs_by_default_can_run_on_the_releases_of_debian() -> None:
    for release in RELEASES:
        made, done = names(*DEFAULT, releases=[release])
        assert f"package {release}" in made
        assert len(done) == len(set(done)) > 4


def test_every_part_has_its_time_and_its_line_for_developers() -> None:
    assert LIMITS.keys() == {*KINDS, PACKAGE, MACHINE}
    text = section((PROJECT / "CONTRIBUTING.md").read_text(), "Acceptance")
    assert set(re.findall(r"^\| `([\w-]+)` \|", text, re.MULTILINE)) == set(KINDS)


def test_what_would_run_nothing_fails(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr("os.geteuid", lambda: 0)
    monkeypatch.setattr("shutil.which", lambda program: program)
    assert main(["other-mta", "--mtas", "postfix", "--releases", "forky"]) == 1
    assert capsys.readouterr().out == "none of other-mta runs on forky with postfix\n"
