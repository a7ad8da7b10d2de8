"""Making a root with tor and nothing else: no shell, no package manager, no setuid file.

mmdebstrap downloads tor and what it needs with the host's own sources, checks the signatures and unpacks the files; no
script of a package is run. Of those files the root gets tor, its libraries, and getent, which nspawn runs to look up
the user.
"""

import re
import shutil
from collections.abc import Callable, Iterable
from pathlib import Path

from onionmx.errors import TemporaryError
from onionmx.machine import apt
from onionmx.machine.inside import resolved
from onionmx.machine.places import SETTINGS, STATE, USER_IN_MACHINE
from onionmx.machine.run import run

Say = Callable[[str], None]
"""Tells the administrator what is going on, a line each."""

PROGRAMS = ("/usr/bin/tor", "/usr/bin/getent")
_PACKAGES = "tor,libc-bin"
_DATA = "usr/share/tor"
PACKAGES_FILE = "usr/share/onionmx-machine/packages"
"""Which packages the files of a root come from, with versions."""
_MERGED = ("bin", "sbin", "lib", "lib64")
_FOLDERS = ("dev", "proc", "root", "run", "sys", "tmp", "usr/bin", "usr/sbin", "usr/lib", "usr/lib64", "var/tmp")
_INTERPRETER = re.compile(rb"(/lib[0-9]*/ld[a-zA-Z0-9_-]*\.so\.[0-9]+)\0")
_FILES = {
    "etc/passwd": f"root:x:0:0::/:/usr/sbin/nologin\ntor:x:{USER_IN_MACHINE}:{USER_IN_MACHINE}::/:/usr/sbin/nologin\n",
    "etc/group": f"root:x:0:\ntor:x:{USER_IN_MACHINE}:\n",
    "etc/nsswitch.conf": "passwd: files\ngroup: files\n",
}


def build(place: Path, lock: int, say: Say) -> Path:
    """Make a root.

    Args:
        place: an empty folder.
        lock: descriptor that the programs keep open as long as they write there.

    Returns:
        The root, in that folder.

    Raises:
        ConfigurationError: the host has no release or no sources.
        TemporaryError: tor could not be downloaded or unpacked.
    """
    release = apt.release_of(Path("/etc/os-release").read_text())
    unpacked, root, settings = place / "unpacked", place / "root", place / "apt.conf"
    settings.write_text(apt.settings())
    say(f"download tor of {release} with its libraries")
    options = ("--variant=extract", f"--include={_PACKAGES}", "--skip=cleanup/apt", f"--aptopt={settings}")
    run(("mmdebstrap", *options, release, unpacked, *apt.sources(Path("/etc/apt"))), keep=(lock,))
    say("take tor and its libraries out of the packages")
    for name in _MERGED:  # of releases in which a package that is not unpacked has these links
        if (unpacked / "usr" / name).is_dir() and not (unpacked / name).exists():
            (unpacked / name).symlink_to(f"usr/{name}")
    taken = _needed(unpacked)
    lay_out(unpacked, root, taken)
    packages = _packages(unpacked, [resolved(unpacked, name).relative_to(unpacked) for name in taken])
    file = root / PACKAGES_FILE
    file.parent.mkdir(parents=True)
    file.write_text("".join(f"{line}\n" for line in packages))
    return root


def lay_out(unpacked: Path, root: Path, taken: Iterable[str]) -> None:
    """Copy what is taken into a new root, with the little that it needs besides.

    Args:
        unpacked: files of packages.
        taken: paths in it.

    Raises:
        OSError: one is missing, or cannot be written.
    """
    for name in (*_FOLDERS, "etc", str(STATE)[1:], str(SETTINGS)[1:]):
        (root / name).mkdir(mode=0o755, parents=True, exist_ok=True)
    for name in _MERGED:
        (root / name).symlink_to(f"usr/{name}")
    for name in taken:
        target = root / name[1:]
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copyfile(resolved(unpacked, name), target)
        target.chmod(0o755)
    for path in (unpacked / _DATA).rglob("*"):
        if path.is_file() and not path.is_symlink():
            target = root / path.relative_to(unpacked)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
    for name, content in _FILES.items():
        (root / name).write_text(content)


def loader_of(program: bytes) -> str:
    """The loader that a program names (elf(5), PT_INTERP).

    Raises:
        TemporaryError: it names none.
    """
    found = _INTERPRETER.search(program)
    if found is None:
        raise TemporaryError("tor, as it was unpacked, names no loader (ld.so)")
    return found[1].decode()


def libraries(said: str) -> set[str]:
    """The paths in what ld.so --list says."""
    return set(re.findall(r"(?:^|=>)\s*(/\S+) \(0x", said, re.MULTILINE))


def versions(root: Path) -> dict[str, str]:
    """The packages of a root, name to version; empty for one that does not say."""
    try:
        lines = (root / PACKAGES_FILE).read_text().splitlines()
    except OSError:
        return {}
    return dict(line.split(" ", 1) for line in lines if " " in line)


def is_same(one: Path, other: Path) -> bool:
    """Whether two roots have the same files."""
    return _contents(one) == _contents(other)


def _contents(root: Path) -> dict[Path, bytes | None]:
    return {
        path.relative_to(root): path.read_bytes() if path.is_file() else None
        for path in root.rglob("*")
        if not path.is_symlink()
    }


def _needed(unpacked: Path) -> list[str]:
    loader = loader_of(resolved(unpacked, PROGRAMS[0]).read_bytes())
    found = {loader, *PROGRAMS}
    for program_name in PROGRAMS:
        found |= libraries(run(("chroot", unpacked, loader, "--list", program_name)))
    return sorted(found)


def _packages(unpacked: Path, files: Iterable[Path]) -> list[str]:
    wanted = {f"./{file}" for file in files}
    found = []
    for archive in sorted((unpacked / "var/cache/apt/archives").glob("*.deb")):
        names = {line.split()[-1] for line in run(("dpkg-deb", "--contents", archive)).splitlines() if line}
        if wanted & names:
            format_ = "--showformat=${Package} ${Version}\n"
            found.append(run(("dpkg-deb", "--show", format_, archive)).strip())
    return found
