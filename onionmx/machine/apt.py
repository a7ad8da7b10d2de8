"""Where the host's own packages come from: its release, its sources, and how its apt downloads."""

import re
from pathlib import Path

from onionmx.errors import ConfigurationError
from onionmx.machine.run import run

_OS_RELEASE = re.compile(r"""^VERSION_CODENAME=["']?([a-z0-9-]+)["']?\s*$""", re.MULTILINE)


def release_of(os_release: str) -> str:
    """The code name in an os-release(5).

    Raises:
        ConfigurationError: it has none, as Debian unstable.
    """
    found = _OS_RELEASE.search(os_release)
    if found is None:
        raise ConfigurationError("/etc/os-release names no release (VERSION_CODENAME) to take tor from")
    return found[1]


def sources(folder: Path) -> list[Path]:
    """The host's files of sources, which say where tor comes from and whose signatures count.

    Args:
        folder: /etc/apt.

    Raises:
        ConfigurationError: there are none.
    """
    parts = folder / "sources.list.d"
    listed = [folder / "sources.list", *sorted([*parts.glob("*.list"), *parts.glob("*.sources")])]
    found = [path for path in listed if path.is_file() and path.stat().st_size]
    if not found:
        raise ConfigurationError(f"{folder} has no sources (sources.list(5)) to take tor from")
    return found


def settings() -> str:
    """How the host's apt downloads, proxies included, as lines of apt.conf(5).

    Raises:
        TemporaryError: apt cannot be asked.
    """
    lines = run(("apt-config", "dump", "Acquire")).splitlines()
    kept = [line for line in lines if not line.endswith(' "";')]
    return "\n".join([*kept, 'Acquire::Retries "3";', 'Apt::Install-Recommends "false";', ""])
