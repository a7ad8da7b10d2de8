"""`.ci/release TAG KEY`: build and sign what a trusted signer has tagged. Run from the protected branch.

Not everyone who may push a tag may release. A tag is believed if one of `release/signers` has signed it, as that file
is on the branch that is checked out, not in the tag, and if the tag is in the history of that branch. All of that is
checked before anything of the tag runs.
"""

import argparse
import re
import sys
from pathlib import Path
from tempfile import TemporaryDirectory

from . import __main__ as release
from .__main__ import PROJECT, ReleaseError, run

SIGNERS = "release/signers"
"""Allowed signers (ssh-keygen(1), "ALLOWED SIGNERS")."""
_TAG = re.compile(r"v(\d+\.\d+\.\d+)")


def verify(project: Path, tag: str) -> tuple[str, str]:
    """Look whether a tag may be released; return its version and its commit.

    Raises:
        ReleaseError: it may not, or it cannot be told.
    """
    named = _TAG.fullmatch(tag)
    if named is None:
        raise ReleaseError(f"{tag!r}: give a tag such as v1.2.3")
    reference = f"refs/tags/{tag}"
    signers = run("git", "show", f"HEAD:{SIGNERS}", cwd=project)
    if not any(line.strip() and not line.startswith("#") for line in signers.splitlines()):
        raise ReleaseError(f"{SIGNERS}: nobody may release yet")
    with TemporaryDirectory(prefix="onionmx-signers-") as folder:
        file = Path(folder) / "signers"
        file.write_text(f"{signers}\n")
        # The tag's signature says which program git asks: one of OpenPGP or X.509 would know other keys.
        believed = {
            "gpg.ssh.program": "ssh-keygen",
            "gpg.ssh.allowedSignersFile": file,
            "gpg.ssh.revocationFile": "",
            "gpg.openpgp.program": "false",
            "gpg.x509.program": "false",
            "gpg.minTrustLevel": "fully",
        }
        options = [word for name, value in believed.items() for word in ("-c", f"{name}={value}")]
        run("git", *options, "verify-tag", reference, cwd=project)
    # A signature stays good when the reference is renamed: the name that was signed is within.
    if run("git", "for-each-ref", "--format=%(tag)", reference, cwd=project) != tag:
        raise ReleaseError(f"{tag}: another tag was signed")
    commit = run("git", "rev-parse", "--verify", f"{reference}^{{commit}}", cwd=project)
    run("git", "merge-base", "--is-ancestor", commit, "HEAD", cwd=project)
    return named[1], commit


def main(arguments: list[str] | None = None) -> int:
    """Release a tag, or say why not. Exit codes: 0, 1."""
    parser = argparse.ArgumentParser(prog=".ci/release", description=__doc__)
    parser.add_argument("tag")
    parser.add_argument("key", type=Path, help="the SSH key that signs the sums")
    parser.add_argument("--to", type=Path, default=PROJECT / "dist", help="folder for the files; dist/ by default")
    parser.add_argument("--without-deb", action="store_true", help="no package for Debian")
    options = parser.parse_args(arguments)
    try:
        make(options.tag, options.key, options.to, package=not options.without_deb)
    except ReleaseError as error:
        sys.stderr.write(f"release: {error}\n")
        return 1
    return 0


def make(tag: str, key: Path, target: Path, *, package: bool) -> None:
    """Verify, build in a clone, sign, and put the files into a folder.

    Raises:
        ReleaseError: one of these failed; nothing is signed.
    """
    version, commit = verify(PROJECT, tag)
    with TemporaryDirectory(prefix="onionmx-release-") as folder:
        clone = Path(folder) / "onionmx"
        # Not by the tag's name: `git clone --branch` would rather take a branch of that name.
        run("git", "clone", "--quiet", "--no-checkout", PROJECT, clone, cwd=PROJECT)
        run("git", "checkout", "--quiet", "--detach", commit, cwd=clone)
        if release.current_version(clone) != version:
            raise ReleaseError(f"{tag} has version {release.current_version(clone)}")
        seconds = int(run("git", "log", "-1", "--format=%ct", cwd=clone))
        dist = release.build(clone, version, seconds, package=package)
        release.sign(dist / "SHA256SUMS", _private(key, Path(folder)))
        release.put(dist, target)


def _private(key: Path, folder: Path) -> Path:
    """The key in a file that nobody else may read, as ssh-keygen demands; in the container its own file is root's.

    Raises:
        ReleaseError: it cannot be read.
    """
    own = folder / "key"
    try:
        own.touch(mode=0o600)
        own.write_bytes(key.read_bytes())
    except OSError as error:
        raise ReleaseError(f"{key}: {error.strerror}") from error
    return own


if __name__ == "__main__":
    sys.exit(main())
