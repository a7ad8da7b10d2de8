"""Lay out the files of the package around the private environment, which build.sh has made.

    python3 -m deploy.debian.assemble ROOT ARCHITECTURE LIBRARIES

ROOT holds the environment at usr/lib/onionmx; its Python runs this. SOURCE_DATE_EPOCH gives the dates. The version of
the package is printed.
"""

import gzip
import os
import shutil
import sys
from datetime import UTC, datetime
from email.utils import format_datetime
from pathlib import Path

import click
from click.shell_completion import get_completion_class

from deploy.debian.control import debian_version, write_control
from deploy.debian.copyright import copyright_file
from deploy.debian.environment import HOME, clean, relocate, remove_unused_packages, site_packages
from deploy.debian.examples import postfix_examples
from deploy.debian.man import pages
from deploy.debian.reference import system_defaults
from onionmx.cli import command as program
from onionmx.setup.programs.settings import FOLDERS, USERS

PROJECT = Path(__file__).parent.parent.parent
FILES = Path(__file__).parent / "files"
UNIT_SUFFIXES = frozenset({".service", ".socket", ".timer", ".path", ".target"})
COMPLETIONS = {
    "bash": "usr/share/bash-completion/completions/onionmx",
    "zsh": "usr/share/zsh/vendor-completions/_onionmx",
    "fish": "usr/share/fish/vendor_completions.d/onionmx.fish",
}


def completion(shell: str) -> str:
    """The completion for a shell, as click writes it."""
    made = get_completion_class(shell)
    if made is None:
        raise click.UsageError(f"click knows no completion for {shell}")
    completer = made(program, {}, "onionmx", "_ONIONMX_COMPLETE")
    return completer.source_template % completer.source_vars()


def _write(path: Path, content: str | bytes) -> None:
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(content if isinstance(content, bytes) else content.encode())


def _compressed(text: str) -> bytes:
    return gzip.compress(text.encode(), mtime=0)


def _lay_out_environment(root: Path) -> None:
    environment = root / HOME.lstrip("/")
    packages = site_packages(environment)
    remove_unused_packages(environment)
    _write(root / "usr/share/doc/onionmx/copyright", copyright_file(packages, str(packages.relative_to(root))))
    _lay_out_shared(root, packages)
    clean(environment)
    relocate(environment, "{}.{}".format(*sys.version_info[:2]), root / "usr/bin")


def _lay_out_shared(root: Path, packages: Path) -> None:
    """What `onionmx files` lists: once, below /usr/share, units and documents where Debian has them."""
    share = root / "usr/share/onionmx"
    shutil.move(packages / "onionmx/share", share)
    (packages / "onionmx/share").symlink_to(Path(os.path.relpath(share, packages / "onionmx")))
    documents = root / "usr/share/doc/onionmx"
    shutil.move(share / "docs", documents / "docs")
    (share / "docs").symlink_to("../doc/onionmx/docs")
    for name in ("README.md", "CHANGELOG.md"):
        _write(documents / name, (PROJECT / name).read_bytes())
    units = root / "usr/lib/systemd/system"
    units.mkdir(parents=True)
    for unit in sorted((share / "deploy").iterdir()):
        if unit.suffix in UNIT_SUFFIXES:
            shutil.move(unit, units / unit.name)
            unit.symlink_to(f"../../../lib/systemd/system/{unit.name}")
    for name, place in ((USERS, "sysusers.d/onionmx.conf"), (FOLDERS, "tmpfiles.d/onionmx-fallback.conf")):
        path = root / "usr/lib" / place
        path.parent.mkdir(parents=True)
        shutil.move(share / "deploy" / name, path)
        (share / "deploy" / name).symlink_to(f"../../../lib/{place}")
    for name, content in postfix_examples(PROJECT / "docs"):
        _write(share / "postfix" / name, content)


def _lay_out_system(root: Path, epoch: datetime) -> None:
    defaults = system_defaults()
    _write(root / "etc/onionmx/onionmx.toml", defaults.to_toml(is_commented=True))
    _write(root / "usr/lib/tmpfiles.d/onionmx.conf", (FILES / "tmpfiles.conf").read_bytes())
    for name, page in pages(f"{epoch:%Y-%m-%d}", defaults).items():
        _write(root / f"usr/share/man/man{name[-1]}" / f"{name}.gz", _compressed(page))
    for shell, path in COMPLETIONS.items():
        _write(root / path, completion(shell))
    changes = f"""\
onionmx ({debian_version()}) unstable; urgency=medium

  * What is new for users is in /usr/share/doc/onionmx/CHANGELOG.md.

 -- The onionmx developers <onionmx@onionmx.invalid>  {format_datetime(epoch)}
"""
    _write(root / "usr/share/doc/onionmx/changelog.gz", _compressed(changes))
    _write(root / "usr/share/lintian/overrides/onionmx", (FILES / "lintian-overrides").read_bytes())


def main(root: Path, architecture: str, libraries: str) -> None:
    """Assemble the package and print its version."""
    _lay_out_environment(root)
    _lay_out_system(root, datetime.fromtimestamp(int(os.environ["SOURCE_DATE_EPOCH"]), UTC))
    for path in root.rglob("*"):
        if not path.is_symlink():
            path.chmod(0o755 if path.is_dir() or path.parent == root / "usr/bin" else 0o644)
    write_control(root, architecture, libraries, sys.version_info[:2])
    sys.stdout.write(f"{debian_version()}\n")


if __name__ == "__main__":
    main(Path(sys.argv[1]), *sys.argv[2:])
