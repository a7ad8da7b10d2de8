"""Build the package twice, in other folders and under other settings: the same bytes, and no error for lintian.

    python3 package_build.py SOURCE

SOURCE is a clone of the project. Needs what `make deb` needs, and looks with lintian where there is one.
"""

import hashlib
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

SETTINGS = ({"TZ": "Asia/Tokyo", "LANG": "C", "HOME": "/"}, {"TZ": "America/Caracas", "LANG": "C.UTF-8"})
UMASKS = (0o022, 0o077)


def build(source: Path, folder: Path, settings: dict[str, str], umask: int) -> Path:
    """Build in a clone; return the package."""
    subprocess.run(["git", "-c", "safe.directory=*", "clone", "--quiet", source, folder], check=True, umask=umask)
    subprocess.run(["make", "deb"], cwd=folder, check=True, env=os.environ | settings, umask=umask)
    (package,) = (folder / "dist").iterdir()
    return package


def main(source: Path) -> int:
    """Return an exit code."""
    with tempfile.TemporaryDirectory() as work:
        packages = [
            build(source, Path(work, name), settings, umask)
            for name, settings, umask in zip(("one", "the-other"), SETTINGS, UMASKS, strict=True)
        ]
        digests = {hashlib.sha256(package.read_bytes()).hexdigest() for package in packages}
        sys.stdout.write(f"{packages[0].name}: {' '.join(sorted(digests))}\n")
        if len(digests) > 1:
            sys.stderr.write("built twice, and not the same bytes\n")
            return 1
        if lintian := shutil.which("lintian"):
            return subprocess.run([lintian, "--fail-on", "error", "--allow-root", packages[0]], check=False).returncode
    return 0


if __name__ == "__main__":
    sys.exit(main(Path(sys.argv[1])))
