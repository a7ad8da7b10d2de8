"""Boot Debian machines, set them up as an administrator does, and look whether mail goes over Tor and nowhere else."""

import argparse
import os
import shutil
import subprocess
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from signal import SIGTERM, signal
from time import monotonic

from .roots import RELEASES
from .run import Run, say
from .stages import ALL_MTAS, KINDS, SUITES, stages

NEEDED = {"mmdebstrap": "mmdebstrap", "systemd-nspawn": "systemd-container", "ip": "iproute2"}
"""Programs, and the Debian packages that have them."""


def main(words: Sequence[str]) -> int:
    """Run what is asked for; return the exit code."""
    asked = _arguments(words)
    if os.geteuid():
        say("only root may boot machines: sudo make acceptance")
        return 1
    _provide_programs()
    begin = monotonic()
    folder = Path(tempfile.mkdtemp(prefix="onionmx-acceptance-"))
    run = Run(folder)
    planned = stages(asked.parts, asked.releases, asked.mtas, asked.suites, folder)
    try:
        if not planned[-1]:
            say(f"none of {', '.join(asked.parts)} runs on {', '.join(asked.releases)} with {', '.join(asked.mtas)}")
            return 1
        run.do(asked.releases, planned)
    finally:
        if asked.keep:
            say(f"logs: {folder}")
        else:
            shutil.rmtree(folder, ignore_errors=True)
    say(f"\n{run.table()}\n{monotonic() - begin:.0f} s in all")
    return 0 if run.has_passed() else 1


def _arguments(words: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.acceptance", description=__doc__)
    parser.add_argument(
        "parts", nargs="*", metavar="PART", help=f"of {', '.join(KINDS)} (default: all but upgrade and fresh)"
    )
    parser.add_argument("--releases", default="", help=f"of {', '.join(RELEASES)}")
    parser.add_argument("--mtas", default="", help=f"of {', '.join(ALL_MTAS)}")
    parser.add_argument(
        "--suites",
        default="",
        metavar="RELEASE=SUITE...",
        help=f"the tests that fresh runs, of {', '.join(SUITES)}; none elsewhere",
    )
    parser.add_argument("--keep", action="store_true", help="keep logs and files")
    asked = parser.parse_args(words)
    asked.parts = asked.parts or [name for name, kind in KINDS.items() if kind.is_default]
    for name, known in (("parts", KINDS), ("releases", RELEASES), ("mtas", ALL_MTAS)):
        value = getattr(asked, name)
        chosen = value.replace(",", " ").split() if isinstance(value, str) else value
        if unknown := set(chosen) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}")
        setattr(asked, name, chosen or list(known))
    asked.suites = dict(word.partition("=")[::2] for word in asked.suites.replace(",", " ").split())
    if not asked.suites.keys() <= set(asked.releases) or not set(asked.suites.values()) <= set(SUITES):
        parser.error(f"--suites: each RELEASE=SUITE, with a release that runs and a suite of {', '.join(SUITES)}")
    return asked


def _provide_programs() -> None:
    missing = [package for program, package in NEEDED.items() if shutil.which(program) is None]
    if missing:
        say(f"installing {' '.join(missing)}")
        apt = ["apt-get", "-qq", "-o", "Acquire::Retries=3", "-o", "DPkg::Lock::Timeout=120"]
        subprocess.run([*apt, "update"], check=False)
        subprocess.run([*apt, "install", "--yes", "--no-install-recommends", "--no-remove", *missing], check=True)


if __name__ == "__main__":
    signal(SIGTERM, lambda *_: sys.exit(1))
    sys.exit(main(sys.argv[1:]))
