"""The units of onionmx as systemd has loaded them, drop-ins included, beside those that are shipped."""

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from onionmx.doctor.command import find_command, output_of
from onionmx.doctor.finding import AS_ROOT, Finding, not_checked, ok, problem, warning
from onionmx.errors import ConfigurationError, TemporaryError
from onionmx.shipped import shipped

_UNITS = "onionmx-*.service"
_SECURITY = ("security", "--no-pager", "--json=short")
_DOCUMENTED = frozenset({"PrivateUsers", "IPAddressDeny", "SupplementaryGroups"})
"""What the documents and the units themselves say how to give up (docs/units.md)."""
COMMAND = "onionmx-map.service"
"""Runs what the administrator wrote into it, with the rights that this needs (docs/units.md)."""
_ROOT = "UserOrDynamicUser"
_CAPABILITY = "AmbientCapabilities"
_WHY = "a fault in it reaches what its limits, as they are shipped, keep from it"


async def look_at_units(check: str) -> list[Finding]:
    """Compare each of them, by what systemd finds of both.

    Args:
        check: name of the check.
    """
    systemctl, analyze = find_command("systemctl"), find_command("systemd-analyze")
    if systemctl is None or analyze is None:
        return [not_checked(check, "units: systemctl or systemd-analyze is not installed", "apt-get install systemd")]
    try:
        words = ("list-units", "--all", "--plain", "--no-legend", "--no-pager", "--state=loaded", _UNITS)
        listed = (await output_of(systemctl, *words)).splitlines()
        found = [await _judge(check, analyze, unit) for line in listed if (unit := line.split()[0])]
    except (TemporaryError, ValueError) as error:
        return [not_checked(check, f"units: {error}", AS_ROOT)]
    known = [each for each in found if each is not None]
    faults = [finding for _, findings in known for finding in findings]
    tight = [unit for unit, findings in known if not findings]
    if tight:
        faults.insert(0, ok(check, f"units: {', '.join(tight)}: as tight as shipped"))
    return faults


async def _judge(check: str, analyze: str, unit: str) -> tuple[str, list[Finding]] | None:
    """What is wrong with one; `None` for one that is not shipped."""
    try:
        sound = shipped(f"deploy/{unit}")
    except ConfigurationError:
        return None
    theirs = read_exposure(await output_of(analyze, *_SECURITY, unit))
    return unit, judge_unit(check, unit, weaker(await exposure(analyze, sound), theirs))


async def exposure(analyze: str, unit: Path) -> dict[str, float]:
    """How exposed the unit of a file is, without this host's drop-ins, of which systemd adds those of its name.

    Args:
        analyze: path of systemd-analyze.
        unit: the file.

    Raises:
        TemporaryError: systemd does not say it.
        ValueError: it says something else.
    """
    alone = {"SYSTEMD_UNIT_PATH": str(unit.parent)}
    return read_exposure(await output_of(analyze, *_SECURITY, "--offline=true", str(unit), environment=alone))


def judge_unit(check: str, unit: str, settings: Sequence[str]) -> list[Finding]:
    """Judge one by what is weaker than shipped.

    Args:
        check: name of the check.
        unit: name of it.
        settings: as `weaker` gives them.
    """
    undone = [setting for setting in settings if setting not in _DOCUMENTED and unit != COMMAND]
    fix = f"systemctl cat {unit}   # which line says so\nsystemctl restart {unit}   # without it"
    if {_ROOT, _CAPABILITY}.intersection(undone):
        right = "is root" if _ROOT in undone else "has a capability"
        return [problem(check, f"units: {unit} {right}: weaker than shipped in {', '.join(undone)}", fix, _WHY)]
    if undone:
        return [warning(check, f"units: {unit} is weaker than shipped in {', '.join(undone)}", fix, _WHY)]
    if settings:
        return [ok(check, f"units: {unit}: as tight as shipped but for {', '.join(settings)}, as docs/units.md has it")]
    return []


def read_exposure(text: str) -> dict[str, float]:
    """How exposed a unit is in each setting, as `systemd-analyze security --json=short` prints it.

    Raises:
        ValueError: it is not of that form.
    """
    try:
        entries: list[dict[str, Any]] = json.loads(text)
        return {str(entry["json_field"]): float(entry["exposure"] or 0) for entry in entries}
    except (KeyError, TypeError, ValueError) as error:
        raise ValueError(f"systemd-analyze security printed {text[:40]!r}") from error


def weaker(ours: Mapping[str, float], theirs: Mapping[str, float]) -> list[str]:
    """The settings in which a unit is more exposed than the shipped one, each once, sorted.

    Args:
        ours: of the shipped one.
        theirs: of the one that is loaded.
    """
    return sorted({name.partition("_")[0] for name, exposure in theirs.items() if exposure > ours.get(name, 0)})
