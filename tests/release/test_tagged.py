"""Which tags the pipeline may release: those that a signer of the branch has signed, and that are in its history."""

import os
import subprocess
from pathlib import Path

import pytest

from release.__main__ import ReleaseError
from release.tagged import SIGNERS, verify

pytestmark = pytest.mark.source


def git(folder: Path, *arguments: str) -> str:
    return subprocess.run(["git", *arguments], cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def new_key(path: Path) -> Path:
    subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", "", "-f", path], check=True)
    return path


def tag(folder: Path, name: str, key: Path | None = None, commit: str = "HEAD") -> None:
    signed = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={key}"] if key else []
    git(folder, *signed, "tag", "--sign" if key else "--annotate", "--message", name, name, commit)


@pytest.fixture
def trusted(tmp_path: Path) -> Path:
    return new_key(tmp_path / "trusted")


@pytest.fixture
def repository(tmp_path: Path, trusted: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Its branch trusts one key, for tags alone."""
    for name in [name for name in os.environ if name.startswith("GIT_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    monkeypatch.setenv("GIT_CONFIG_SYSTEM", os.devnull)
    folder = tmp_path / "clone"
    (folder / SIGNERS).parent.mkdir(parents=True)
    (folder / SIGNERS).write_text(f'a@example.org namespaces="git" {trusted.with_suffix(".pub").read_text()}')
    git(folder, "init", "--quiet", "--initial-branch=trunk")
    git(folder, "config", "user.name", "Somebody")
    git(folder, "config", "user.email", "somebody@example.org")
    git(folder, "add", "--all")
    git(folder, "commit", "--quiet", "--message", "First")
    return folder


def test_the_tag_of_a_trusted_signer_is_taken(repository: Path, trusted: Path) -> None:
    tag(repository, "v1.2.3", trusted)
    commit = git(repository, "rev-parse", "HEAD")
    assert verify(repository, "v1.2.3") == ("1.2.3", commit)
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "Later")
    git(repository, "branch", "v1.2.3")
    assert verify(repository, "v1.2.3") == ("1.2.3", commit)


def test_other_tags_are_refused(repository: Path, trusted: Path, tmp_path: Path) -> None:
    tag(repository, "v1.0.0")
    tag(repository, "v1.0.1", new_key(tmp_path / "other"))
    git(repository, "tag", "v1.0.2")
    tag(repository, "v1.0.3", trusted)
    git(repository, "update-ref", "refs/tags/v1.0.4", "refs/tags/v1.0.3")  # the signature is good, the name another
    for name in ("v1.0.0", "v1.0.1", "v1.0.2", "v1.0.4", "v9.9.9"):
        with pytest.raises(ReleaseError):
            verify(repository, name)
    for name in ("1.0.3", "v1.0.3\n", "--help", "v1.0.3^{}", "trunk", ""):
        with pytest.raises(ReleaseError, match="give a tag such as"):
            verify(repository, name)


def test_a_tag_cannot_bring_its_own_signers(repository: Path, tmp_path: Path) -> None:
    other = new_key(tmp_path / "other")
    git(repository, "checkout", "--quiet", "--detach")
    (repository / SIGNERS).write_text(f"b@example.org {other.with_suffix('.pub').read_text()}")
    git(repository, "commit", "--quiet", "--all", "--message", "Trust me")
    tag(repository, "v1.2.3", other)
    git(repository, "checkout", "--quiet", "trunk")
    with pytest.raises(ReleaseError):
        verify(repository, "v1.2.3")
    (repository / SIGNERS).write_text("what is not committed does not count")
    with pytest.raises(ReleaseError):
        verify(repository, "v1.2.3")


def test_what_is_not_on_the_branch_is_not_released(repository: Path, trusted: Path) -> None:
    git(repository, "checkout", "--quiet", "-b", "side")
    git(repository, "commit", "--quiet", "--allow-empty", "--message", "Not reviewed")
    tag(repository, "v1.2.3", trusted)
    git(repository, "checkout", "--quiet", "trunk")
    with pytest.raises(ReleaseError, match="merge-base"):
        verify(repository, "v1.2.3")


def test_a_key_that_is_trusted_for_something_else_does_not_count(repository: Path, trusted: Path) -> None:
    (repository / SIGNERS).write_text(f'a@example.org namespaces="file" {trusted.with_suffix(".pub").read_text()}')
    git(repository, "commit", "--quiet", "--all", "--message", "For files")
    tag(repository, "v1.2.3", trusted)
    with pytest.raises(ReleaseError):
        verify(repository, "v1.2.3")


def test_a_signature_of_another_kind_does_not_count(repository: Path) -> None:
    """Git asks the program for it, whose keys are those of the user, and which the checkout may name."""
    program = repository / ".git/program"
    program.write_text("#!/bin/sh\ncat >/dev/null\nprintf '\\n[GNUPG:] %s\\n' 'GOODSIG 1 x' 'TRUST_ULTIMATE 0 pgp'\n")
    program.chmod(0o755)
    head = git(repository, "rev-parse", "HEAD")
    for kind, name, marks in (("openpgp", "v1.0.1", "PGP SIGNATURE"), ("x509", "v1.0.2", "SIGNED MESSAGE")):
        git(repository, "config", f"gpg.{kind}.program", str(program))
        lines = f"object {head}\ntype commit\ntag {name}\ntagger a <a@example.org> 0 +0000\n\n{name}\n"
        lines += f"-----BEGIN {marks}-----\n\nx\n-----END {marks}-----\n"
        made = subprocess.run(
            ["git", "mktag"], cwd=repository, input=lines, check=True, capture_output=True, text=True
        ).stdout.strip()
        git(repository, "update-ref", f"refs/tags/{name}", made)
        git(repository, "verify-tag", name)
        with pytest.raises(ReleaseError, match="verify-tag"):
            verify(repository, name)
