"""Roots of Debian releases as mmdebstrap makes them: one each, kept for a day, never changed here."""

import fcntl
import os
import shutil
import subprocess
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import IO

INSTALLED = ("make", "git", "python3", "ca-certificates")
"""All that a root has beside Debian's minimum."""
BOOTING = ("systemd-sysv", "dbus", "procps", "tor")
"""What a machine has; systemd reloads tor by the kill of procps. In the root these and the MTAs are archives only,
which apt installs without network."""
LATER = ("openssh-client",)
"""Archives of what a part installs by itself."""
MTAS: Mapping[str, tuple[str, ...]] = {
    "exim": ("exim4-daemon-light",),
    "postfix": ("postfix", "postfix-cdb"),
    "opensmtpd": ("opensmtpd",),
    "sendmail": ("sendmail", "sendmail-cf", "m4", "make"),
    "courier": ("courier-mta",),
    "chasquid": ("chasquid",),
    "haraka": ("opensmtpd",),  # for the mailboxes; it comes from npm itself
}

MIRROR = "http://deb.debian.org/debian"
SECURITY = "http://deb.debian.org/debian-security"

KEPT = 24 * 3600
"""Seconds after which a root is made anew."""
LONGEST_KEPT = 14 * KEPT
"""Seconds for which a root does where none can be made: the archive of testing is in motion, but not for ever."""
ATTEMPTS = 3


class RootError(RuntimeError):
    """A root could not be made."""


@dataclass(frozen=True)
class Release:
    """A release of Debian.

    Args:
        name: its code name.
        label: as the documents call it.
        settled: whether its archive is always whole; that of testing is in motion, and an older root does meanwhile.
    """

    name: str
    label: str
    settled: bool

    @property
    def sources(self) -> str:
        """The lines of sources.list(5)."""
        lines = [f"deb {MIRROR} {self.name} main"]
        if self.settled:
            lines += [f"deb {MIRROR} {self.name}-updates main", f"deb {SECURITY} {self.name}-security main"]
        return "".join(f"{line}\n" for line in lines)


RELEASES: Mapping[str, Release] = {
    release.name: release
    for release in (
        Release("bookworm", "Debian 12", settled=True),
        Release("trixie", "Debian 13", settled=True),
        Release("forky", "testing", settled=False),
    )
}


def cache_folder() -> Path:
    """Where roots are kept."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "onionmx"


@dataclass
class Root:
    """A root that no other run removes while this value is held."""

    release: Release
    path: Path
    lock: IO[bytes]


def obtain(release: Release, log: IO[str]) -> Root:
    """Return the root of a release; make it if it is not there, older than a day or of another recipe.

    Raises:
        RootError: mmdebstrap failed several times, and there is no older root that does.
    """
    folder = cache_folder()
    folder.mkdir(parents=True, exist_ok=True)
    root, stamp = folder / release.name, folder / f"{release.name}.stamp"
    lock = (folder / f"{release.name}.lock").open("ab")
    fcntl.flock(lock, fcntl.LOCK_SH)
    if not _is_good(root, stamp, release):
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not _is_good(root, stamp, release):
            try:
                _make(release, root, stamp, log)
            except RootError as error:
                if release.settled or not _is_good(root, stamp, release, LONGEST_KEPT):
                    lock.close()
                    raise
                log.write(f"{error}; the root of {time.ctime(stamp.stat().st_mtime)} does\n")
        fcntl.flock(lock, fcntl.LOCK_SH)
    return Root(release, root, lock)


def _is_good(root: Path, stamp: Path, release: Release, kept: float = KEPT) -> bool:
    try:
        recipe, made = stamp.read_text(), stamp.stat().st_mtime
    except FileNotFoundError:
        return False
    return root.is_dir() and time.time() - made < kept and recipe == _recipe(release)


def _recipe(release: Release) -> str:
    return "\n".join([release.sources, *_options()])


def _options() -> list[str]:
    download = "APT_CONFIG=$MMDEBSTRAP_APT_CONFIG apt-get -y -q --download-only --no-install-recommends install"
    archives = dict.fromkeys((*MTAS.values(), LATER))
    hooks = [f"--customize-hook={download} {' '.join((*BOOTING, *packages))}" for packages in archives]
    return [
        *("--variant=minbase", f"--include={','.join(INSTALLED)}", "--dpkgopt=force-unsafe-io"),
        # The archives and the lists stay, for installing without network.
        *("--skip=cleanup/apt", *hooks),
    ]


def _make(release: Release, root: Path, stamp: Path, log: IO[str]) -> None:
    new = root.with_suffix(".new")
    settings = root.with_suffix(".apt")
    settings.write_text(host_apt_settings())
    command = ["mmdebstrap", *_options(), f"--aptopt={settings}", release.name, str(new), "-"]
    for attempt in range(1, ATTEMPTS + 1):
        shutil.rmtree(new, ignore_errors=True)
        done = subprocess.run(command, input=release.sources, stdout=log, stderr=log, text=True, check=False)
        if done.returncode == 0:
            stamp.unlink(missing_ok=True)
            shutil.rmtree(root, ignore_errors=True)
            new.rename(root)
            stamp.write_text(_recipe(release))
            return
        log.write(f"mmdebstrap: attempt {attempt} of {ATTEMPTS} failed with {done.returncode}\n")
        log.flush()
        time.sleep(5 * attempt)  # a mirror that is being updated is whole again soon
    shutil.rmtree(new, ignore_errors=True)
    raise RootError(f"mmdebstrap could not make {release.label} ({release.name})")


def host_apt_settings() -> str:
    """How apt downloads on this machine, proxies included, as lines of apt.conf(5)."""
    dump = subprocess.run(["apt-config", "dump", "Acquire"], check=True, capture_output=True, text=True).stdout
    lines = [line for line in dump.splitlines() if not line.endswith(' "";')]
    return "\n".join([*lines, 'Acquire::Retries "3";', ""])
