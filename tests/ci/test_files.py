"""The files of deploy/ci that an administrator installs: taken by their program, or parsed where that is not here."""

import re
import subprocess
import tomllib
from pathlib import Path

import pytest

from deploy.ci.executor import settings
from deploy.ci.executor.__main__ import USAGE
from tests.e2e.programs import find_program

pytestmark = pytest.mark.source
PROJECT = Path(__file__).parents[2]
FOLDER = PROJECT / "deploy/ci"
GUIDE = (PROJECT / "docs/ci.md").read_text()


def test_the_example_of_settings_is_taken() -> None:
    known = settings.load(FOLDER / "executor.toml")
    image = "localhost/onionmx-ci:bookworm"
    assert known.images == {image: []}
    assert known.cgroups
    assert f"image: {image}" in (PROJECT / ".gitlab-ci.yml").read_text()
    assert f"podman import root.tar {image}" in GUIDE


def test_the_runner_calls_the_stages_of_the_executor() -> None:
    (runner,) = tomllib.loads((FOLDER / "gitlab-runner.toml").read_text())["runners"]
    custom = runner["custom"]
    for stage in ("config", "prepare", "run", "cleanup"):
        assert custom[f"{stage}_exec"] == "/usr/local/bin/onionmx-ci"
        assert custom[f"{stage}_args"] == [stage]
        assert stage in USAGE
    assert (runner["executor"], runner["builds_dir"], runner["cache_dir"]) == ("custom", "/builds", "/cache")


@pytest.mark.parametrize("name", ["onionmx-ci.service", "onionmx-job.service"])
def test_systemd_finds_no_mistake(name: str, tmp_path: Path) -> None:
    text = re.sub(r"=/usr/(local/)?bin/\S+", "=/bin/true", (FOLDER / name).read_text())
    (tmp_path / name).write_text(text)
    manager = ["--user"] if name == "onionmx-ci.service" else []
    command: list[str | Path] = [find_program("systemd-analyze"), *manager, "verify", tmp_path / name]
    done = subprocess.run(
        command,
        capture_output=True,
        text=True,
        check=False,
        env={"XDG_RUNTIME_DIR": str(tmp_path), "HOME": str(tmp_path)},
    )
    assert not [line for line in (done.stdout + done.stderr).splitlines() if "onionmx" in line]


def test_what_the_guide_installs_is_there() -> None:
    named = set(re.findall(r"deploy/ci/[\w./-]+", GUIDE))
    assert named >= {f"deploy/ci/{path.name}" for path in FOLDER.iterdir() if path.name != "__pycache__"}
    assert all((PROJECT / name).exists() for name in named)


def test_the_machine_of_a_job_is_closed() -> None:
    text = (FOLDER / "onionmx-job.nspawn").read_text()
    for line in (
        "Boot=no",
        "ReadOnly=yes",
        "PrivateUsers=pick",
        "DropCapability=all",
        "NoNewPrivileges=yes",
        "VirtualEthernet=yes",
    ):
        assert f"\n{line}\n" in text
    assert re.findall(r"^Bind\w*=(.*)$", text, re.MULTILINE) == ["/etc/onionmx-ci/forgejo-runner:/etc/forgejo-runner"]
