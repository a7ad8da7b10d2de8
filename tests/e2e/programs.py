"""Where the real programs are that the end-to-end tests run."""

import os
import shutil
from functools import cache
from pathlib import Path

PROJECT = Path(__file__).resolve().parents[2]
UNPACKED = PROJECT / ".debian"
"""The packages that ``tests/setup_debian.sh`` unpacked without installing them."""

FOLDERS = ("usr/sbin", "usr/bin", "sbin", "bin")


class MissingProgramError(LookupError):
    """A program that a test runs is not on this machine."""

    def __init__(self, name: str) -> None:
        super().__init__(f"{name} is neither in {UNPACKED} nor on PATH: run 'make setup' to get it")
        self.name = name


@cache
def find_program(name: str) -> Path:
    """Return the path of a program: the unpacked one first, for the same version everywhere."""
    unpacked = (UNPACKED / folder / name for folder in FOLDERS)
    for path in unpacked:
        if path.is_file() and os.access(path, os.X_OK):
            return path
    # A plain user's PATH often lacks the sbin folders, where Debian keeps the daemons.
    search = os.pathsep.join([os.environ.get("PATH", os.defpath), *(f"/{folder}" for folder in FOLDERS)])
    if found := shutil.which(name, path=search):
        return Path(found)
    raise MissingProgramError(name)
