"""The package to test, built in a fresh root of the release that it is for."""

import os
import shutil
import ssl
import subprocess
from collections.abc import Mapping
from pathlib import Path

from tests.e2e.programs import PROJECT

from .roots import host_apt_settings
from .sandbox import chroot

_CERTIFICATES = "/etc/ssl/certs/ca-certificates.crt"
_SOURCE = "root/onionmx"


def export(folder: Path) -> None:
    """Make a clone of the project, with the changes that are not committed yet."""
    git = ["git", "-C", str(PROJECT)]
    subprocess.run(["git", "clone", "--quiet", PROJECT, folder], check=True)
    for kind in (["--deleted"], ["--modified", "--others", "--exclude-standard"]):
        listed = subprocess.run([*git, "ls-files", "-z", *kind], check=True, capture_output=True, text=True).stdout
        for name in filter(None, listed.split("\0")):
            (folder / name).unlink(missing_ok=True)
            if (PROJECT / name).is_file():
                (folder / name).parent.mkdir(parents=True, exist_ok=True)
                shutil.copy2(PROJECT / name, folder / name, follow_symlinks=False)


def online(root: Path) -> Mapping[str, str]:
    """Let a root use the network as this machine does; return the environment for that."""
    for name in ("resolv.conf", "hosts"):
        target = root / "etc" / name
        target.unlink(missing_ok=True)
        shutil.copy(f"/etc/{name}", target)
    (root / "etc/apt/apt.conf.d/99host").write_text(host_apt_settings())
    known = ssl.get_default_verify_paths().cafile
    if known:
        shutil.copy(known, root / _CERTIFICATES.lstrip("/"))
    taken = {name: value for name, value in os.environ.items() if name.lower().endswith("_proxy")}
    taken |= {name: value for name, value in os.environ.items() if name.startswith("PIP_")}
    return taken | {"PIP_CERT": _CERTIFICATES, "SSL_CERT_FILE": _CERTIFICATES, "PIP_NO_CACHE_DIR": "1"}


def build(root: Path, result: Path) -> None:
    """Build the package in a root and copy it to a file."""
    env = online(root)
    export(root / _SOURCE)
    chroot(root, f"cd /{_SOURCE} && apt-get -q update && make deb", env)
    built = list((root / _SOURCE / "dist").glob("*.deb"))
    if len(built) != 1:
        raise RuntimeError(f"make deb left {len(built)} packages in dist/")
    shutil.copy(built[0], result)


def fresh(root: Path, suite: str) -> None:
    """Run the set-up, the demo and a part of the tests where nothing is installed or cached.

    Args:
        root: a root with make, git, python3 and certificates only.
        suite: `e2e`, `unit` (with the wheel installed, and coverage), `all`, or nothing for the demo alone.
    """
    env = online(root)
    export(root / _SOURCE)
    pytest = ".venv/bin/python -m pytest -n 2 tests"
    tests = {"e2e": f"make browser && {pytest}/e2e", "unit": "make test-installed", "all": f"make browser && {pytest}"}
    script = f"cd /{_SOURCE} && echo version: $(python3 --version) && time make setup && time make demo"
    if suite:
        script += f" && time {tests[suite]}"
    chroot(root, script, env)
