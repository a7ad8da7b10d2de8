"""What dpkg is told of the package: its fields, its checksums, the file that the administrator may change."""

import hashlib
import re
import shutil
from pathlib import Path

from onionmx import __version__

DESCRIPTION = """mail between servers over Tor onion services
 Mail servers can hand mail to each other over Tor onion services, so that
 nobody on the way sees who writes to whom. A domain says so with an SRV record.
 .
 onionmx publishes that record, finds the records of others, keeps them in a
 map that the MTA reads, answers the MTA's lookups, relays mail over Tor, and
 checks the whole. It serves Exim, Postfix, and other MTAs that speak SMTP or
 LMTP to a local port.
"""
CONFFILE = "/etc/onionmx/onionmx.toml"
SCRIPTS = ("postinst", "prerm", "postrm")


def debian_version() -> str:
    """The version in Debian's order: a pre-release comes before its release."""
    return re.sub(r"\.?(dev|a|b|rc)(?=\d)", r"~\1", __version__)


def control(architecture: str, libraries: str, size: int, python: tuple[int, int]) -> str:
    """The control file.

    Args:
        architecture: as dpkg names it.
        libraries: dependencies on them, as dpkg-shlibdeps found them.
        size: installed, in KiB.
        python: major and minor version; the private environment fits no other.
    """
    major, minor = python
    return f"""\
Package: onionmx
Version: {debian_version()}
Architecture: {architecture}
Maintainer: The onionmx developers <onionmx@onionmx.invalid>
Installed-Size: {size}
Depends: python3 (>= {major}.{minor}), python3 (<< {major}.{minor + 1}), {libraries}
Recommends: tor
Suggests: exim4-daemon-light | postfix-cdb, age, openssh-client
Section: mail
Priority: optional
Description: {DESCRIPTION}"""


def write_control(root: Path, architecture: str, libraries: str, python: tuple[int, int]) -> None:
    """Write the DEBIAN folder of a package whose files are all there."""
    files = sorted(path for path in root.rglob("*") if path.is_file() and not path.is_symlink())
    size = sum(-(-path.stat().st_size // 1024) for path in files)
    folder = root / "DEBIAN"
    folder.mkdir()
    (folder / "control").write_text(control(architecture, libraries, size, python))
    (folder / "conffiles").write_text(f"{CONFFILE}\n")
    checksums = {
        str(path.relative_to(root)): hashlib.md5(path.read_bytes(), usedforsecurity=False).hexdigest() for path in files
    }
    del checksums[CONFFILE.lstrip("/")]  # dpkg keeps its own
    (folder / "md5sums").write_text("".join(f"{checksum}  {name}\n" for name, checksum in checksums.items()))
    for name in SCRIPTS:
        shutil.copyfile(Path(__file__).parent / "files" / name, folder / name)
        (folder / name).chmod(0o755)
