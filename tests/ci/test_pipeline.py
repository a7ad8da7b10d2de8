"""The project's own pipelines: what they hold, no matter who changes them."""

import re
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

pytestmark = pytest.mark.source
PROJECT = Path(__file__).parents[2]
GITLAB = PROJECT / ".gitlab-ci.yml"
FORGEJO = PROJECT / ".forgejo/workflows/ci.yml"
PARTS = {"checks", "units", "tests", "acceptance", "fresh"}
_KEYWORDS = {"stages", "workflow", "default", "include", "variables", "image", "services", "before_script"}


def gitlab() -> dict[str, Any]:
    read = yaml.safe_load(GITLAB.read_text())
    assert isinstance(read, dict)
    return read


def gitlab_jobs() -> dict[str, dict[str, Any]]:
    return {name: job for name, job in gitlab().items() if name not in _KEYWORDS}


def forgejo() -> dict[str, Any]:
    # YAML 1.1 reads the key `on` as true.
    read = yaml.safe_load(FORGEJO.read_text())
    assert isinstance(read, dict)
    return {"on" if name is True else str(name): value for name, value in read.items()}


def test_every_job_calls_the_scripts_of_the_project() -> None:
    scripts = {name: job["script"] for name, job in gitlab_jobs().items()}
    assert scripts == {
        "checks": [".ci/run checks units"],
        "all": [".ci/run"],
        "release": ['.ci/release "$RELEASE" /run/onionmx-ci/secrets/release-key'],
    }
    jobs = forgejo()["jobs"]
    last = {name: job["steps"][-1]["run"].splitlines()[-1].strip() for name, job in jobs.items()}
    assert last == {
        "checks": ".ci/run checks units",
        "all": ".ci/run",
        "release": '.ci/release "$TAG" "$key"',
    }


def test_a_change_of_a_stranger_runs_on_the_container_runner_alone() -> None:
    for name, job in gitlab_jobs().items():
        rules = " ".join(rule["if"] for rule in job.get("rules", []))
        if name == "checks":
            assert job["tags"] == ["onionmx-container"]
        else:
            assert job["tags"] != ["onionmx-container"]
            assert '$CI_PIPELINE_SOURCE != "merge_request_event"' in rules or '$CI_PIPELINE_SOURCE == "web"' in rules
    for name, job in forgejo()["jobs"].items():
        assert ("pull_request" in job["if"]) == (name == "checks")
        assert (job["runs-on"] == "onionmx-container") == (name == "checks")


def test_no_secret_is_in_the_reach_of_a_merge_request() -> None:
    assert "variables" not in gitlab()
    assert all("secrets" not in job for job in gitlab_jobs().values())
    assert {name: job["variables"] for name, job in gitlab_jobs().items() if "variables" in job} == {
        "release": {"GIT_DEPTH": 0}  # else GitLab fetches neither the tags nor the history (BuildRunnerPresenter)
    }
    assert "secret" not in yaml.safe_dump({name: job for name, job in gitlab_jobs().items() if name != "release"})
    jobs = forgejo()["jobs"]
    assert "secrets" not in yaml.safe_dump({name: job for name, job in jobs.items() if name != "release"})
    assert set(forgejo()["on"]) == {"pull_request", "push", "workflow_dispatch"}
    assert forgejo()["on"]["push"] == {"branches": ["main"]}
    assert jobs["release"]["if"] == "github.event_name == 'workflow_dispatch' && github.ref == 'refs/heads/main'"


def test_no_code_of_others_runs() -> None:
    assert "include" not in gitlab()
    for job in forgejo()["jobs"].values():
        for step in job["steps"]:
            assert "uses" not in step


def test_values_of_others_reach_a_script_as_variables_only() -> None:
    for job in forgejo()["jobs"].values():
        assert "${{" not in "".join(step["run"] for step in job["steps"])


def test_what_runs_is_the_commit_that_was_approved_not_what_was_pushed_meanwhile() -> None:
    for job in forgejo()["jobs"].values():
        fetch = job["steps"][0]
        assert fetch["env"]["COMMIT"] == "${{ github.sha }}"
        assert fetch["run"].splitlines()[-1] == 'git checkout --quiet --force "$COMMIT"'


def test_every_job_has_a_limit_of_time() -> None:
    assert all(re.fullmatch(r"[12]h", job["timeout"]) for job in gitlab_jobs().values())
    assert all(job["timeout-minutes"] <= 120 for job in forgejo()["jobs"].values())


def test_the_script_takes_its_own_parts_and_no_others() -> None:
    run = PROJECT / ".ci/run"
    text = run.read_text()
    assert set(re.findall(r"^(\w+)\(\) \{", text, re.MULTILINE)) == PARTS | {"part"}
    assert "set -- checks tests acceptance fresh" in text
    for words in (["chekcs"], ["checks", "part"], ["; true"], [""]):
        done = subprocess.run([run, *words], check=False, capture_output=True, text=True)
        assert (done.returncode, done.stdout) == (64, "")
        assert "not a part: checks, units, tests, acceptance, fresh" in done.stderr


def run_with(make: str, folder: Path, *parts: str) -> subprocess.CompletedProcess[str]:
    """Run the script with another `make` than the real one, which would take an hour."""
    (folder / "make").write_text(f"#!/bin/sh\n{make}\n")
    (folder / "make").chmod(0o755)
    env = {"PATH": f"{folder}:/usr/bin:/bin"}
    return subprocess.run([PROJECT / ".ci/run", *parts], env=env, check=False, capture_output=True, text=True)


def test_without_arguments_the_script_runs_everything_in_its_order(tmp_path: Path) -> None:
    done = run_with('echo "make $*"', tmp_path)
    assert done.returncode == 0
    assert [line for line in done.stdout.splitlines() if line.startswith("make")] == [
        "make lint docs",
        "make test",
        "make acceptance",
        "make acceptance PARTS=fresh SUITES=trixie=e2e forky=unit",
    ]
    assert len(re.findall(r"^ +\d+ s  \S", done.stdout, re.MULTILINE)) == 4


@pytest.mark.parametrize("code", [1, 2, 75])
def test_the_script_ends_with_the_first_part_that_fails(tmp_path: Path, code: int) -> None:
    for parts, begun in (
        (("units", "tests", "checks"), ["make coverage", "make test"]),
        ((), ["make lint docs", "make test"]),
    ):
        done = run_with(f'echo "make $*"; [ "$1" != test ] || exit {code}', tmp_path, *parts)
        assert done.returncode == 1
        assert [line for line in done.stdout.splitlines() if line.startswith("make")] == begun
        table = done.stdout.partition("\ntime of each part:\n")[2].splitlines()
        assert len(table) == 2
        assert re.fullmatch(r" +\d+ s  FAILED  all tests, on this machine", table[1])
