"""`make release VERSION=x.y.z`: changelog, version, commit and tag; wheel, sdist, .deb, SBOM, sums and their signature.

All of it is made in a clone. Only when everything is there does this repository get the commit and the tag: what fails
leaves it as it was. With --dry-run it stays as it was in any case. The same commit gives the same files on the same
release of Debian: everything in them has the time of the commit.
"""

import argparse
import os
import re
import shutil
import subprocess
import sys
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import Path
from tempfile import TemporaryDirectory

from packaging.version import Version

from .changelog import ChangelogError, release
from .sbom import sbom

PROJECT = Path(__file__).resolve().parents[1]
VERSION_FILE = "onionmx/__init__.py"
NAMESPACE = "onionmx-release"
"""What the signature is for (ssh-keygen(1), -n): one made for something else does not count."""
_VERSION = re.compile(r"\d+\.\d+\.\d+")
_VERSION_LINE = re.compile(r'^__version__ = "(.*)"$', re.MULTILINE)


class ReleaseError(RuntimeError):
    """This cannot be released; the message says what would be right."""


def run(*command: str | Path, cwd: Path, env: dict[str, str] | None = None) -> str:
    """Run a command, with its output on standard error where it fails.

    Raises:
        ReleaseError: it failed.
    """
    try:
        done = subprocess.run(
            command, cwd=cwd, env=os.environ | (env or {}), check=False, capture_output=True, text=True
        )
    except OSError as error:
        raise ReleaseError(f"cannot run {command[0]}: {error}") from error
    if done.returncode:
        sys.stderr.write(done.stdout + done.stderr)
        raise ReleaseError(f"{' '.join(map(str, command))}: exit code {done.returncode}")
    return done.stdout.strip()


def check(project: Path, version: str, key: Path | None) -> None:
    """Look whether the version may be released from this repository.

    Raises:
        ReleaseError: it may not.
    """
    if not _VERSION.fullmatch(version):
        raise ReleaseError(f"VERSION={version!r}: give one such as 1.2.3")
    if key is not None and not key.is_file():
        raise ReleaseError(f"KEY={key}: there is no such file; give the SSH key that signs")
    if dirty := run("git", "status", "--porcelain", cwd=project):
        raise ReleaseError(f"not committed: {', '.join(line[2:].strip() for line in dirty.splitlines()[:5])}")
    if run("git", "tag", "--list", f"v{version}", cwd=project):
        raise ReleaseError(f"the tag v{version} exists already")
    if not run("git", "symbolic-ref", "--quiet", "HEAD", cwd=project).startswith("refs/heads/"):
        raise ReleaseError("no branch is checked out")
    old = current_version(project)
    if Version(version) < Version(old):
        raise ReleaseError(f"VERSION={version} is older than {old}")


def current_version(project: Path) -> str:
    """The version in the one place where it is written."""
    found = _VERSION_LINE.search((project / VERSION_FILE).read_text())
    if found is None:
        raise ReleaseError(f"{VERSION_FILE} has no line __version__")
    return found[1]


def commit(clone: Path, version: str, key: Path | None) -> int:
    """Commit and tag the version in a clone; return the time of the commit, in seconds since the epoch.

    Args:
        clone: where.
        version: of the release.
        key: the SSH key that signs the tag (git-tag(1), --sign), if any.
    """
    now = int(os.environ.get("SOURCE_DATE_EPOCH") or datetime.now(UTC).timestamp())
    day = datetime.fromtimestamp(now, UTC).strftime("%Y-%m-%d")
    changes, code = clone / "CHANGELOG.md", clone / VERSION_FILE
    changes.write_text(release(changes.read_text(), version, day))
    code.write_text(_VERSION_LINE.sub(f'__version__ = "{version}"', code.read_text()))
    dates = {"GIT_AUTHOR_DATE": f"{now} +0000", "GIT_COMMITTER_DATE": f"{now} +0000"}
    run("git", "commit", "--quiet", "--all", "--message", f"Version {version}", cwd=clone, env=dates)
    signed = ["-c", "gpg.format=ssh", "-c", f"user.signingKey={key.absolute()}"] if key else []
    kind = "--sign" if key else "--annotate"
    run("git", *signed, "tag", kind, "--message", f"onionmx {version}", f"v{version}", cwd=clone, env=dates)
    return now


def build(clone: Path, version: str, seconds: int, *, package: bool) -> Path:
    """Build all files of the release in `dist/` of a clone, and return that folder.

    Args:
        clone: where the version is checked out.
        version: of the release.
        seconds: since the epoch, the date of everything in the files.
        package: whether to build Debian's package too.
    """
    dist = clone / "dist"
    env = {"SOURCE_DATE_EPOCH": str(seconds), "PYTHONHASHSEED": "0"}
    run(sys.executable, "-m", "hatchling", "build", "-d", dist, cwd=clone, env=env)
    if package:
        run("deploy/debian/build.sh", cwd=clone, env=env)
    (dist / f"onionmx-{version}.cdx.json").write_text(sbom(clone, version, seconds))
    files = sorted(path for path in dist.iterdir() if path.is_file())
    sums = [f"{sha256(path.read_bytes()).hexdigest()}  {path.name}\n" for path in files]
    (dist / "SHA256SUMS").write_text("".join(sums))
    return dist


def sign(sums: Path, key: Path) -> None:
    """Sign the sums: SHA256SUMS.sig (ssh-keygen(1), -Y sign).

    Raises:
        ReleaseError: ssh-keygen did not, or the passphrase was wrong.
    """
    command = ["ssh-keygen", "-Y", "sign", "-n", NAMESPACE, "-f", str(key.absolute()), str(sums)]
    if subprocess.run(command, check=False).returncode:
        raise ReleaseError(f"{key} did not sign")


def put(dist: Path, target: Path) -> None:
    """Copy the files of a release into a folder, and name them on standard output."""
    target.mkdir(parents=True, exist_ok=True)
    for path in sorted(dist.iterdir()):
        shutil.copy(path, target)
        sys.stdout.write(f"{target / path.name}\n")


def main(arguments: list[str] | None = None) -> int:
    """Release a version, or say why not. Exit codes: 0, 1."""
    parser = argparse.ArgumentParser(prog="make release", description=__doc__)
    parser.add_argument("version")
    parser.add_argument("--key", type=Path, help="the SSH key that signs; the public one where the agent has the other")
    parser.add_argument("--to", type=Path, default=PROJECT / "dist", help="folder for the files; dist/ by default")
    parser.add_argument(
        "--dry-run", action="store_true", help="build, but neither commit nor tag; --key may be left out"
    )
    parser.add_argument("--without-deb", action="store_true", help="no package for Debian")
    options = parser.parse_args(arguments)
    try:
        make(options)
    except (ReleaseError, ChangelogError) as error:
        sys.stderr.write(f"release: {error}\n")
        return 1
    return 0


def make(options: argparse.Namespace) -> None:
    """Do all of it.

    Raises:
        ReleaseError, ChangelogError: the repository is as it was.
    """
    version: str = options.version
    if options.key is None and not options.dry_run:
        raise ReleaseError("KEY= is missing: the SSH key that signs")
    check(PROJECT, version, options.key)
    branch = run("git", "symbolic-ref", "--short", "HEAD", cwd=PROJECT)
    with TemporaryDirectory(prefix="onionmx-release-") as folder:
        clone = Path(folder) / "onionmx"
        run("git", "clone", "--quiet", "--branch", branch, PROJECT, clone, cwd=PROJECT)
        for name in ("user.name", "user.email"):
            run("git", "config", name, run("git", "config", name, cwd=PROJECT), cwd=clone)
        seconds = commit(clone, version, options.key)
        dist = build(clone, version, seconds, package=not options.without_deb)
        if options.key:
            sign(dist / "SHA256SUMS", options.key)
        put(dist, options.to)
        if options.dry_run:
            sys.stdout.write("dry run: no commit, no tag\n")
            return
        run("git", "pull", "--quiet", "--ff-only", "--tags", clone, branch, cwd=PROJECT)
    sys.stdout.write(f"released: look at it with `git show v{version}`, then `git push origin {branch} v{version}`\n")


if __name__ == "__main__":
    sys.exit(main())
