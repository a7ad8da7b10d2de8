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

from .mta import EXIM, MTAS
from .part import Part
from .roots import RELEASES, cache_folder
from .run import Run, say

KINDS = ("documents", "setup", "units", "attacker", "tor-machine")
"""The parts that run when none is named."""
PIPELINE = "pipeline"
"""Runs by default too; on one release, which needs no package and no machine."""
FRESH = "fresh"
SUITES = ("e2e", "unit", "all")
UPGRADE = "upgrade"
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
    try:
        run.do(asked.releases, _stages(asked, folder))
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
        "parts", nargs="*", metavar="PART", help=f"{', '.join(KINDS)}, {PIPELINE} (default: these), {UPGRADE}, {FRESH}"
    )
    parser.add_argument("--releases", default="", help=f"of {', '.join(RELEASES)}")
    parser.add_argument("--mtas", default="", help=f"of {', '.join(MTAS)}")
    parser.add_argument(
        "--suites",
        default="",
        metavar="RELEASE=SUITE...",
        help=f"the tests that {FRESH} runs, of {', '.join(SUITES)}; none elsewhere",
    )
    parser.add_argument("--keep", action="store_true", help="keep logs and files")
    asked = parser.parse_args(words)
    for name, known in (("parts", (*KINDS, PIPELINE, UPGRADE, FRESH)), ("releases", RELEASES), ("mtas", MTAS)):
        value = getattr(asked, name)
        chosen = value.replace(",", " ").split() if isinstance(value, str) else value
        if unknown := set(chosen) - set(known):
            parser.error(f"{', '.join(sorted(unknown))}: not one of {', '.join(known)}")
        setattr(asked, name, chosen or list((*KINDS, PIPELINE) if name == "parts" else known))
    asked.suites = dict(word.partition("=")[::2] for word in asked.suites.replace(",", " ").split())
    if not asked.suites.keys() <= set(asked.releases) or not set(asked.suites.values()) <= set(SUITES):
        parser.error(f"--suites: each RELEASE=SUITE, with a release that runs and a suite of {', '.join(SUITES)}")
    return asked


def _stages(asked: argparse.Namespace, folder: Path) -> list[list[Part]]:
    """The parts; each stage needs what those before it have made."""

    def suite(kind: str, release: str) -> str:
        return asked.suites.get(release, "") if kind == FRESH else ""

    def parts(kind: str, mtas: Sequence[str]) -> list[Part]:
        return [
            Part(kind, release, mta, str(cache_folder() / release), str(folder), suite(kind, release))
            for release in asked.releases
            for mta in mtas
        ]

    booted = [kind for kind in asked.parts if kind in KINDS]
    # Exim alone asks a program of the package for each message.
    upgrade = parts(UPGRADE, [EXIM.name]) if UPGRADE in asked.parts else []
    machines = dict.fromkeys([*(asked.mtas if booted else []), *(part.mta for part in upgrade)])
    made = [*parts("package", [""]), *parts("machine", list(machines))] if machines else []
    # One machine of a release is enough for the units, which have nothing to do with the MTA, and for the attacker,
    # who would find the same in testing. tor's machine needs more time than it would find on another release.
    settled = [name for name in asked.releases if RELEASES[name].settled]
    alone = {"units": asked.releases, "attacker": settled, "tor-machine": settled[:1]}
    done = [
        part
        for kind in booted
        for part in parts(kind, asked.mtas[:1] if kind in alone else asked.mtas)
        if part.release in alone.get(kind, asked.releases)
    ]
    pipeline = (
        [part for part in parts(PIPELINE, [""]) if RELEASES[part.release].settled] if PIPELINE in asked.parts else []
    )
    return [made, [*done, *pipeline[:1], *upgrade, *(parts(FRESH, [""]) if FRESH in asked.parts else [])]]


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
