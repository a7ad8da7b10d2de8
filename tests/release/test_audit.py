"""`make audit` finds versions with known vulnerabilities, and says what it could not ask."""

import json
import sys
import tomllib
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet
from packaging.utils import canonicalize_name

from release import audit
from release.audit import COULD_NOT_TELL, FOUND, LIST, ListError, main, read_list, read_report, vulnerable

PROJECT = Path(__file__).parents[2]
ADVISORIES = read_list(LIST.read_bytes()).advisories
PINNED: dict[str, str] = {
    canonicalize_name(name): version
    for name, separator, version in (line.partition("==") for line in (PROJECT / "constraints.txt").read_text().split())
    if separator
}


def test_nothing_pinned_is_vulnerable() -> None:
    assert vulnerable(PINNED, ADVISORIES) == []


def test_no_version_that_the_package_accepts_is_vulnerable() -> None:
    """The lower bounds in pyproject.toml: an installation with pip may have kept an old version."""
    with (PROJECT / "pyproject.toml").open("rb") as file:
        requirements = [Requirement(line) for line in tomllib.load(file)["project"]["dependencies"]]
    oldest: dict[str, str] = {
        canonicalize_name(requirement.name): bound.version
        for requirement in requirements
        for bound in requirement.specifier
        if bound.operator == ">="
    }
    assert len(oldest) == len(requirements)
    assert vulnerable(oldest, ADVISORIES) == []


@pytest.mark.parametrize("advisory", ADVISORIES, ids=lambda advisory: advisory.id)
def test_entries_of_the_list_are_whole(advisory: audit.Advisory) -> None:
    assert advisory.package == canonicalize_name(advisory.package)
    assert advisory.package in PINNED, "not a dependency"
    assert urlsplit(advisory.source).path.endswith(advisory.id)
    assert advisory.fixed not in SpecifierSet(advisory.affected)
    assert f"<{advisory.fixed}" in advisory.affected.split(",")


def test_a_vulnerable_version_is_found() -> None:
    [line] = vulnerable({"aiosmtpd": "1.4.5", "h11": "0.16.0"}, ADVISORIES)
    assert line.startswith("aiosmtpd 1.4.5: GHSA-wgjv-9j3q-jhg8 CVE-2024-34083, fixed in 1.4.6, see https://")
    assert vulnerable({"cryptography": "41.0.6"}, ADVISORIES)
    assert vulnerable({"another": "0.1"}, ADVISORIES) == []


def test_the_command_fails_by_what_is_installed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    entry = {
        "id": "X-1",
        "package": "pytest",
        "affected": "<1000",
        "fixed": "1000",
        "source": "https://example.org/X-1",
    }
    known = tmp_path / "list.json"
    known.write_text(json.dumps({"date": "2026-01-02", "advisories": [entry]}))
    assert main(["--list", str(known)]) == FOUND
    assert "\nvulnerable: pytest " in capsys.readouterr().out
    assert main([]) == 0
    assert main(["--online"]) == COULD_NOT_TELL


def test_without_network_the_list_is_what_counts(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    program = tmp_path / "bin/pip-audit"
    program.parent.mkdir()
    program.write_text(f"#!{sys.executable}\nimport sys\nsys.exit('the network is unreachable')\n")
    program.chmod(0o755)
    assert main(["--pip-audit", str(tmp_path)]) == 0
    assert "could not be asked, so this is the list alone: the network is unreachable" in capsys.readouterr().out
    assert main(["--pip-audit", str(tmp_path), "--online"]) == COULD_NOT_TELL


def test_what_the_database_says_is_reported() -> None:
    report = {
        "dependencies": [
            {
                "name": "h11",
                "version": "0.14.0",
                "vulns": [{"id": "PYSEC-1", "fix_versions": ["0.16.0"], "aliases": []}],
            },
            {"name": "click", "version": "8.1", "vulns": []},
            {"name": "x", "skip_reason": "not on PyPI"},
        ],
        "fixes": [],
    }
    found, skipped = read_report(json.dumps(report).encode())
    assert found == ["h11 0.14.0: PYSEC-1, fixed in 0.16.0"]
    assert skipped == ["x: not on PyPI"]


_JSON = st.recursive(
    st.none() | st.text(max_size=5),
    lambda inner: (
        st.lists(inner, max_size=2)
        | st.dictionaries(st.sampled_from(["date", "advisories", "dependencies", "name", "vulns"]), inner, max_size=3)
    ),
)


@given(st.binary(max_size=40) | _JSON.map(lambda value: json.dumps(value).encode()))
def test_any_text_is_a_list_or_a_fault(text: bytes) -> None:
    for read in (read_list, read_report):
        try:
            read(text)
        except ListError as error:
            assert str(error).startswith("not a ")
