"""`make audit`: are packages installed here that have a known vulnerability?

Two sources: the list beside this module, which needs no network, and pip-audit, which asks the Python Packaging
Advisory Database (https://github.com/pypa/advisory-database) where there is a network. Add to the list what that finds.

Exit codes: 0 nothing known, 1 a vulnerable version is installed, 75 with --online the database could not be asked.
"""

import argparse
import subprocess
import sys
from collections.abc import Iterable, Mapping
from importlib.metadata import distributions
from pathlib import Path

import msgspec
from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.utils import canonicalize_name
from packaging.version import InvalidVersion, Version

LIST = Path(__file__).with_name("advisories.json")
PIP_AUDIT = "pip-audit>=2.7"
TIMEOUT = 600
"""Seconds for installing pip-audit, and for its questions."""
FOUND, COULD_NOT_TELL = 1, 75


class ListError(ValueError):
    """A list of advisories cannot be read."""


class Advisory(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One entry of the list.

    Args:
        id: as the source names it.
        package: the normalized name of the distribution.
        affected: the versions, as a version specifier.
        fixed: the first version without the fault.
        source: where it is described.
        alias: the CVE, if there is one.
    """

    id: str
    package: str
    affected: str
    fixed: str
    source: str
    alias: str = ""


class AdvisoryList(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """The list, and the day on which it was last compared with its sources."""

    date: str
    advisories: list[Advisory]


class Fault(msgspec.Struct, frozen=True):
    """One vulnerability as pip-audit tells of it."""

    id: str
    fix_versions: list[str] = []


class Audited(msgspec.Struct, frozen=True):
    """One package as pip-audit tells of it; one that it could not look up has a reason instead of a version."""

    name: str
    version: str = ""
    vulns: list[Fault] = []
    skip_reason: str = ""


class Report(msgspec.Struct, frozen=True):
    """What `pip-audit --format json` prints."""

    dependencies: list[Audited]


def read_list(text: bytes) -> AdvisoryList:
    """Read a list of advisories.

    Raises:
        ListError: it is none, or a version in it is none.
    """
    try:
        found = msgspec.json.decode(text, type=AdvisoryList)
        for advisory in found.advisories:
            SpecifierSet(advisory.affected)
            Version(advisory.fixed)
    except (msgspec.DecodeError, UnicodeDecodeError, InvalidSpecifier, InvalidVersion) as error:
        raise ListError(f"not a list of advisories: {error}") from error
    return found


def installed() -> dict[str, str]:
    """The distributions that this Python finds: normalized name to version."""
    return {canonicalize_name(each.name): each.version for each in distributions()}


def vulnerable(versions: Mapping[str, str], advisories: Iterable[Advisory]) -> list[str]:
    """A line for each advisory that one of these versions (by normalized name) falls under."""
    lines = []
    for advisory in advisories:
        version = versions.get(advisory.package)
        if version is not None and SpecifierSet(advisory.affected).contains(version, prereleases=True):
            names = " ".join(filter(None, [advisory.id, advisory.alias]))
            lines.append(f"{advisory.package} {version}: {names}, fixed in {advisory.fixed}, see {advisory.source}")
    return lines


def read_report(text: bytes) -> tuple[list[str], list[str]]:
    """Read what pip-audit printed: a line for each vulnerability, and one for each package that it could not look up.

    Raises:
        ListError: it is no such report.
    """
    try:
        report = msgspec.json.decode(text, type=Report)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise ListError(f"not a report of pip-audit: {error}") from error
    found = [
        f"{each.name} {each.version}: {fault.id}, fixed in {', '.join(fault.fix_versions) or 'no version yet'}"
        for each in report.dependencies
        for fault in each.vulns
    ]
    return found, [f"{each.name}: {each.skip_reason}" for each in report.dependencies if each.skip_reason]


def ask_database(folder: Path, versions: Mapping[str, str]) -> tuple[list[str], list[str]]:
    """Ask the advisory database by pip-audit, which is installed into an environment of its own.

    Args:
        folder: of that environment; it is made where it is missing.
        versions: what to ask about.

    Raises:
        ListError: it could not be installed, or it could not ask.
    """
    program = folder / "bin/pip-audit"
    asked = "".join(f"{name}=={version}\n" for name, version in sorted(versions.items()) if name != "onionmx")
    try:
        if not program.exists():
            _run([sys.executable, "-m", "venv", str(folder)])
            _run([str(folder / "bin/pip"), "install", "-q", "--disable-pip-version-check", PIP_AUDIT])
        requirements = folder / "requirements.txt"
        requirements.write_text(asked)
        options = ("--format", "json", "--progress-spinner", "off", "--no-deps", "--disable-pip")
        done = subprocess.run(
            [str(program), *options, "--requirement", str(requirements)],
            capture_output=True,
            check=False,
            timeout=TIMEOUT,
        )
    except (OSError, subprocess.SubprocessError) as error:
        words = getattr(error, "stderr", None) or str(error).encode()
        raise ListError(_last_line(words)) from error
    if done.returncode not in {0, FOUND} or not done.stdout.strip():
        raise ListError(_last_line(done.stderr))
    return read_report(done.stdout)


def _run(command: list[str]) -> None:
    subprocess.run(command, check=True, capture_output=True, timeout=TIMEOUT)


def _last_line(words: bytes) -> str:
    lines = words.decode(errors="replace").strip().splitlines()
    return lines[-1].strip() if lines else "it says nothing"


def main(arguments: list[str] | None = None) -> int:
    """Say what is known of the packages that are installed here."""
    parser = argparse.ArgumentParser(prog="make audit", description=__doc__)
    parser.add_argument("--list", type=Path, default=LIST, help="the list of advisories")
    parser.add_argument(
        "--pip-audit", type=Path, help="folder of an environment for pip-audit; without it, the list alone"
    )
    parser.add_argument("--online", action="store_true", help="fail where the database cannot be asked")
    options = parser.parse_args(arguments)
    versions = installed()
    known = read_list(options.list.read_bytes())
    found, skipped, failed = vulnerable(versions, known.advisories), list[str](), False
    sys.stdout.write(f"{len(versions)} packages; the list of {known.date} has {len(known.advisories)} advisories\n")
    if options.pip_audit:
        try:
            faults, skipped = ask_database(options.pip_audit, versions)
        except ListError as error:
            failed = True
            sys.stdout.write(f"the advisory database could not be asked, so this is the list alone: {error}\n")
        else:
            found += faults
    if skipped:
        sys.stdout.write(f"of {len(skipped)} packages the database could not tell, the first is {skipped[0]}\n")
    sys.stdout.writelines(f"vulnerable: {line}\n" for line in found)
    if found:
        return FOUND
    return COULD_NOT_TELL if options.online and (failed or skipped or not options.pip_audit) else 0


if __name__ == "__main__":
    sys.exit(main())
