"""A release, made from a repository of its own with a key of its own: nothing of it leaves the test's folder."""

import json
import os
import shutil
import subprocess
import sys
import tarfile
from datetime import UTC, datetime
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from release.changelog import ChangelogError, release

pytestmark = pytest.mark.source
PROJECT = Path(__file__).parents[2]
SOURCES = ("CHANGELOG.md", "LICENSE", "Makefile", "README.md", "constraints.txt", "pyproject.toml")
FOLDERS = ("onionmx", "deploy", "docs", "exim", "programs", "release")
EPOCH = 1_800_000_000
UNCHANGED = "## Unreleased\n\n### Added\n- Something.\n"


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


@pytest.fixture
def repository(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A repository with what is in this folder now, and something to release."""
    for name in list(os.environ):
        if name.startswith("GIT_"):
            monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    monkeypatch.setenv("SOURCE_DATE_EPOCH", str(EPOCH))
    folder = tmp_path / "clone"
    folder.mkdir()
    for name in SOURCES:
        shutil.copy(PROJECT / name, folder)
    for name in FOLDERS:
        shutil.copytree(PROJECT / name, folder / name, ignore=shutil.ignore_patterns("__pycache__"))
    (folder / "CHANGELOG.md").write_text(f"# Changelog\n\n{UNCHANGED}\n## 0.0.1 - 2020-01-01\n- First.\n")
    (folder / ".gitignore").write_text("/dist/\n__pycache__/\n")
    git(folder, "init", "--quiet", "--initial-branch=trunk")
    git(folder, "config", "user.name", "Somebody")
    git(folder, "config", "user.email", "somebody@example.org")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "All")
    return folder


@pytest.fixture
def key(tmp_path: Path) -> Path:
    path = tmp_path / "key"
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path


def make(repository: Path, *arguments: str | Path) -> subprocess.CompletedProcess[str]:
    """Run the script of that repository."""
    command = [sys.executable, "-m", "release", *map(str, arguments)]
    return subprocess.run(command, cwd=repository, check=False, capture_output=True, text=True)


def test_a_release_is_whole_signed_and_the_same_again(repository: Path, key: Path, tmp_path: Path) -> None:
    first, second = tmp_path / "first", tmp_path / "second"
    rehearsed = make(repository, "9.9.9", "--dry-run", "--without-deb", "--to", first)
    assert rehearsed.returncode == 0, rehearsed.stderr
    assert "dry run: no commit, no tag" in rehearsed.stdout
    assert git(repository, "tag") == ""
    assert git(repository, "rev-list", "--count", "HEAD") == "1"

    done = make(repository, "9.9.9", "--without-deb", "--key", key, "--to", second)
    assert done.returncode == 0, done.stderr
    assert "git push origin trunk v9.9.9" in done.stdout

    # The repository: one commit, tagged, with version and changelog; nothing left over.
    assert git(repository, "log", "-1", "--format=%s %ct") == f"Version 9.9.9 {EPOCH}"
    assert git(repository, "rev-parse", "v9.9.9^{commit}") == git(repository, "rev-parse", "trunk")
    assert git(repository, "cat-file", "-t", "v9.9.9") == "tag"
    assert git(repository, "diff", "--name-only", "HEAD^").split() == ["CHANGELOG.md", "onionmx/__init__.py"]
    assert git(repository, "status", "--porcelain") == ""
    assert f"## Unreleased\n\n## 9.9.9 - {when('%Y-%m-%d')}\n\n### Added" in (repository / "CHANGELOG.md").read_text()

    # The files: the same bytes as in the rehearsal, their sums, and a signature for this purpose.
    names = {"onionmx-9.9.9-py3-none-any.whl", "onionmx-9.9.9.tar.gz", "onionmx-9.9.9.cdx.json", "SHA256SUMS"}
    assert {path.name for path in first.iterdir()} == names
    assert {path.name for path in second.iterdir()} == {*names, "SHA256SUMS.sig"}
    assert all((first / name).read_bytes() == (second / name).read_bytes() for name in names)
    subprocess.run(["sha256sum", "--check", "--strict", "--quiet", "SHA256SUMS"], cwd=second, check=True)
    signers = tmp_path / "signers"
    signers.write_text(f"release@example.org {key.with_suffix('.pub').read_text()}")
    assert verified(signers, second)
    with (second / "SHA256SUMS").open("a") as sums:
        sums.write("\n")
    assert not verified(signers, second)

    third = tmp_path / "third"
    release_the_tag(repository, key, third)
    assert {path.name for path in third.iterdir()} == {*names, "SHA256SUMS.sig"}
    assert all((first / name).read_bytes() == (third / name).read_bytes() for name in names)
    assert verified(signers, third)

    again = make(repository, "9.9.9", "--dry-run", "--without-deb", "--to", first)
    assert again.returncode == 1
    assert again.stderr == "release: the tag v9.9.9 exists already\n"

    with tarfile.open(second / "onionmx-9.9.9.tar.gz") as source:
        carried = {member.name.removeprefix("onionmx-9.9.9/") for member in source if member.isfile()}
    assert carried - {"PKG-INFO"} == set(git(repository, "ls-files").splitlines())

    bill = json.loads((second / "onionmx-9.9.9.cdx.json").read_text())
    made_of = {component["name"].lower() for component in bill["components"]}
    assert {"aiosmtpd", "cffi", "cryptography", "dnspython", "valkey"} <= made_of
    assert not made_of & {"pytest", "ruff", "onionmx"}
    references = {component["bom-ref"] for component in bill["components"]} | {"pkg:pypi/onionmx@9.9.9"}
    assert {edge["ref"] for edge in bill["dependencies"]} == references
    assert all(set(edge["dependsOn"]) <= references for edge in bill["dependencies"])


def release_the_tag(repository: Path, key: Path, folder: Path) -> None:
    """As the pipeline does: nothing before one who is trusted on the branch has signed it."""
    command: list[str | Path] = [sys.executable, "-m", "release.tagged", "v9.9.9", key, "--without-deb", "--to", folder]
    refused = subprocess.run(command, cwd=repository, check=False, capture_output=True, text=True)
    assert (refused.returncode, refused.stderr) == (1, "release: release/signers: nobody may release yet\n")
    assert not folder.exists()
    public = key.with_suffix(".pub").read_text()
    (repository / "release/signers").write_text(f'release@example.org namespaces="git" {public}')
    git(repository, "commit", "--quiet", "--all", "--message", "Who may release")
    signed = ("-c", "gpg.format=ssh", "-c", f"user.signingKey={key}", "tag", "--sign", "--message", "v9.9.8")
    git(repository, *signed, "v9.9.8", "v9.9.9^{commit}")
    wrong = [word if word != "v9.9.9" else "v9.9.8" for word in command]
    refused = subprocess.run(wrong, cwd=repository, check=False, capture_output=True, text=True)
    assert (refused.returncode, refused.stderr) == (1, "release: v9.9.8 has version 9.9.9\n")
    git(repository, "tag", "--delete", "v9.9.8")
    # What is built is the tag, not a branch that somebody calls the same.
    git(repository, "branch", "v9.9.9", "HEAD~2")
    subprocess.run(command, cwd=repository, check=True)
    git(repository, "branch", "--delete", "--force", "v9.9.9")
    git(repository, "reset", "--quiet", "--hard", "HEAD^")


def when(form: str) -> str:
    return datetime.fromtimestamp(EPOCH, UTC).strftime(form)


def verified(signers: Path, folder: Path) -> bool:
    """As CONTRIBUTING.md says."""
    options: list[str | Path] = ["-f", signers, "-I", "release@example.org", "-n", "onionmx-release"]
    options += ["-s", folder / "SHA256SUMS.sig"]
    with (folder / "SHA256SUMS").open("rb") as sums:
        done = subprocess.run(["ssh-keygen", "-Y", "verify", *options], stdin=sums, check=False, capture_output=True)
    return done.returncode == 0


def test_what_cannot_be_released_is_refused(repository: Path, key: Path, tmp_path: Path) -> None:
    options = ("--without-deb", "--to", tmp_path / "out")
    head = git(repository, "rev-parse", "HEAD")
    for arguments, words in {
        ("9.9",): "VERSION='9.9': give one such as 1.2.3",
        ("0.0.1",): "VERSION=0.0.1 is older than",
        ("9.9.9",): "KEY= is missing",
        ("9.9.9", "--key", str(tmp_path / "none")): "there is no such file",
    }.items():
        refused = make(repository, *arguments, *(() if words.startswith("KEY=") else ("--dry-run",)), *options)
        assert refused.returncode == 1
        assert words in refused.stderr
        assert len(refused.stderr.splitlines()) == 1

    (repository / "new").touch()
    assert make(repository, "9.9.9", "--key", key, *options).stderr == "release: not committed: new\n"
    (repository / "new").unlink()

    changelog = repository / "CHANGELOG.md"
    changelog.write_text(changelog.read_text().replace("- Something.\n", ""))
    git(repository, "commit", "--quiet", "--all", "--message", "Nothing to say")
    refused = make(repository, "9.9.9", "--key", key, *options)
    assert 'nothing below "## Unreleased"' in refused.stderr
    assert git(repository, "rev-parse", "HEAD^") == head
    assert git(repository, "tag") == ""
    assert not (tmp_path / "out").exists()


@given(st.lists(st.sampled_from(["## Unreleased", "### Added", "- x", "", "## 1.0.0 - 2020-01-01", "#", " "])))
def test_a_changelog_is_released_or_refused(lines: list[str]) -> None:
    text = "".join(f"{line}\n" for line in lines)
    try:
        released = release(text, "2.0.0", "2026-01-02")
    except ChangelogError:
        return
    assert released.replace("\n## 2.0.0 - 2026-01-02\n", "", 1) == text
    section = released.partition("## 2.0.0 - 2026-01-02\n")[2].partition("\n## ")[0]
    assert "- x" in section
    with pytest.raises(ChangelogError, match=r"2\.0\.0 has a section already"):
        release(released, "2.0.0", "2026-01-02")
